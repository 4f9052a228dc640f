"""How a figure is printed: what it is, what it is held against, and what was got."""

from __future__ import annotations


def ratio(what: str, value: float, target: str, got: str) -> None:
    print(f"ratio    {what:53s} {value:6.2f}   {target:14s} ({got})", flush=True)


def figure(what: str, value: str, target: str = "") -> None:
    print(f"figure   {what:53s} {value:>20s}   {target}".rstrip(), flush=True)


def note(text: str) -> None:
    print(f"note     {text}", flush=True)
