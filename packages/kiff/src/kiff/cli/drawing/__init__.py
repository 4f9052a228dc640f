"""Drawing a domain's state machine: pure functions from a picture to text. The same domain gives the same text."""

from __future__ import annotations

from kiff.cli.drawing.dot import dot
from kiff.cli.drawing.picture import Picture, picture
from kiff.cli.drawing.plain import ASCII, GLYPHS, plain
from kiff.cli.drawing.svg import svg

__all__ = ["ASCII", "GLYPHS", "Picture", "dot", "picture", "plain", "svg"]
