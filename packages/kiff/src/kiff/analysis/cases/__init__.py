"""`kiff test`: cases that prove a domain and a policy, decided by KIFF's own kernel in worlds of their own."""

from __future__ import annotations

from kiff.analysis.cases.loader import Suite, load_suite
from kiff.analysis.cases.run import Failure, Played, play
from kiff.analysis.cases.schema import cases_schema_json
from kiff.analysis.cases.source import FileIssue, Library, Unloadable

__all__ = [
    "Failure",
    "FileIssue",
    "Library",
    "Played",
    "Suite",
    "Unloadable",
    "cases_schema_json",
    "load_suite",
    "play",
]
