"""What `kiff test` is made of: which files, playing them, and telling what came of it."""
