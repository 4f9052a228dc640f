"""Finds what these tests share with others: the scripted KIFF, and the scripted model of Claude Code."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "claude_agent_sdk"), str(HERE.parents[1] / "guard")]
