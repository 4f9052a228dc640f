"""What a decision is bound to: the arguments of a call, frozen as plain JSON, and their digest (RFC 8785, SHA-256).

The digest of equal values is equal in every language: keys in UTF-16 order, 49.0 and 49 one number, no spaces.
"""

from __future__ import annotations

import json
import marshal
import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from kiff_guard.errors import ArgumentsRefused
from kiff_guard.strict_json import no_number, once

DEPTH_LIMIT = 32
BYTES_LIMIT = 256 * 1024
_DIGITS_OF_A_DOUBLE = 10**16  # below it a double without a fraction is written with all its digits

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False).encode
_EXPONENT = re.compile(r"\de[+-]\d")
_PLAIN = frozenset((str, bool, int, type(None)))


class Frozen(NamedTuple):
    """Arguments as plain JSON of their own, their digest (`sha256:<hex>`), and the bytes they take."""

    args: dict[str, Any]
    digest: str
    size: int


def freeze(args: Any) -> Frozen:
    """A call's arguments as they are now. What is changed later reaches neither them nor their digest.

    Args:
        args: a mapping of names to values; a text that holds a JSON object; or None, for a call without any.

    Raises:
        ArgumentsRefused: they cannot be written as one JSON object, or are larger than KIFF takes.
    """
    frozen = _plain(_mapping(args), 0)
    text = _canonical(frozen)
    if len(text) > BYTES_LIMIT:
        raise ArgumentsRefused(f"the arguments take {len(text)} bytes, and KIFF takes {BYTES_LIMIT}: pass a reference")
    return Frozen(frozen, f"sha256:{sha256(text).hexdigest()}", len(text))


def copied(value: Any) -> Any:
    """A copy of frozen arguments, for code of others that may write into it."""
    if isinstance(value, dict):
        return {name: copied(each) for name, each in value.items()}
    return [copied(each) for each in value] if isinstance(value, list) else value


def digest(value: Any) -> str:
    """The digest of a result. What is no JSON is read by its `repr`, and the digest says so; "" if even that fails."""
    try:
        text, kind = _canonical(_plain(value, 0)), "sha256"
    except Exception:  # noqa: BLE001  # a result is anything at all, and no result may fail a call that already ran
        try:
            text, kind = repr(value).encode("utf-8", "backslashreplace"), "repr-sha256"
        except Exception:  # noqa: BLE001
            return ""
    return f"{kind}:{sha256(text).hexdigest()}"


def snapshot(args: Any) -> bytes:
    """What arguments look like now, at a tenth of what a digest takes; b"" where only a digest can tell.

    Equal snapshots are equal values of equal types; that two differ says nothing.
    """
    try:
        return marshal.dumps(args, 2)  # the last version that does not depend on who else holds the values
    except ValueError:
        return b""


def same(args: Any, decided: str, looked: bytes = b"") -> bool:
    """Are these still the arguments that were decided on?

    Args:
        args: as they are now.
        decided: the digest that was decided on.
        looked: the snapshot that was taken with it.
    """
    if looked and snapshot(args) == looked:
        return True
    try:
        return freeze(args).digest == decided
    except Exception:  # noqa: BLE001  # refused, or objects of others that cannot be read now: nobody can say so
        return False


def _mapping(args: Any) -> Mapping[str, Any]:
    if args is None:
        return {}
    if isinstance(args, (str, bytes)):
        args = _parsed(args)
    if isinstance(args, Mapping):
        return args
    raise ArgumentsRefused(f"arguments are an object of names and values, and these are {type(args).__name__}")


def _parsed(text: str | bytes) -> Any:
    if not text.strip():
        return {}
    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=no_number)
    except ValueError as error:
        raise ArgumentsRefused(f"the arguments are no JSON object: {error}") from error
    except RecursionError:
        raise ArgumentsRefused(f"the arguments are nested deeper than {DEPTH_LIMIT}") from None


def _plain(value: Any, depth: int) -> Any:
    if type(value) in _PLAIN:
        return value
    if depth > DEPTH_LIMIT:
        raise ArgumentsRefused(f"the arguments are nested deeper than {DEPTH_LIMIT}")
    if type(value) is float:
        return _number(value)
    if type(value) is dict or isinstance(value, Mapping):
        return {name: _plain(value[name], depth + 1) for name in _sorted(value)}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return [_plain(each, depth + 1) for each in value]
    return _plain(_as_json(value), depth + 1)


def _number(value: float) -> float | int:
    if value != value or value in (float("inf"), float("-inf")):
        raise ArgumentsRefused(f"`{value}` is no number that JSON knows")
    return int(value) if value.is_integer() and abs(value) < _DIGITS_OF_A_DOUBLE else value


def _sorted(value: Mapping[Any, Any]) -> list[str]:
    try:
        by = None if "".join(value).isascii() else _utf16
    except TypeError:
        raise ArgumentsRefused("the name of an argument is no text") from None
    return sorted(value, key=by)


def _utf16(name: str) -> bytes:
    return name.encode("utf-16-be", "surrogatepass")


def _as_json(value: Any) -> Any:
    """Values that frameworks and tools pass beside JSON's own, as they are written in JSON everywhere."""
    for fits, write in _WRITERS:
        if fits(value):
            return write(value)
    raise ArgumentsRefused(f"a {type(value).__name__} cannot be written as JSON: pass text, numbers, lists or objects")


def _decimal(value: Any) -> Any:
    """A decimal as the number it is, where a double says the same; as text where it would be another number."""
    if value == value.to_integral_value():
        return int(value)
    double = float(value)
    return double if type(value)(repr(double)) == value else str(value)


def _named(*names: str) -> Callable[[Any], bool]:
    """Is the value of one of these classes? Asked by name: importing them costs more than most guards ever need."""
    return lambda value: any(f"{each.__module__}.{each.__qualname__}" in names for each in type(value).__mro__)


_WRITERS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...] = (
    (lambda value: hasattr(type(value), "model_dump"), lambda value: value.model_dump(mode="json")),
    (lambda value: hasattr(value, "__dataclass_fields__"), lambda value: _members(value, value.__dataclass_fields__)),
    (lambda value: isinstance(value, tuple), lambda value: _members(value, value._fields)),
    (_named("enum.Enum"), lambda value: value.value),
    (_named("decimal.Decimal"), _decimal),
    (_named("datetime.date", "datetime.time"), lambda value: value.isoformat()),
    (_named("uuid.UUID", "pathlib.PurePath", "pathlib._local.PurePath"), str),
    (lambda value: isinstance(value, str), str.__str__),
    (lambda value: isinstance(value, int), int.__int__),
    (lambda value: isinstance(value, float), float.__float__),
    (lambda value: isinstance(value, (set, frozenset)), lambda value: sorted(value, key=str)),
)


def _members(value: Any, names: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in names}


def _canonical(value: Any) -> bytes:
    """The canonical bytes of a value that `_plain` made."""
    try:
        text = _encode(value)
        if _EXPONENT.search(text):
            text = "".join(_written(value))
        return text.encode()
    except UnicodeEncodeError:
        raise ArgumentsRefused("a text holds half of a surrogate pair, which is no character") from None


def _written(value: Any) -> Iterator[str]:
    """As json.dumps writes it, but for numbers: Python writes 1e-07 where RFC 8785 writes 1e-7."""
    if isinstance(value, dict):
        members = (f"{json.dumps(name, ensure_ascii=False)}:{''.join(_written(each))}" for name, each in value.items())
        yield "{" + ",".join(members) + "}"
    elif isinstance(value, list):
        yield "[" + ",".join("".join(_written(each)) for each in value) + "]"
    elif type(value) is float:
        yield _ecmascript(value)
    else:
        yield json.dumps(value, ensure_ascii=False)


def _ecmascript(value: float) -> str:
    """A number as ECMAScript writes it (RFC 8785, section 3.2.2.3)."""
    text = repr(value)
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    power = int(exponent)
    sign, digits = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
    whole, _, fraction = digits.partition(".")
    if -7 < power < 0:
        return f"{sign}0.{'0' * (-power - 1)}{whole}{fraction}"
    if 0 <= power < 21:
        return f"{sign}{whole}{fraction.ljust(power, '0')}"
    return f"{sign}{digits}e{'+' if power > 0 else '-'}{abs(power)}"
