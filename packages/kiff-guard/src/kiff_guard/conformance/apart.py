"""What is shown without an adapter: the client, drafts, imports and hooks, each on the installed kiff-guard itself.

run_apart().check()
run_apart(lambda url, seconds: MyClient(url, seconds)).check()
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import kiff_guard
from kiff_guard.catalog import Catalog
from kiff_guard.conformance.listening import Listening, allows, hangs_up, says
from kiff_guard.conformance.report import FAILED, PASSED, Report, Result, Violated
from kiff_guard.conformance.trial import PATIENCE_SECONDS, expect
from kiff_guard.draft import export_yaml
from kiff_guard.guard import Guard

MakeClient = Callable[[str, float], Any]
"""(url, seconds that one request may take) -> a client whose key is SECRET, and that knows the tool `refund`."""

SECRET = "kiff_live_acme_of-the-suite"
SHORT, LONG = 0.5, 10.0
BYTES_TOO_MANY = 64 * 1024 * 1024
REFUND = {"order_id": "ord_1", "amount": 5.0}
INJECTION = "x\nactions:\n  - name: INJECTED"
HOSTILE = (INJECTION, "no", "a: b", "# gone", "- item", "&a *a", '"', "\u2028", "{}", "!!python")
SOURCE = str(Path(kiff_guard.__file__).resolve().parents[1])
HOOKS = ("claude-code", "codex", "gemini", "cursor")
SLOW_IMPORTS = ("asyncio", "argparse", "urllib.request", "concurrent.futures")

Check = Callable[[MakeClient], None]
CHECKS: dict[str, tuple[str, Check]] = {}


def http_client(url: str, seconds: float) -> Any:
    """The client that comes with the guard."""
    from kiff_guard.client import HTTPClient
    from kiff_guard.tool_map import ToolMap

    tools = ToolMap().bind("refund", action="REFUND_ORDER", entity_type="Order", entity_arg="order_id")
    return HTTPClient(SECRET, tools, url, timeout=seconds)


def run_apart(make: MakeClient = http_client) -> Report:
    """Every check of this file.

    Args:
        make: the client to look at.
    """
    results = []
    for id, (_, check) in CHECKS.items():
        try:
            check(make)
        except Violated as violation:
            results.append(Result(id, FAILED, str(violation)))
        except Exception as error:  # noqa: BLE001  # nothing was shown
            results.append(Result(id, FAILED, f"it broke: {error!r}"))
        else:
            results.append(Result(id, PASSED))
    return Report("kiff-guard", f"Python {sys.version_info[0]}.{sys.version_info[1]}", tuple(results))


def statements() -> dict[str, str]:
    """Id -> what must hold."""
    return {id: statement for id, (statement, _) in CHECKS.items()}


def _check(id: str, statement: str) -> Callable[[Check], Check]:
    def add(check: Check) -> Check:
        CHECKS[id] = (statement, check)
        return check

    return add


# N: the client


def _asked(make: MakeClient, url: str, seconds: float = LONG) -> Any:
    """The decision, or what was raised instead."""
    client = make(url, seconds)
    try:
        return client.decide("acme", "agent-1", "refund", dict(REFUND))
    except Exception as error:  # noqa: BLE001  # a client may raise: then nothing was allowed
        return error
    finally:
        with suppress(AttributeError):
            client.close()


def _allowed(answer: Any) -> bool:
    return getattr(answer, "outcome", "") == "allowed"


def _control(make: MakeClient) -> None:
    """A client that never allows would pass all the rest."""
    with Listening(allows()) as server:
        answer = _asked(make, server.url)
    expect(_allowed(answer), f"a plain yes of KIFF was read as {answer!r}")
    expect(SECRET in server.asked[0].get("authorization", ""), "the question came without the key")


@_check("N1", "`allowed` counts in a good answer only, whatever a bad one says")
def good_answers_only(make: MakeClient) -> None:
    _control(make)
    for status in (400, 401, 403, 404, 409, 422, 429, 500, 502, 503):
        with Listening(allows(status)) as server:
            answer = _asked(make, server.url)
        expect(not _allowed(answer), f"allowed by an answer with status {status}")


@_check("N2", "no redirect is followed, and the key never leaves its host")
def no_redirects(make: MakeClient) -> None:
    for status in (301, 302, 303, 307, 308):
        with Listening(allows()) as other, Listening(allows(status, Location=f"{other.url}/v1/steal")) as server:
            answer = _asked(make, server.url)
        expect(not other.asked, f"a redirect with status {status} was followed")
        expect(server.asked and not _allowed(answer), f"allowed by a redirect with status {status}")


@_check("N3", "one deadline covers connecting and reading, also when the answer only drips")
def deadline_covers_reading(make: MakeClient) -> None:
    over, ended = threading.Event(), threading.Event()

    def drips(handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        until = time.monotonic() + PATIENCE_SECONDS
        with suppress(OSError):
            while not over.is_set() and time.monotonic() < until:
                handler.wfile.write(b" ")
                time.sleep(0.02)
        if not over.is_set():
            ended.set()

    with Listening(drips) as server:
        answer = _asked(make, server.url, SHORT)
        dripping = not ended.is_set()
        over.set()
    expect(dripping, "the client waited until the server had enough")
    expect(not _allowed(answer), f"allowed by half an answer: {answer!r}")


@_check("N4", "answers have a size, and are JSON objects")
def answers_have_a_size(make: MakeClient) -> None:
    sent = [0]

    def floods(handler: BaseHTTPRequestHandler, asked: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.end_headers()
        with suppress(OSError):
            while sent[0] < BYTES_TOO_MANY:
                sent[0] += handler.wfile.write(b'{"outcome":"allowed",' + b" " * 65536)

    with Listening(floods) as server:
        answer = _asked(make, server.url)
    expect(sent[0] < BYTES_TOO_MANY and not _allowed(answer), f"{sent[0]} bytes of one answer were read: {answer!r}")
    for body in (b"", b"allowed", b'"allowed"', b'["allowed"]', b"true", b"null", b'{"outcome":"allowed"'):
        with Listening(says(200, body)) as server:
            answer = _asked(make, server.url)
        expect(not _allowed(answer), f"allowed by the body {body!r}")


@_check("N5", "a held call keeps its approval, with 200 and with 422")
def holds_keep_their_approval(make: MakeClient) -> None:
    held = {"outcome": "approval_required", "reasons": ["approval_required"], "approval_id": "appr_1"}
    told = {"code": "approval_required", "error": "action requires approval", "approval_id": "appr_1"}
    for status, body in ((200, held), (422, {**told, "outcome": "approval_required"}), (422, told)):
        with Listening(says(status, body)) as server:
            answer = _asked(make, server.url)
        seen = (getattr(answer, "outcome", ""), getattr(answer, "approval_id", ""))
        expect(seen == ("approval_required", "appr_1"), f"{status} {body} was read as {answer!r}")


@_check("N6", "a question sent again is the same question")
def retries_share_a_key(make: MakeClient) -> None:
    with Listening(hangs_up, allows()) as server:
        answer = _asked(make, server.url)
    keys = [asked.get("idempotency-key") for asked in server.asked]
    expect(keys[0], "the question carries no Idempotency-Key")
    expect(len(set(keys)) == 1, f"one question was sent with the keys {keys}")
    expect(_allowed(answer) == (len(keys) > 1), f"after {len(keys)} questions the answer is {answer!r}")


# D: drafts


@_check("D1", "a draft has one action for each tool, whatever names tools and arguments have")
def drafts_hold_names(make: MakeClient) -> None:
    catalog = Catalog()
    for name in HOSTILE:
        catalog.record(name, name, {name: name})
    lines = export_yaml(INJECTION, catalog).splitlines()
    actions = [line for line in lines if line.startswith("  - name: ")]
    expect(len(actions) == len(HOSTILE), f"{len(HOSTILE)} tools became {len(actions)} actions")
    tops = [line.partition(":")[0] for line in lines if re.match(r"[^\s#-]", line)]
    wanted = ["domain", "entity", "events", "states", "transitions", "actions", "permissions"]
    expect(tops == wanted, f"the draft has the members {tops}")
    bare = [line for line in actions if not re.fullmatch(r'  - name: (\w[\w.-]*|"(\\.|[^"\\])*")', line)]
    expect(not bare, f"names stand bare: {bare}")


# B: boundary


def _alone(code: str) -> Any:
    """What the code prints as JSON, where nothing is installed but the guard."""
    start = f"import sys, json; sys.path.insert(0, {SOURCE!r}); before = set(sys.modules)\n"
    told = subprocess.run([sys.executable, "-I", "-S", "-c", start + code], capture_output=True, text=True)
    expect(told.returncode == 0, told.stderr[-500:])
    return json.loads(told.stdout)


def _brought(imported: str) -> list[str]:
    """The modules that an import brings, but for ours and the standard library's."""
    new = _alone(f"{imported}\nprint(json.dumps(sorted(set(sys.modules) - before)))")
    tops = {name.partition(".")[0] for name in new}
    return sorted(tops - set(sys.stdlib_module_names) - {"kiff_guard"})


@_check("B1", "importing the guard imports nothing but Python's own library")
def imports_nothing(make: MakeClient) -> None:
    expect(not (others := _brought("import kiff_guard")), f"it brings {others}")


@_check("B2", "every adapter is imported without its framework")
def adapters_import_nothing(make: MakeClient) -> None:
    names = sorted(path.stem for path in Path(SOURCE, "kiff_guard", "adapters").glob("[!_]*.py"))
    expect(names, "there are no adapters")
    imported = "\n".join(f"import kiff_guard.adapters.{name}" for name in names)
    expect(not (others := _brought(imported)), f"they bring {others}")


@_check("B3", "the mode of a guard is for good")
def mode_is_for_good(make: MakeClient) -> None:
    for mode, other in (("observe", "enforce"), ("enforce", "observe")):
        guard = Guard(make("http://127.0.0.1:9", SHORT), mode=mode)  # type: ignore[arg-type]
        with suppress(AttributeError):
            guard.mode = other  # type: ignore[misc,assignment]
        expect(guard.mode == mode, f"{mode} was turned into {other}")


# P: hooks


def _hook(dialect: str, told: bytes) -> tuple[int, str]:
    """(exit status, what it printed) of a hook that cannot ask anybody, in enforce."""
    return _hook_at(SOURCE, dialect, told)


@lru_cache
def _hook_at(source: str, dialect: str, told: bytes) -> tuple[int, str]:
    with tempfile.TemporaryDirectory() as home:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("KIFF_")}
        environment = {**plain, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_STATE_HOME": home, "PYTHONPATH": source}
        command = [sys.executable, "-m", "kiff_guard.hooks", dialect, "--mode", "enforce"]
        ended = subprocess.run(command, input=told, capture_output=True, env=environment, cwd=home)
    return ended.returncode, ended.stdout.decode("utf-8", "replace")


WHOLE = b'{"hook_event_name":"PreToolUse","session_id":"s","tool_use_id":"t","tool_name":"Bash","tool_input":{}}'
EVENTS = (
    b"",
    b"no JSON",
    b"[1]",
    b"{",
    b"\xff",
    b'{"hook_event_name":"?"}',
    b'{"hook_event_name":"PreToolUse"}',
    WHOLE,
)
"""None of them can be decided: they are broken, or there is no KIFF to ask."""


def _denies(printed: str) -> bool:
    """Is this the no of one of the dialects?"""
    told = json.loads(printed)
    inner = told.get("hookSpecificOutput", {}).get("permissionDecision")
    return "deny" in (inner, told.get("decision"), told.get("permission")) or told.get("decision") == "block"


@_check("P1", "however a hook breaks, the call is withheld: exit status 2, or a valid no")
def broken_hooks_withhold(make: MakeClient) -> None:
    for dialect in HOOKS:
        for told in EVENTS:
            status, printed = _hook(dialect, told)
            withheld = status == 2 or (status == 0 and printed.strip() and _denies(printed))
            expect(withheld, f"{dialect} with {told!r}: exit status {status}, printed {printed!r}")


@_check("P2", "a hook prints one JSON object, or nothing")
def hooks_print_json(make: MakeClient) -> None:
    for dialect in HOOKS:
        for told in EVENTS:
            _, printed = _hook(dialect, told)
            expect(not printed.strip() or isinstance(json.loads(printed), dict), f"{dialect} printed {printed!r}")


@_check("P3", "a hook starts without what is slow to import")
def hooks_start_light(make: MakeClient) -> None:
    code = (
        "import kiff_guard.hooks, kiff_guard.hooks.dialects, kiff_guard.hooks.reply, kiff_guard.hooks.flow\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    slow = [name for name in _alone(code) if name in SLOW_IMPORTS]
    expect(not slow, f"it imports {slow}")
