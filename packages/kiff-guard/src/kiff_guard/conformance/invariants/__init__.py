"""What an adapter must uphold, a function for each: it stages a scene, plays it, and looks at what came of it."""
