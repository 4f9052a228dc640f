"""The client: asks KIFF whether a call may run, and tells it how the call ended.

INVARIANT: `allowed` comes only out of a whole 2xx answer to the very proposal that was asked about. Every other answer
withholds, and what is no answer is raised. The client adds no authority: whose the call is, is in the key.

Threads may share a client. `HTTPClient` blocks; the guard asks from threads of its own where there is an event loop.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from kiff_guard.address import read_address, read_proxy
from kiff_guard.decision import (
    ALLOWED,
    APPROVAL_REQUIRED,
    BLOCKED,
    INVALID,
    LIMIT_EXCEEDED,
    OBSERVED,
    UNMAPPED,
    UNMAPPED_POLICIES,
    Decision,
)
from kiff_guard.errors import AmbiguousTool, ArgumentsRefused, BadAnswer, ConfigurationError, Refused
from kiff_guard.strict_json import no_number, once
from kiff_guard.tool_map import ToolMap, split
from kiff_guard.transport import Deadline, Reply, Transport

if TYPE_CHECKING:
    import ssl

    from kiff_guard.observation import DraftResult, GuardConnection, GuardObservation, GuardToolObservation

T = TypeVar("T")

DEFAULT_URL = "https://api.kiff.dev"
BODY_BYTES = 256 * 1024
"""What KIFF takes at most."""
WITHHOLDING = (APPROVAL_REQUIRED, BLOCKED, INVALID, LIMIT_EXCEEDED)
WITHHELD_BY_STATUS = {400: INVALID, 404: INVALID, 413: INVALID, 429: LIMIT_EXCEEDED}
"""What a refusal is when its body does not say; `blocked`, if it is not here. A refusal is a decision, and no failure:
a key that was revoked, or a call that is too large, runs nothing where a guard lets tools run without KIFF, either."""
REQUEST_TIMEOUT = 408
STATUSES = ("succeeded", "failed", "cancelled", "unknown")
_TEXT_LIMIT = 500
_ID = re.compile(r"(?!\.+\Z)[A-Za-z0-9_.:-]{1,128}")
_TRACE = re.compile(r"(?:trace_)?([0-9a-f]{32})")
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


class Client(Protocol):
    """Whoever decides calls for a guard."""

    def decide(
        self, tenant: str, agent: str, tool: str, args: dict[str, Any], run_context: dict[str, Any] | None = None
    ) -> Decision: ...


class HTTPClient:
    """KIFF over HTTP.

    Args:
        api_key: a secret that KIFF printed, best one that is bound to the agent.
        tool_map: which tool is which action.
        base_url: `https://…`; plain HTTP to this machine only.
        timeout: seconds for one request in all: connection, proxy, TLS, retries, and the last byte of the answer.
        unmapped: what becomes of a tool that the map does not name: `withhold`, `allow` (it runs) or `observe`.
        allow_insecure_http: plain HTTP to other machines too, on a line that is safe by itself.
        domain: the domain that is meant, when another one must not answer.
        retries: how often a request is sent again at most, under the same id.
        proxy: an HTTP proxy that makes tunnels; "" for none; None: HTTPS_PROXY and NO_PROXY say.
        settles: promise KIFF that `settle` will tell how each cleared call ended.
        ssl_context: instead of the default one, for a private certificate authority.

    Raises:
        ConfigurationError: one of them cannot be right.
    """

    def __init__(
        self,
        api_key: str,
        tool_map: ToolMap,
        base_url: str = DEFAULT_URL,
        timeout: float = 10.0,
        unmapped: str = "withhold",
        allow_insecure_http: bool = False,
        domain: str = "",
        *,
        retries: int = 2,
        proxy: str | None = None,
        settles: bool = True,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        address = read_address(base_url, allow_insecure_http=allow_insecure_http)
        self.tool_map = _map(tool_map)
        self.domain = domain
        self._unmapped = _policy(unmapped)
        self._timeout = _seconds(timeout, "timeout")
        self._retries = retries
        self._settles = settles
        through = read_proxy(address, proxy, os.environ)
        self._transport = Transport(address, _readable(api_key), proxy=through, tls=ssl_context)

    def __repr__(self) -> str:
        return f"<HTTPClient {self.url}>"

    def __deepcopy__(self, memo: Any) -> HTTPClient:
        """Frameworks copy agents with all that hangs on them; the connections stay the same ones."""
        return self

    @property
    def url(self) -> str:
        """Where KIFF is."""
        return self._transport.address.url

    @property
    def unmapped(self) -> str:
        """What becomes of a tool that the map does not name."""
        return self._unmapped

    def close(self) -> None:
        """Closes its idle connections. It can be used again."""
        self._transport.close()

    def decide(
        self,
        tenant: str,
        agent: str | None,
        tool: str,
        args: dict[str, Any],
        run_context: dict[str, Any] | None = None,
        *,
        proposal_id: str | None = None,
        approval_id: str | None = None,
        trace: str | None = None,
        unmapped: str | None = None,
        settles: bool | None = None,
        deadline: float | None = None,
    ) -> Decision:
        """Asks whether a call may run now.

        Args:
            tenant: for clients of other kinds; here the key says it.
            agent: who calls; none: the key says it.
            args: the tool's arguments. The one that names the entity is taken out, the others are the parameters.
            run_context: what came into the run that decisions depend on (`untrusted_input`, `sensitive_read`).
            proposal_id: the question's own id; the same id brings the first final answer. Drawn, if not given.
            approval_id: the granted approval of a call that was held.
            trace: a W3C traceparent, or a trace id of 32 hexadecimal digits.
            unmapped, settles: instead of the client's, for this call.
            deadline: seconds, instead of the client's `timeout`.

        Raises:
            ClientFailed: there is no answer to go by; the call must not run.
        """
        policy = self._unmapped if unmapped is None else _policy(unmapped)
        try:
            binding = self.tool_map.get(tool)
            if binding is None:
                return _unmapped(tool, policy)
            entity, parameters = split(tool, binding, args)
            id = _id(proposal_id, "proposal_id") if proposal_id else _drawn("prop")
            given = _traceparent(trace)
            # An id that was given may have been asked about before: a trace of its own tells whose answer is repeated.
            own = os.urandom(16).hex() if proposal_id and given is None else ""
            body = {
                "entity_id": entity,
                "entity_type": binding.entity_type,
                "action_name": binding.action,
                "actor_id": agent or None,
                "parameters": parameters,
                "id": id,
                "domain": self.domain or None,
                "run_context": run_context,
                "approval_id": approval_id or None,
                "settles": self._settles if settles is None else settles,
            }
            path = "/v1/proposals/decide"
            reply = self._asked("POST", path, _without_none(body), id=id, trace=own or given, seconds=deadline)
        except (AmbiguousTool, ArgumentsRefused) as error:  # what cannot be asked is not allowed
            return Decision(INVALID, f"{error.code}: {error}", reasons=(error.code,), tool=tool)
        return self._decision(reply, id, tool, is_asked_here=not proposal_id, own_trace=own)

    def settle(
        self,
        proposal_id: str,
        status: str,
        *,
        result_hash: str | None = None,
        error: str | None = None,
        trace: str | None = None,
    ) -> dict[str, Any]:
        """Tells how a cleared call ended. The same again is confirmed.

        Args:
            status: succeeded, failed, cancelled or unknown.
            result_hash: the digest of the result; the result itself stays here.
            error: why it failed, for people.

        Returns:
            How the operation stands now: {operation_id, status, entity, state, late, confirmed, …}.

        Raises:
            ClientFailed: it was not told. Refused: KIFF knows no such operation, or another ending of it.
        """
        if status not in STATUSES:
            raise ArgumentsRefused(f"`status` is {status!r}; expected one of {', '.join(STATUSES)}")
        said = None if error is None else error[:_TEXT_LIMIT]
        body = _without_none({"status": status, "result_hash": result_hash, "error": said})
        path = f"/v1/proposals/{_id(proposal_id, 'proposal_id')}/outcome"
        told = self._told("settle", self._asked("POST", path, body, trace=trace))
        if told.get("proposal_id", proposal_id) != proposal_id or not isinstance(told.get("operation_id"), str):
            raise BadAnswer(f"settle failed: the answer is about no operation of `{proposal_id}`")
        return told

    def connect_guard(
        self,
        agent_id: str = "",
        adapter: str = "",
        mode: str = "",
        project: str = "",
        environment: str = "",
        workflow: str = "",
        sdk_version: str = "",
    ) -> GuardConnection:
        """Says that a guard runs; again every `heartbeat_interval`.

        Raises:
            ClientFailed: it was not told, or KIFF refused it.
        """
        from kiff_guard.observation import GuardConnection

        about = _about(agent_id, adapter, mode, project, environment, workflow, sdk_version)
        told = self._told("guard connect", self._asked("POST", "/v1/guard/connect", about, id=_drawn("conn")))
        return self._read(GuardConnection, told)

    def observe_guard(
        self,
        agent_id: str = "",
        adapter: str = "",
        mode: str = "",
        tools: list[GuardToolObservation] | None = None,
        project: str = "",
        environment: str = "",
        workflow: str = "",
        sdk_version: str = "",
    ) -> GuardObservation:
        """Tells which tools a guard saw; they take the place of those it told of before.

        Raises:
            ClientFailed: it was not told, or KIFF refused it.
        """
        from kiff_guard.observation import GuardObservation, GuardToolObservation

        about = _about(agent_id, adapter, mode, project, environment, workflow, sdk_version)
        body = {**about, "tools": [_without_none(vars(tool)) for tool in tools or []]}
        reply = self._asked("POST", "/v1/guard/observations", body, id=_drawn("obs"))
        told = self._told("guard observation", reply).get("observation")
        if not isinstance(told, dict) or not isinstance(told.get("tools"), list):
            raise BadAnswer("guard observation failed: the answer has no `observation` with `tools`")
        seen = [self._read(GuardToolObservation, tool) for tool in told["tools"]]
        return self._read(GuardObservation, {**told, "tools": seen})

    def save_draft(self, yaml_text: str) -> DraftResult:
        """Saves a draft of the domain, whatever is wrong with it; it governs nothing until an owner activates it.

        Raises:
            ClientFailed: it was not saved, or KIFF refused it: that takes an owner's key.
        """
        from kiff_guard.observation import DraftResult

        reply = self._asked(
            "PUT", "/v1/me/domain/draft", yaml_text.encode(), id=_drawn("draft"), media="application/x-yaml"
        )
        told = self._told("save draft", reply)
        issues = [_issue(each) for each in told.get("issues") or []]
        valid = told.get("parsed") is not None and not issues
        saved = {"yaml": told.get("yaml"), "updated_at": told.get("updated_at", 0), "valid": valid, "issues": issues}
        return self._read(DraftResult, saved)

    def request(
        self, method: str, path: str, body: Any = None, *, id: str | None = None, trace: str | None = None
    ) -> dict[str, Any]:
        """Any other verb of KIFF's API.

        Args:
            path: from `/v1/` on.
            body: becomes JSON.
            id: what makes a write the same one when it is sent again; drawn, if not given.

        Raises:
            ClientFailed: it has no answer, or KIFF refused it.
        """
        key = None if method == "GET" else _id(id, "id") if id else _drawn("req")
        return self._told(f"{method} {path}", self._asked(method, path, body, id=key, trace=trace))

    def _asked(
        self,
        method: str,
        path: str,
        body: Any,
        *,
        id: str | None = None,
        trace: str | None = None,
        seconds: float | None = None,
        media: str = "application/json",
    ) -> Reply:
        """The answer to a request. With an id it is the same request however often it is sent."""
        headers = {} if id is None else {"Idempotency-Key": id}
        if (parent := _traceparent(trace)) is not None:
            headers["traceparent"] = parent
        raw = body if body is None or isinstance(body, bytes) else _written(body)
        if raw is not None:
            headers["Content-Type"] = media
            if len(raw) > BODY_BYTES:
                raise ArgumentsRefused(
                    f"the request has {len(raw)} bytes, and KIFF takes {BODY_BYTES}: pass a reference"
                )
        deadline = Deadline(self._timeout if seconds is None else _seconds(seconds, "deadline"))
        return self._transport.ask(method, path, raw, headers, deadline, self._retries)

    def _decision(self, reply: Reply, id: str, tool: str, *, is_asked_here: bool, own_trace: str) -> Decision:
        """What an answer decides.

        Args:
            is_asked_here: the id was drawn for this question, so nobody else can have asked it.
            own_trace: the trace that only this question has; "" if there is none.

        Raises:
            Refused: KIFF did not decide. BadAnswer: it is none of KIFF's, or not to what was asked.
        """
        body = self._object(reply)
        outcome = body.get("outcome")
        is_good = 200 <= reply.status < 300
        is_refusal = 400 <= reply.status < 500 and reply.status != REQUEST_TIMEOUT
        if not is_good and not is_refusal:
            raise self._refused("decide", reply, body)
        if is_refusal:
            outcome = outcome if outcome in WITHHOLDING else _by_code(body, reply.status)
        elif outcome not in (ALLOWED, *WITHHOLDING):
            raise BadAnswer(f"decide failed: the answer has no outcome that KIFF knows: `{self._shown(outcome)}`")
        elif outcome == ALLOWED and body.get("proposal_id") != id:
            raise BadAnswer(f"decide failed: the answer allows another proposal than `{id}`")
        codes = self._codes(body)
        # Sent more than once, it may repeat what an earlier one of its own attempts got: then it is no earlier answer.
        is_own = is_asked_here or bool(own_trace and body.get("trace_id") == f"trace_{own_trace}")
        return Decision(
            outcome,
            self._reason(body, codes, reply.status),
            proposal_id=id,
            approval_id=self._text(body, "approval_id"),
            clearance_id=self._text(body, "clearance_id") if outcome == ALLOWED else "",
            expires_at=self._text(body, "expires_at"),
            reasons=codes,
            tool=tool,
            replayed=body.get("replayed") is True and not (reply.sent_before and is_own),
        )

    def _told(self, what: str, reply: Reply) -> dict[str, Any]:
        """The body of a good answer.

        Raises:
            Refused: it is a refusal. BadAnswer: it is none of KIFF's.
        """
        body = self._object(reply)
        if not 200 <= reply.status < 300:
            raise self._refused(what, reply, body)
        return body

    def _object(self, reply: Reply) -> dict[str, Any]:
        if 300 <= reply.status < 400:
            raise BadAnswer(f"{self.url} answered with a redirect ({reply.status}), and the key goes to no other place")
        try:
            found = json.loads(reply.raw.decode(), object_pairs_hook=once, parse_constant=no_number)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            message = f"the answer of {self.url} with status {reply.status} is no JSON object; is it KIFF's address?"
            raise BadAnswer(message)
        return found

    def _refused(self, what: str, reply: Reply, body: dict[str, Any]) -> Refused:
        code = self._text(body, "code")
        why = self._text(body, "message") or self._text(body, "error") or "KIFF did not say why"
        told = f"{reply.status} {code}" if code else str(reply.status)
        return Refused(f"{what} failed: {why} ({told})", status=reply.status, code=code)

    def _codes(self, body: dict[str, Any]) -> tuple[str, ...]:
        reasons = body.get("reasons")
        told = [each for each in reasons if isinstance(each, str) and each] if isinstance(reasons, list) else []
        code = body.get("code")
        return tuple(self._shown(each) for each in told or ([code] if isinstance(code, str) and code else []))

    def _reason(self, body: dict[str, Any], codes: tuple[str, ...], status: int) -> str:
        why = self._text(body, "message") or self._text(body, "error") or f"KIFF answered with status {status}"
        return f"{codes[0]}: {why}" if codes else why

    def _text(self, body: dict[str, Any], name: str) -> str:
        value = body.get(name)
        return self._shown(value) if isinstance(value, str) else ""

    def _shown(self, value: Any) -> str:
        """A text of the server's, on one line, not without end, and without the key."""
        text = self._transport.without_key(str(value))[:_TEXT_LIMIT]  # in this order: half of a key is no key to find
        return "".join(each if each.isprintable() else " " for each in text)

    def _read(self, shape: type[T], told: Any) -> T:
        """A value of ours out of an answer; what the answer has beside it is left.

        Raises:
            BadAnswer: it lacks a member, or one is of another type.
        """
        fields: dict[str, Any] = vars(shape)["__dataclass_fields__"]
        try:
            value = shape(**{name: each for name, each in told.items() if name in fields})
        except (TypeError, AttributeError):
            raise BadAnswer(f"the answer of {self.url} is no {shape.__name__}") from None
        for name, field in fields.items():
            if field.type in _KINDS and type(getattr(value, name)) is not _KINDS[field.type]:
                raise BadAnswer(f"the answer of {self.url} is no {shape.__name__}: `{name}` is of another type")
        return value


_KINDS: dict[Any, type] = {"str": str, "int": int, "bool": bool}


def _by_code(body: dict[str, Any], status: int) -> str:
    return APPROVAL_REQUIRED if body.get("code") == APPROVAL_REQUIRED else WITHHELD_BY_STATUS.get(status, BLOCKED)


def _unmapped(tool: str, policy: str) -> Decision:
    code = "unmapped_tool"
    if policy == "withhold":
        reason = f"{code}: no binding names `{tool}`, so KIFF was not asked; add ToolMap().bind({tool!r}, …)"
        return Decision(INVALID, reason, reasons=(code,), tool=tool)
    outcome = UNMAPPED if policy == "allow" else OBSERVED
    return Decision(outcome, f"{code}: no binding names `{tool}`, so KIFF was not asked", reasons=(code,), tool=tool)


def _about(agent_id: str, adapter: str, mode: str, project: str, environment: str, workflow: str, version: str) -> Any:
    own = {"project": project, "environment": environment, "workflow": workflow, "sdk_version": version}
    return _without_none({"agent_id": agent_id or None, "adapter": adapter, "mode": mode, **own})


def _issue(told: Any) -> str:
    """An issue of a draft as one line."""
    if not isinstance(told, dict):
        return str(told)
    line, path = told.get("line"), told.get("path")
    return "".join([f"line {line}: " if line else "", f"{path}: " if path else "", str(told.get("message", ""))])


def _policy(unmapped: str) -> str:
    if unmapped not in UNMAPPED_POLICIES:
        raise ConfigurationError(f"`unmapped` is {unmapped!r}; expected one of {', '.join(UNMAPPED_POLICIES)}")
    return unmapped


def _map(tool_map: ToolMap) -> ToolMap:
    if not isinstance(tool_map, ToolMap):
        raise ConfigurationError(
            f"`tool_map` is a {type(tool_map).__name__}; expected a ToolMap, such as ToolMap().bind(…)"
        )
    return tool_map


def _seconds(value: float, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 3600:
        raise ConfigurationError(f"`{name}` is {value!r}; expected seconds, more than 0 and at most 3600")
    return float(value)


def _readable(key: str) -> str:
    if isinstance(key, str) and 0 < len(key) <= 512 and all("!" <= letter <= "~" for letter in key):
        return key
    # Not repeated: it is a secret, or next to one.
    raise ConfigurationError("`api_key` must be a secret as KIFF printed it: letters, digits, _ . - and no spaces")


def _id(text: str, name: str) -> str:
    if not isinstance(text, str) or not _ID.fullmatch(text):
        raise ArgumentsRefused(f"`{name}` must have 1 to 128 of the letters A-Z a-z 0-9 _ . : -")
    return text


def _drawn(kind: str) -> str:
    return f"{kind}_{os.urandom(16).hex()}"


def _traceparent(trace: str | None) -> str | None:
    """The W3C header of a trace. Tracers that are switched off say nothing but zeros."""
    if trace is None or not trace:
        return None
    if (known := _TRACEPARENT.fullmatch(trace)) is not None:
        return trace if known[1].strip("0") and known[2].strip("0") else None
    found = _TRACE.fullmatch(trace)
    if found is None:
        raise ArgumentsRefused("`trace` must be a W3C traceparent, or a trace id of 32 hexadecimal digits")
    return f"00-{found[1]}-{os.urandom(8).hex()}-01" if found[1].strip("0") else None


def _written(body: Any) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentsRefused(f"the request cannot be written as JSON: {error}") from None


def _without_none(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}
