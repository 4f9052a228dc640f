"""One JSON-RPC message of a client, read strictly: what two readers could take for two things is not read at all.

The server behind the gateway has a reader of its own. Some of them take the last of two equal names and some the
first, some match names without regard to case, and some end a line at a carriage return. A message that only one
kind of reader takes for a tool call would pass the guard unseen, so it is refused here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

CALL = "tools/call"
CANCELLED = "notifications/cancelled"
INITIALIZE = "initialize"
INITIALIZED = "notifications/initialized"
LIST = "tools/list"

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
HEADER_MISMATCH = -32020

VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"


def _folded(*names: str) -> dict[str, str]:
    return {name.casefold(): name for name in names}


_ENVELOPE = _folded("jsonrpc", "id", "method", "params", "result", "error")
_PARAMS = _folded("name", "arguments", "_meta", "task", "requestState", "inputResponses")
_METHOD = re.compile(r"[!-~]{1,256}")
_NAME_LIMIT = 512
_ID_LIMIT = 1024
_EXACT_LIMIT = 2**53 - 1
"""Beyond it, readers that have only doubles take two integers for one."""

Id = int | str
Key = tuple[str, Id]


class Unreadable(ValueError):
    """A message that is not forwarded.

    Args:
        why: what is wrong with it.
        code: the JSON-RPC code of the answer.
        id: whom to answer; None if the message does not say so beyond doubt.
    """

    def __init__(self, why: str, code: int = INVALID_REQUEST, id: Id | None = None) -> None:
        super().__init__(why)
        self.code = code
        self.id = id


@dataclass(frozen=True)
class Call:
    """One `tools/call` of a client.

    Attributes:
        id: the JSON-RPC id.
        tool: which tool.
        arguments: as the client sent them.
        raw: the message's bytes, as they are forwarded.
        message: the same, read.
        session: the connection it came over; ids are unique within it.
        elicits: the client can put a question to its user.
    """

    id: Id
    tool: str
    arguments: dict[str, Any]
    raw: bytes = field(repr=False)
    message: dict[str, Any] = field(repr=False)
    session: str = ""
    elicits: bool = False

    @property
    def params(self) -> dict[str, Any]:
        params = self.message["params"]
        assert isinstance(params, dict)
        return params

    @property
    def meta(self) -> Mapping[str, Any]:
        return _object(self.params.get("_meta"))

    @property
    def modern(self) -> bool:
        """Is it of the era of 2026-07-28, where every request says its version and results say their type?"""
        return VERSION_KEY in self.meta

    @property
    def trace(self) -> str | None:
        trace = self.meta.get("traceparent")
        return trace if isinstance(trace, str) else None

    @property
    def state(self) -> str | None:
        """What an earlier answer gave the client to send back."""
        state = self.params.get("requestState")
        return state if isinstance(state, str) else None

    @property
    def continues(self) -> bool:
        """Does it go on with a call that was answered by a question?"""
        return self.params.get("requestState") is not None or self.params.get("inputResponses") is not None

    def without(self, *names: str) -> Call:
        """The same call without some of its params, written anew."""
        params = {name: value for name, value in self.params.items() if name not in names}
        message = {**self.message, "params": params}
        return replace(self, message=message, raw=written(message))


def written(message: Any) -> bytes:
    """A message of our own, as one line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def read(raw: bytes, *, framed_by_lines: bool = True) -> Any:
    """The JSON of one message: an object, or a list of them.

    Raises:
        Unreadable: it is no JSON, or readers may disagree on what it says.
    """
    body = raw.rstrip(b"\r\n") if framed_by_lines else raw
    if framed_by_lines and b"\r" in body:
        raise Unreadable("a message is one line, and a carriage return ends a line for some readers", PARSE_ERROR)
    doubled: list[str] = []
    message = _json(body, doubled)
    if not isinstance(message, (dict, list)):
        raise Unreadable("a message is a JSON object")
    if doubled:
        raise Unreadable(f"the name `{doubled[0][:80]}` stands twice in one object", id=_whom(message, doubled))
    for each in message if isinstance(message, list) else [message]:
        if not isinstance(each, dict):
            raise Unreadable("a message is a JSON object")
        _check_envelope(each)
    return message


def read_of_server(raw: bytes) -> Any:
    """The JSON of what a server sent; None if it is none. It is forwarded in any case, so it is read as others do."""
    try:
        return json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def call_of(message: dict[str, Any], raw: bytes, *, session: str = "", elicits: bool = False) -> Call:
    """The tool call that a message is, checked.

    Raises:
        Unreadable: nobody could say which tool is called with which arguments.
    """
    id = message.get("id")
    if not is_id(id):
        raise Unreadable("a tool call has an id, a text or an integer, so that it can be answered")
    params = message.get("params")
    if not isinstance(params, dict):
        raise Unreadable("a tool call has params, an object", INVALID_PARAMS, id)
    _check_names(params, _PARAMS, id)
    _check_alike(params, id)
    tool = params.get("name")
    if not isinstance(tool, str) or not 0 < len(tool) <= _NAME_LIMIT:
        raise Unreadable(f"`params.name` is a text of 1 to {_NAME_LIMIT} characters", INVALID_PARAMS, id)
    if "\0" in tool:
        raise Unreadable("`params.name` has a NUL in it, where it ends for some readers", INVALID_PARAMS, id)
    arguments = params.get("arguments")
    if arguments is not None and not isinstance(arguments, dict):
        raise Unreadable("`params.arguments` is an object", INVALID_PARAMS, id)
    call = Call(id, tool, arguments or {}, raw, message, session, elicits)
    return replace(call, elicits=elicits_form(_object(call.meta.get(CAPABILITIES_KEY)))) if call.modern else call


def version_of(message: Mapping[str, Any]) -> str:
    """The version that a message of the era of 2026-07-28 says; "" for an older one."""
    version = _object(_object(message.get("params")).get("_meta")).get(VERSION_KEY)
    return version if isinstance(version, str) else ""


def is_id(id: Any) -> TypeGuard[Id]:
    """Is it an id a client may use? Neither true nor 1.0 nor null is, nor an integer that a double does not hold."""
    if isinstance(id, str):
        return len(id) <= _ID_LIMIT
    return isinstance(id, int) and not isinstance(id, bool) and abs(id) <= _EXACT_LIMIT


def key_of(id: Id) -> Key:
    """By which a request is known: 1 and "1" are two ids."""
    return type(id).__name__, id


def is_call(message: Mapping[str, Any]) -> bool:
    return message.get("method") == CALL


def is_answer(message: Mapping[str, Any]) -> bool:
    """Is it the answer to a request?"""
    return "method" not in message and ("result" in message or "error" in message)


def elicits_form(capabilities: Mapping[str, Any]) -> bool:
    """Can this client ask its user something by a form?"""
    elicitation = capabilities.get("elicitation")
    return isinstance(elicitation, dict) and (not elicitation or "form" in elicitation)


def _json(body: bytes, doubled: list[str]) -> Any:
    def names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            every = [name for name, _ in pairs]
            doubled.extend(name for name in members if every.count(name) > 1)
        return members

    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=names, parse_constant=_constant, parse_float=_float)
    except UnicodeDecodeError:
        raise Unreadable("a message is UTF-8", PARSE_ERROR) from None
    except Unreadable:
        raise
    except ValueError as error:
        raise Unreadable(f"a message is JSON, and this is not: {error}"[:200], PARSE_ERROR) from None
    except RecursionError:
        raise Unreadable("a message is not nested this deep", PARSE_ERROR) from None


def _constant(name: str) -> None:
    raise Unreadable(f"`{name}` is no number that JSON knows", PARSE_ERROR)


def _float(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise Unreadable("a number is too large", PARSE_ERROR)
    return number


def _whom(message: Any, doubled: list[str]) -> Id | None:
    id = message.get("id") if isinstance(message, dict) and "id" not in doubled else None
    return id if is_id(id) else None


def _check_envelope(message: dict[str, Any]) -> None:
    id = message.get("id")
    whom = id if is_id(id) else None
    _check_names(message, _ENVELOPE, whom)
    if "method" not in message:
        return
    method = message["method"]
    if not isinstance(method, str) or not _METHOD.fullmatch(method):
        raise Unreadable("`method` is a text of printable ASCII without spaces", id=whom)
    if "id" in message and whom is None:  # its answer might come with the id of a call: 1.0 is 1 for some readers
        raise Unreadable("the id of a request is a text or an integer of at most 53 bits")
    if method != CALL and method.casefold() == CALL:
        raise Unreadable(f"the method is `{CALL}`, in small letters", id=whom)


def _check_names(members: dict[str, Any], known: dict[str, str], id: Id | None) -> None:
    """Refuses a name that some readers take for a known one and others do not."""
    for name in members:
        if "\0" in name:
            raise Unreadable("a name has a NUL in it, where it ends for some readers", id=id)
        meant = known.get(name.casefold(), name)
        if meant != name:
            raise Unreadable(f"`{name[:80]}` is written `{meant}`", id=id)


def _check_alike(value: Any, id: Id | None) -> None:
    """Refuses two names of one object that differ only in case: some readers take them for one."""
    for names in _objects(value):
        if any("\0" in name for name in names):
            raise Unreadable("a name has a NUL in it, where it ends for some readers", INVALID_PARAMS, id)
        folded = {name.casefold() for name in names}
        if len(folded) != len(names):
            raise Unreadable("two names of one object differ only in case", INVALID_PARAMS, id)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield each
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
