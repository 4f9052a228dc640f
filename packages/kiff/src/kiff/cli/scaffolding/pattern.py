"""A text that a simple pattern matches. What this cannot read it gives up on; whoever calls it tries the text."""

from __future__ import annotations

import re

from kiff.domain.parameters import searcher

_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?:|\(\?P?<\w+>|.", re.DOTALL)
_COUNT = re.compile(r"\{(\d+)(,?)(\d*)\}")
_CLASSES = {"d": "0", "w": "a", "s": " ", "D": "a", "W": " ", "S": "a"}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r"}
_NO_TEXT = {"^", "$", r"\A", r"\z", r"\b"}
_ALTERNATIVES = "aA0 -_.:/@#x"
MAX_REPEATS = 1_000


def matching(pattern: str, repeats: int) -> str | None:
    """A text for the pattern: of alternatives the first, of repeated parts `repeats` or as many as are allowed.

    Returns:
        None for a pattern that is more than literals, classes, groups and repetition.
    """
    try:
        text, rest = _alternatives(pattern, min(repeats, MAX_REPEATS))
    except _Unread:
        return None
    return None if rest else text


class _Unread(Exception):
    """The pattern has something in it that is not read here."""


def _alternatives(rest: str, repeats: int) -> tuple[str, str]:
    """The text of the first alternative, and what of the pattern stands behind the last."""
    first, rest = _sequence(rest, repeats)
    while rest.startswith("|"):
        _, rest = _sequence(rest[1:], repeats)
    return first, rest


def _sequence(rest: str, repeats: int) -> tuple[str, str]:
    made = ""
    while rest and rest[0] not in "|)":
        part, rest = _atom(rest, repeats)
        least, most, rest = _counts(rest)
        made += part * max(least, min(most, repeats))
    return made, rest


def _atom(rest: str, repeats: int) -> tuple[str, str]:
    found = _TOKEN.match(rest)
    assert found is not None, "a token is at least one character"
    token, rest = found[0], rest[found.end() :]
    if token[0] == "(":
        if rest.startswith("?"):
            raise _Unread
        inside, rest = _alternatives(rest, repeats)
        if not rest.startswith(")"):
            raise _Unread
        return inside, rest[1:]
    if token in _NO_TEXT:
        return "", rest
    if token in "*+?{":
        raise _Unread
    return _character(token), rest


def _character(token: str) -> str:
    if token[0] == "[" and len(token) > 1:
        return _member(token)
    if token == ".":
        return "a"
    if token[0] != "\\":
        return token
    letter = token[1]
    if letter.isalnum() and letter not in _CLASSES and letter not in _CONTROLS:
        raise _Unread
    return _CLASSES.get(letter) or _CONTROLS.get(letter) or letter


def _member(token: str) -> str:
    """A character of a class: the first it lists, or, for one that lists what it is not, one that it lets through."""
    if token[1] != "^":
        inside = token[1:-1]
        return "a" if inside.startswith("[:") else _character(inside[:2] if inside[0] == "\\" else inside[0])
    try:
        lets_through = searcher(f"^{token}$")
    except ValueError:
        raise _Unread from None
    return next(filter(lets_through, _ALTERNATIVES), "a")


def _counts(rest: str) -> tuple[int, int, str]:
    """How often the part before may stand there, at least and at most, and the pattern behind."""
    found = _COUNT.match(rest)
    if found:
        least = int(found[1])
        most = (int(found[3]) if found[3] else MAX_REPEATS) if found[2] else least
        end = found.end()
    elif rest[:1] in ("*", "+", "?"):
        least, most, end = int(rest[0] == "+"), 1 if rest[0] == "?" else MAX_REPEATS, 1
    else:
        return 1, 1, rest
    if least > MAX_REPEATS:
        raise _Unread
    return least, most, rest[end + (rest[end : end + 1] == "?") :]
