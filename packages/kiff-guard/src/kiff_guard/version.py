"""Which kiff-guard this is."""

VERSION = "2.0.0"
