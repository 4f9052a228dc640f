"""Parameters that a contract accepts, read off its schemas. A guess counts only when the contract's check takes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from kiff.cli.scaffolding.pattern import matching
from kiff.domain import Domain, compile_parameters
from kiff.domain.parameters import types_of
from kiff.domain.units import MINOR_DIGITS

Schema = Mapping[str, Any]
MAX_GUESSES = 64
MAX_PAYLOADS = 4
MAX_DEPTH = 8
MAX_LENGTH = 200
"""Of a text or a list that somebody should still want to read."""


def example_call(domain: Domain, action: str) -> tuple[dict[str, Any], list[str]]:
    """The required parameters of an action, and the names of those for which nothing was found."""
    contract = domain.actions[action]
    found: dict[str, Any] = {}
    missing: list[str] = []
    for name in contract.required_parameters:
        schema = (contract.parameters or {}).get(name, {})
        fitting = compile_parameters((name,), {name: schema})
        guesses = (guess for guess in islice(_guesses(schema, 0), MAX_GUESSES) if not fitting({name: guess}))
        guess = next(guesses, None)
        if fitting({name: guess}):
            missing.append(name)
        else:
            found[name] = guess
    return found, missing


def example_payloads(domain: Domain, event: str) -> list[dict[str, Any]]:
    """A few payloads that fit an event; one that is empty where nothing is declared."""
    fields = domain.payloads.get(event, {})
    fitting: dict[str, list[Any]] = {}
    for name, schema in fields.items():
        check = compile_parameters((name,), {name: schema})
        guesses = islice(chain(*(_guesses(each, 0) for each in (*_copies(domain, event, name), schema))), MAX_GUESSES)
        fitting[name] = list(islice((guess for guess in guesses if not check({name: guess})), MAX_PAYLOADS))
    payloads = [
        {name: found[min(turn, len(found) - 1)] for name, found in fitting.items() if found}
        for turn in range(max(map(len, fitting.values()), default=1) or 1)
    ]
    return [payload for payload in payloads if not (fields and domain.payload_checks[event](payload))]


def _copies(domain: Domain, event: str, field: str) -> list[Schema]:
    """The schemas of attributes that this field of the event's payload becomes."""
    ways = (way for (_, on), ways in domain.transitions.items() if on == event for way in ways)
    names = {name: None for way in ways for name, value in way.set if value.text.strip() == f"event.{field}"}
    return [domain.attributes[name] for name in names]


def _guesses(schema: Schema, depth: int) -> Iterator[Any]:
    if "const" in schema:
        yield schema["const"]
    yield from schema.get("enum", ())
    if depth < MAX_DEPTH:
        for kind in types_of(dict(schema)):
            yield from _BY_TYPE[kind](schema, depth)


def _texts(schema: Schema, depth: int) -> Iterator[str]:
    least, most = schema.get("minLength", 0), min(schema.get("maxLength", MAX_LENGTH), MAX_LENGTH)
    if "pattern" in schema:
        for repeats in dict.fromkeys((1, least, most, 0, *range(2, 20))):
            made = matching(schema["pattern"], repeats)
            if made is not None:
                yield made
                yield made + "a" * (least - len(made))
    elif least <= MAX_LENGTH:
        yield ("example" + "e" * (least - len("example")))[: max(most, 0)]


def _numbers(schema: Schema, depth: int) -> Iterator[int | float]:
    """A small whole number when one fits, then what is near the bounds, in the steps of the unit."""
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    yield from (1, 0)
    for bound, away in ((low, 1), (high, -1)):
        if math.isfinite(bound):
            yield bound
            digits = MINOR_DIGITS.get(schema.get("unit", ""), 3)
            for step in (1.0, 10.0**-digits):
                for edge in (math.floor, math.ceil):
                    near = round((edge(bound / step) + away) * step, digits)
                    yield int(near) if near == int(near) else near
    if math.isfinite(low) and math.isfinite(high):
        yield (low + high) / 2


def _lists(schema: Schema, depth: int) -> Iterator[list[Any]]:
    size = schema.get("minItems", 0)
    if size <= MAX_LENGTH >> 3 * depth:
        yield from ([item] * size for item in (_guesses(schema.get("items", {}), depth + 1) if size else (None,)))


def _objects(schema: Schema, depth: int) -> Iterator[dict[str, Any]]:
    """An object with what is required of it, each the first guess its own schema takes."""
    inside = schema.get("properties", {})
    made: dict[str, Any] = {}
    for name in schema.get("required", ()):
        fitting = compile_parameters((name,), {name: inside.get(name, {})})
        guesses = islice(_guesses(inside.get(name, {}), depth + 1), MAX_GUESSES)
        made[name] = next((guess for guess in guesses if not fitting({name: guess})), None)
    yield made


_BY_TYPE: dict[str, Callable[[Schema, int], Iterator[Any]]] = {
    "string": _texts,
    "number": _numbers,
    "integer": _numbers,
    "boolean": lambda schema, depth: iter((True, False)),
    "object": _objects,
    "array": _lists,
    "null": lambda schema, depth: iter((None,)),
}
