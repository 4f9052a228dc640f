"""Parameter schemas of one action, compiled once to a function that names every problem of a call.

Values are JSON as `kiff.canonical` admits it. A check never repeats a value: parameters may be secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any

from kiff.domain.issue import did_you_mean, shown
from kiff.domain.units import MINOR_DIGITS

Wrong = tuple[str, dict[str, Any]]
"""A reason code and its detail: missing_parameter {parameter}, or
invalid_parameter {parameter, expected, message}."""

ParameterCheck = Callable[[Mapping[str, Any]], tuple[Wrong, ...]]

_Look = Callable[[Any, str, list[Wrong]], None]
_Rule = tuple[Callable[[Any], bool], str]  # does it hold, and what was expected

_ABSENT = object()


def compile_parameters(required: Iterable[str], schemas: Mapping[str, Any] | None) -> ParameterCheck:
    """Make the check of one action's parameters.

    Args:
        required: names that must be given and not be null (unless their schema lists null).
        schemas: name -> schema without problems (`schema_problems`); None accepts any other parameter too.

    Returns:
        A function from the parameters of a call to everything that is wrong with them, in contract order.
    """
    known = dict.fromkeys((*required, *sorted(schemas or ())))
    must = frozenset(required)
    entries = [_entry(name, name in must, (schemas or {}).get(name)) for name in known]
    open_ended = schemas is None

    def check(parameters: Mapping[str, Any]) -> tuple[Wrong, ...]:
        found: list[Wrong] = []
        strange = len(parameters)
        for name, required, nullable, look in entries:
            value = parameters.get(name, _ABSENT)
            if value is not _ABSENT:
                strange -= 1
            if value is _ABSENT or (value is None and required and not nullable):
                if required:
                    found.append(("missing_parameter", {"parameter": name}))
            elif look is not None:
                look(value, name, found)
        if strange and not open_ended:
            found += [_unknown(name, "", known) for name in sorted(parameters.keys() - known.keys())]
        return tuple(found) if found else ()

    return check


def _entry(name: str, required: bool, schema: dict[str, Any] | None) -> tuple[str, bool, bool, _Look | None]:
    if schema is None:
        return name, required, False, None
    nullable = "null" in schema.get("type", ()) or None in (schema.get("const", 0), *schema.get("enum", ()))
    look = _compiled(schema)
    return name, required, nullable, _discreet(look) if schema.get("sensitive") else look


def _discreet(look: _Look) -> _Look:
    """Says of a sensitive value only what the contract says: what it is called inside is part of it."""

    def look_away(value: Any, path: str, found: list[Wrong]) -> None:
        inside: list[Wrong] = []
        look(value, path, inside)
        for code, detail in inside:
            if detail["parameter"] == path:
                found.append((code, detail))
            else:
                found.append(_invalid(path, "as its schema says, inside too"))
                return

    return look_away


def _unknown(name: str, within: str, known: Iterable[str]) -> Wrong:
    expected = f"one of {', '.join(sorted(known))}" if known else "no parameters"
    path = f"{within}.{name[:40]}" if within else name[:40]
    message = ", ".join(filter(None, (f"{shown(name)} is not a known parameter", did_you_mean(name, known))))
    return "invalid_parameter", {"parameter": path, "expected": expected, "message": message}


def _invalid(path: str, expected: str, found: str = "") -> Wrong:
    message = f"`{path}` must be {expected}" + (f", found {found}" if found else "")
    return "invalid_parameter", {"parameter": path, "expected": expected, "message": message}


PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
    "null": (type(None),),
}
NOUNS = {
    "string": "a text",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}
_FOUND: dict[type, str] = {
    str: "a text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    dict: "an object",
    list: "a list",
    type(None): "null",
}


def types_of(schema: dict[str, Any]) -> list[str]:
    """The JSON types a schema allows: all of them when it does not say."""
    declared = schema.get("type", list(PYTHON_TYPES))
    return [name for name in ([declared] if isinstance(declared, str) else declared) if name in PYTHON_TYPES]


def _compiled(schema: dict[str, Any]) -> _Look:
    """The check of one value. Rules are kept per exact Python type, so True is never a number."""
    types = types_of(schema)
    rules = {python: _rules(schema, python, types) for name in types for python in PYTHON_TYPES[name]}
    insides: dict[type, _Look] = {}
    if "items" in schema:
        insides[list] = _inside_list(_compiled(schema["items"]))
    if "properties" in schema or "required" in schema:
        insides[dict] = _inside_object(schema)
    expected = " or ".join(NOUNS[name] for name in types)

    def look(value: Any, path: str, found: list[Wrong]) -> None:
        kind = type(value)
        if kind not in rules:
            found.append(_invalid(path, expected, _FOUND.get(kind, "something else")))
            return
        for holds, wanted in rules[kind]:
            if not holds(value):
                found.append(_invalid(path, wanted))
        if kind in insides:
            insides[kind](value, path, found)

    return look


def _inside_list(look: _Look) -> _Look:
    def inside(value: list[Any], path: str, found: list[Wrong]) -> None:
        for index, item in enumerate(value):
            look(item, f"{path}[{index}]", found)

    return inside


def _inside_object(schema: dict[str, Any]) -> _Look:
    looks = {name: _compiled(inner) for name, inner in sorted(schema.get("properties", {}).items())}
    required = schema.get("required", ())

    def inside(value: dict[str, Any], path: str, found: list[Wrong]) -> None:
        for name in required:
            if name not in value:
                found.append(("missing_parameter", {"parameter": f"{path}.{name}"}))
        for name, look in looks.items():
            if name in value:
                look(value[name], f"{path}.{name}", found)
        if looks:
            found += [_unknown(name, path, looks) for name in sorted(value.keys() - looks.keys())]

    return inside


def _rules(schema: dict[str, Any], python: type, types: list[str]) -> tuple[_Rule, ...]:
    """The rules of a schema for values of one Python type, in the order they are reported."""
    rules: list[_Rule] = []
    if python is float and "number" not in types:
        rules.append((float.is_integer, "a whole number"))
    rules += [make(schema) for words, make in _RULES.get(python, ()) if not schema.keys().isdisjoint(words)]
    if "enum" in schema:
        rules.append(_among(schema["enum"]))
    if "const" in schema:
        rules.append(_among([schema["const"]]))
    return tuple(rules)


def _within_bounds(schema: dict[str, Any]) -> _Rule:
    """One comparison for all the bounds; a NaN, which cannot come through the edge, would fail it."""
    low = max((schema.get("minimum", -inf), False), (schema.get("exclusiveMinimum", -inf), True))
    high = min((schema.get("maximum", inf), True), (schema.get("exclusiveMaximum", inf), False))
    (least, above), (most, up_to) = low, high
    expected = [f"{'above' if above else 'at least'} {least}"] if least > -inf else []
    expected += [f"{'at most' if up_to else 'below'} {most}"] if most < inf else []
    holds: dict[tuple[bool, bool], Callable[[Any], bool]] = {
        (True, True): lambda v: least < v <= most,
        (True, False): lambda v: least < v < most,
        (False, True): lambda v: least <= v <= most,
        (False, False): lambda v: least <= v < most,
    }
    return holds[above, up_to], " and ".join(expected)


def _long_enough(least_word: str, most_word: str) -> Callable[[dict[str, Any]], _Rule]:
    def make(schema: dict[str, Any]) -> _Rule:
        least, most = schema.get(least_word, 0), schema.get(most_word, inf)
        expected = [f"at least {least}"] if least_word in schema else []
        expected += [f"at most {most}"] if most_word in schema else []
        return (lambda v: least <= len(v) <= most), f"{' and '.join(expected)} long"

    return make


def _in_unit(schema: dict[str, Any]) -> _Rule:
    """Money is exact: no more decimals than the unit has, as the number is written.

    The nearest double to a number with so few decimals is written with no more of them, and rounding gives
    that double; so within ±2^53 this says what `Decimal(repr(value))` would, in a tenth of the time.
    """
    code = schema["unit"]
    digits = MINOR_DIGITS[code]
    return (lambda v: round(v, digits) == v), f"an amount in {code} with at most {digits} decimals"


def _matching(schema: dict[str, Any]) -> _Rule:
    pattern = schema["pattern"]
    search = searcher(pattern)
    return (lambda v: search(v) is not None), f"a text that matches {shown(pattern)}"


def _among(values: list[Any]) -> _Rule:
    allowed = frozenset(map(_frozen, values))
    named = ", ".join(shown(value)[1:-1] for value in values[:20])
    return (lambda v: _frozen(v) in allowed), f"one of {named}" if len(values) > 1 else named


_BOUNDS = (("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"), _within_bounds)
_RULES: dict[type, tuple[tuple[tuple[str, ...], Callable[[dict[str, Any]], _Rule]], ...]] = {
    int: (_BOUNDS,),
    float: (_BOUNDS, (("unit",), _in_unit)),
    str: ((("minLength", "maxLength"), _long_enough("minLength", "maxLength")), (("pattern",), _matching)),
    list: ((("minItems", "maxItems"), _long_enough("minItems", "maxItems")),),
}
"""Python type -> keywords, and what makes one rule of them."""


def _frozen(value: Any) -> Any:
    """A hashable stand-in that is equal exactly when the JSON values are: 1 is 1.0 and not true."""
    if isinstance(value, dict):
        return "object", frozenset((key, _frozen(item)) for key, item in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_frozen, value))
    return ("boolean", value) if isinstance(value, bool) else value


def searcher(pattern: str) -> Callable[[str], object]:
    """RE2: linear in the text, whatever the pattern.

    Raises:
        ValueError: not a pattern RE2 accepts.
    """
    # Imported here because few domains have patterns.
    import re2  # type: ignore[import-untyped]

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options).search  # type: ignore[no-any-return]
    except re2.error as error:
        why = error.args[0] if error.args else ""
        raise ValueError(why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why)) from None
