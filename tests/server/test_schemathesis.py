"""Requests drawn from the OpenAPI document, good and bad, by an owner and by an agent, against a served tower.

No request makes the server fail, every answer is one that the document knows, what the document forbids is refused,
and nothing of another tenant is ever read, although its ids are among what is drawn.

`make test` tries a few of each route; KIFF_SOAK=1 a hundred thousand, with a fresh seed that is printed.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import Phase, given, settings
from msgspec import Struct
from schemathesis import AuthContext, Case, GenerationMode, HookContext, Response
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.engine import events, from_schema
from served import TENANT, Served, served

from kiff.protocol.actor import Caller
from kiff.protocol.authority import AUTHOR, OPERATOR, Member
from kiff.runtime.commands import SYSTEM
from kiff.server.app import application
from kiff.server.openapi import document
from kiff.server.route import Answer, Call, Route
from kiff.server.routes import ROUTES
from kiff.server.settings import Limits

pytestmark = pytest.mark.slow

SOAK = os.environ.get("KIFF_SOAK") == "1"
SEED = secrets.randbits(32) if SOAK else 4
EXAMPLES = 650 if SOAK else 4
LEAST = 50_000 if SOAK else 300
"""How many answers each of the two runs judges at least."""
UNLIMITED = Limits(key_rate=0, tenant_rate=0, client_rate=0, code_rate=0)
OTHER = "zebra"
SECRET = "striped-secret"
"""In everything that the other tenant keeps, and in no request of the first."""
OURS = ("order:ord_002", "ord_002", "order", "REFUND_ORDER", "AUTO_REFUND", "ORDER_PAID", "ops-agent", "refund-ops")
SELF_HARM = ("DELETE /v1/keys/{id}", "POST /v1/auth/logout", "PUT /v1/members/{id}")
CHECKED = (
    "content_type_conformance",
    "ignored_auth",
    "negative_data_rejection",
    "not_a_server_error",
    "response_headers_conformance",
    "response_schema_conformance",
    "status_code_conformance",
    "unsupported_method",
)
# Not asked: `positive_data_acceptance` (what an id means, and what a domain says of it, no schema can know) and
# `allow_header_conformance` (`/v1/proposals/decide` is also an address of `/v1/proposals/{id}`).
load_all_checks()


class Trial:
    """A tower with two tenants, asked in the name of one member of the first.

    Attributes:
        judged: how many answers were looked at.
        reached: the other tenant's ids that were asked for.
        leaks: the answers that tell of the other tenant.
    """

    def __init__(self, shop: Served, who: str) -> None:
        self.shop = shop
        self.judged = 0
        self.reached: set[str] = set()
        self.leaks: list[str] = []
        member = shop.tower.store.row(Member, TENANT, {"agent": "ops-agent", "owner": "owner"}[who])
        assert member is not None
        self._member = member
        self._key = shop.keys[who]
        self.theirs, self._never = strangers(shop)

    def schema(self, told: dict[str, Any], **phases: bool) -> Any:
        """The document as what is drawn from: ids of both tenants are among the texts."""
        known = {"values": [*OURS, *self.theirs]}
        config = {
            "seed": SEED,
            "base-url": f"http://{self.shop.host}",
            "max-redirects": 0,
            "warnings": False,
            "checks": {name: {"enabled": name in CHECKED} for name in sorted(CHECKS.get_all_names())},
            "dictionaries": {"known": known},
            "generation": {
                "max-examples": EXAMPLES,
                "deterministic": not SOAK,
                "dictionaries": {"string": {"dictionary": "known", "probability": 0.3}},
            },
            "phases": {name: {"enabled": enabled} for name, enabled in phases.items()},
        }
        drawn = schemathesis.openapi.from_dict(told, config=schemathesis.Config.from_dict(config))
        self._attend(drawn)
        return drawn

    def _attend(self, drawn: Any) -> None:
        """Sends the key with every request, and looks at every answer."""
        trial = self

        @drawn.auth()
        class Key:
            def get(self, case: Case[Any], context: AuthContext) -> str:
                return trial._key

            def set(self, case: Case[Any], key: str, context: AuthContext) -> None:
                case.headers["Authorization"] = f"Bearer {key}"

        @drawn.hook("after_call")
        def look(context: HookContext, case: Case[Any], response: Response) -> None:
            trial.judged += 1
            trial.reached |= {id for id in trial.theirs if id in case.path_parameters.values()}
            text = f"{response.text} {response.headers}"
            trial.leaks += [f"{case.method} {case.path} tells of {each}" for each in trial._never if each in text]
            if f"{case.method} {case.path}" in SELF_HARM and response.status_code == 200:
                trial._recover()

    def _recover(self) -> None:
        """Makes the member and their key what they were, in case they did something to themselves."""
        tower = self.shop.tower
        tower.runtime.establish(Caller(SYSTEM, (AUTHOR, OPERATOR), TENANT), self._member).result()
        self._key = tower.mint(TENANT, self._member.id, "again")

    @property
    def is_well(self) -> bool:
        """Whether the member is still who they were: otherwise what was tried tried little."""
        told = self.shop.get("/v1/me", self._key)
        return told.status == 200 and told.body["principal"]["roles"] == self._member.roles.split(",")


def strangers(shop: Served) -> tuple[list[str], list[str]]:
    """Fills the other tenant. Returns ids of it to ask for, and what nobody else may ever see."""
    keys = shop.found(OTHER)
    told = []
    for order in ("zebra-1", "zebra-2"):
        for event in ("ORDER_PLACED", "ORDER_PAID"):
            body = {"type": event, "entity_id": order, "entity_type": "order", "payload": {"note": SECRET}}
            assert shop.post("/v1/events", body, keys["owner"]).status == 201
        parameters = {"amount": 999.0, "reason": SECRET}
        held = shop.decide(order, "REFUND_ORDER", key=keys["agent"], id=f"{order}-proposal", parameters=parameters)
        ran = shop.decide(order, "AUTO_REFUND", key=keys["agent"], evidence=SECRET, settles=True)
        assert (held.body["outcome"], ran.body["outcome"]) == ("approval_required", "allowed")
        key = shop.get("/v1/me", keys["agent" if told else "owner"]).body["key"]["id"]
        told.append([key, held.body["approval_id"], held.body["receipt_id"], ran.body["clearance_id"]])
    asked, never = told
    log = shop.get("/v1/log", keys["owner"]).body["log_id"]
    named = ["order:zebra-1", "zebra-1", "zebra-1-proposal", OTHER, log]
    return [*named, *asked], [SECRET, *never, *keys.values()]


def run(trial: Trial, *, coverage: bool) -> dict[str, str]:
    """Draws from every route that ends and has statuses (a stream and a hook have tests of their own).

    Returns an example of each find.
    """
    told = trial.schema(document(ROUTES), examples=True, coverage=coverage, fuzzing=True, stateful=SOAK)
    found: dict[str, str] = {}
    for event in from_schema(told.exclude(path=["/v1/stream", "/v1/hooks/claude-code"])).execute():
        if isinstance(event, events.ScenarioFinished):
            for check in (each for checks in event.recorder.checks.values() for each in checks):
                if (info := check.failure_info) is not None:
                    found[f"{event.label}: {info.failure.title}"] = f"{info.failure.message}\n{info.code_sample}"
        elif isinstance(event, events.NonFatalError):
            found[f"{event.label}: {event.info.title}"] = str(event.value)
        elif isinstance(event, events.FatalError):
            raise event.exception
    return found


@(pytest.mark.soak if SOAK else pytest.mark.slow)
@pytest.mark.parametrize("who", ["owner", "agent"])
def test_every_answer_is_one_that_the_document_knows(who: str, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    with served(tmp_path / "data", UNLIMITED) as shop:
        shop.paid("ord_002")
        trial = Trial(shop, who)
        assert trial.is_well
        found = run(trial, coverage=SOAK or who == "owner")  # the boundaries of every schema, once
        well = trial.is_well
    assert not found, "\n\n".join(f"{what}\n{example}" for what, example in found.items())
    assert trial.leaks == []
    assert well
    assert trial.reached
    assert trial.judged >= LEAST


class Shown(Struct):
    """What a broken route promises."""

    count: int


class Asked(Struct, forbid_unknown_fields=True):
    """What a broken route takes."""

    count: int


async def failing(call: Call) -> Answer:
    raise ZeroDivisionError


async def unknown_status(call: Call) -> Answer:
    return Answer(Shown(1), 418)


async def wrong_shape(call: Call) -> Answer:
    return Answer({"count": "one"})


async def wrong_media(call: Call) -> Answer:
    return Answer(b"1", media="text/plain")


async def credulous(call: Call) -> Answer:
    return Answer(Shown(1))


async def leaking(call: Call) -> Answer:
    return Answer({"count": 1, "note": SECRET})


def broken(handler: Any, **more: Any) -> Route:
    return Route("POST", "/v1/broken", handler, "Broken on purpose.", "Broken", answers={200: Shown}, **more)


@pytest.fixture(scope="module")
def trial(shop: Served) -> Trial:
    return Trial(shop, "owner")


def judged(trial: Trial, route: Route, described: Route, mode: GenerationMode = GenerationMode.POSITIVE) -> None:
    """Draws cases for a route that is served as one thing and described as another."""
    told = trial.schema(document((described,)))
    told.app = application(trial.shop.tower, (route,))

    @given(case=told["/v1/broken"]["POST"].as_strategy(generation_mode=mode))
    @settings(max_examples=5, derandomize=True, deadline=None, phases=[Phase.generate])
    def asked(case: Case[Any]) -> None:
        case.call_and_validate()

    asked()


@pytest.mark.parametrize(
    ("handler", "finds"),
    [
        (failing, "Server error"),
        (unknown_status, "Undocumented status code"),
        (wrong_shape, "violates schema"),
        (wrong_media, "Undocumented Content-Type"),
    ],
)
def test_a_broken_route_is_found(trial: Trial, handler: Any, finds: str) -> None:
    """The control: each of these routes breaks one promise."""
    with pytest.raises(FailureGroup) as found:
        judged(trial, broken(handler), broken(handler))
    assert any(finds in failure.title for failure in found.value.exceptions), found.value.exceptions


def test_a_route_that_needs_no_key_and_says_it_does_is_found(trial: Trial) -> None:
    with pytest.raises(FailureGroup, match="auth"):
        judged(trial, broken(credulous, access="public"), broken(credulous))


def test_a_route_that_takes_what_the_document_forbids_is_found(trial: Trial) -> None:
    with pytest.raises(FailureGroup, match="Schema-violating request accepted"):
        served_as = broken(credulous, media="application/json")
        judged(trial, served_as, broken(credulous, body=Asked), GenerationMode.NEGATIVE)


def test_a_route_that_tells_of_another_tenant_is_found(trial: Trial) -> None:
    judged(trial, broken(leaking), broken(leaking))
    assert trial.leaks


def test_a_route_that_works_is_not_found(trial: Trial) -> None:
    judged(trial, broken(credulous, body=Asked), broken(credulous, body=Asked))
