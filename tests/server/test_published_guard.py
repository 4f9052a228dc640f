"""The guard that is published for v1 of the protocol, run unchanged against a served tower.

It has the import name that ours has, so it runs in a process that can import nothing but it and the standard library.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from own_tenant import OwnTenant
from served import DOMAIN, PATIENCE_SECONDS, Served, served

from kiff.server.settings import Limits

pytestmark = pytest.mark.slow

PINS = Path(__file__).parents[2] / "requirements" / "published-guard.txt"
INSTALL_SECONDS = 180
BEFORE = """
import importlib.util, json, sys
given = json.loads(sys.argv[1])
sys.path.insert(0, given["folder"])
assert importlib.util.find_spec("kiff") is None, "the guard must not be able to see ours"
from kiff_guard import *
import kiff_guard
assert kiff_guard.__file__.startswith(given["folder"]) and kiff_guard.__version__ == "1.7.0"
tools = ToolMap()
tools.bind("refund", action="AUTO_REFUND", entity_type="Order", entity_arg="order_id")
tools.bind("refund_much", action="REFUND_ORDER", entity_type="Order", entity_arg="order_id")
tools.bind("destroy", action="DESTROY_ORDER", entity_type="Order", entity_arg="order_id")
client = HTTPClient(api_key=given["key"], tool_map=tools, base_url=given["url"])

def refund(order, tool="refund", **more):
    return {"order_id": order, "amount": 49.0, "reason": "customer request"} | more

def decide(order, tool="refund", agent="ops-agent", **more):
    return client.decide("any tenant", agent, tool, refund(order, **more))

def say(**told):
    print(json.dumps(told, default=vars))
"""

Run = Callable[..., Any]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published guard, in a folder of its own. A test that cannot have it fails: it is half of what `v1` means."""
    folder = tmp_path_factory.mktemp("published-guard")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes"]
    install += ["--only-binary", ":all:", "--target", str(folder), "--requirement", str(PINS)]
    done = subprocess.run(install, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    if done.returncode:
        needs = f"it needs a package index that has what {PINS.name} pins; pip said:\n{done.stderr[-2_000:]}"
        pytest.fail(f"the published guard could not be installed: {needs}")
    return folder


@pytest.fixture
def own(shop: Served) -> OwnTenant:
    return OwnTenant(shop)


@pytest.fixture
def run(folder: Path, own: OwnTenant) -> Run:
    """Runs lines of a program that uses the guard; what it says comes back."""
    return partial(said_by, folder, own)


def said_by(folder: Path, shop: Served, program: str, key: str = "agent") -> Any:
    """What a program says that uses the guard with one key of a shop. No proxy stands before a server on loopback."""
    given = {"folder": str(folder), "url": shop.serving.url, "key": shop.keys.get(key, key)}
    command = [sys.executable, "-I", "-S", "-c", BEFORE + program, json.dumps(given)]
    bare = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, env=bare)
    assert done.returncode == 0, done.stderr[-2_000:]
    return json.loads(done.stdout)


def test_a_blocked_call_is_withheld(own: OwnTenant, run: Run) -> None:
    told = run("say(decision=decide('ord_1'))")["decision"]
    assert (told["outcome"], bool(told["proposal_id"])) == ("blocked", True)


def test_a_call_that_needs_approval_is_withheld(own: OwnTenant, run: Run) -> None:
    own.paid("ord_1")
    told = run("say(decision=decide('ord_1', 'refund_much', amount=999.0))")["decision"]
    assert told["outcome"] == "approval_required"
    [approval] = own.get("/v1/approvals?status=pending", "owner").body["approvals"]
    assert approval["proposal_id"] == told["proposal_id"]


INVALID = {
    "an action that nobody declared": "decide('ord_1', 'destroy')",
    "a parameter that is missing": "client.decide('t', 'ops-agent', 'refund', {'order_id': 'ord_1', 'amount': 1.0})",
    "a parameter that is too large": "decide('ord_1', amount=5000.0)",
    "a parameter that claims authority": "decide('ord_1', kiff_untrusted=False)",
    "an entity id that is none": "decide('ord 1/..')",
}


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_call_is_withheld_and_says_so(own: OwnTenant, run: Run, name: str) -> None:
    own.paid("ord_1")
    told = run(f"say(decision={INVALID[name]})")["decision"]
    assert told["outcome"] == "invalid"
    assert told["reason"]


def test_another_agent_than_the_keys_is_withheld(own: OwnTenant, run: Run) -> None:
    own.paid("ord_1")
    assert run("say(decision=decide('ord_1', agent='somebody'))")["decision"]["outcome"] != "allowed"


def test_a_limit_is_told_as_one(folder: Path, tmp_path: Path) -> None:
    """A key may ask twice, and then not for a long while."""
    with served(tmp_path, Limits(key_rate=0.001, key_burst=2, tenant_rate=0)) as shop:
        shop.paid("ord_1")
        told = said_by(folder, shop, "say(outcomes=[decide('ord_1').outcome for _ in range(3)])")
        assert told["outcomes"] == ["allowed", "blocked", "limit_exceeded"]


def test_a_key_that_is_revoked_allows_nothing_more(own: OwnTenant, run: Run) -> None:
    own.paid("ord_1", "ord_2")
    minted = own.post("/v1/keys", {"principal": "ops-agent"}, "owner").body
    assert run("say(decision=decide('ord_1'))", minted["secret"])["decision"]["outcome"] == "allowed"
    own.ask("DELETE", f"/v1/keys/{minted['key']['id']}", None, "owner")
    assert run("say(decision=decide('ord_2'))", minted["secret"])["decision"]["outcome"] != "allowed"


def test_enforcing_holds_what_is_not_allowed_and_runs_what_is(own: OwnTenant, run: Run) -> None:
    own.paid("ord_1", "ord_2")
    told = run(
        """
ran, held = [], []
guard = Guard(client=client, tenant="t", agent="ops-agent", mode="enforce")
for tool, args in (("refund", refund("ord_1")), ("refund_much", refund("ord_2")), ("unmapped", {})):
    try:
        guard.evaluate(tool, args, run=lambda: ran.append(args["order_id"]))
    except Hold as hold:
        held.append(hold.decision.outcome)
say(ran=ran, held=held, receipts=[(each.outcome, each.executed, bool(each.proposal_id)) for each in guard.receipts])
"""
    )
    assert (told["ran"], told["held"]) == (["ord_1"], ["approval_required", "invalid"])
    assert told["receipts"] == [["allowed", True, True], ["approval_required", False, True], ["invalid", False, False]]


def test_an_allowed_call_is_allowed_and_recorded(own: OwnTenant, run: Run) -> None:
    own.paid("ord_1")
    told = run("say(decision=decide('ord_1'))")["decision"]
    assert told["outcome"] == "allowed"
    proposal = own.get(f"/v1/proposals/{told['proposal_id']}", "owner").body["proposal"]
    assert proposal["outcome"] == "allowed"


def test_a_client_that_names_the_domain_means_that_one(own: OwnTenant, run: Run) -> None:
    own.paid("ord_1")
    program = """
named = {domain: HTTPClient(given["key"], tools, given["url"], domain=domain) for domain in ("refund-ops", "lots")}
say(**{domain: each.decide("t", "ops-agent", "refund", refund("ord_1")).outcome for domain, each in named.items()})
"""
    assert run(program) == {"refund-ops": "allowed", "lots": "invalid"}


def test_the_context_of_a_run_is_recorded_beside_the_parameters(own: OwnTenant, run: Run) -> None:
    own.paid("ord_1")
    run(
        """
guard = Guard(client=client, agent="ops-agent", mode="enforce", run_id="run-7",
              untrusted_tools=["browse"], sensitive_tools=["vault"])
guard.mark_untrusted_input()
say(decision=guard.decide_only("refund", refund("ord_1")))
"""
    )
    records = own.get("/v1/entities/order:ord_1/timeline?kind=decision_recorded", "owner").body["records"]
    context = records[-1]["data"]["proposal"]["run_context"]
    assert context == {"run_id": "run-7", "sensitive_read": False, "untrusted_input": True}


@pytest.mark.parametrize("agent", ["agent='ops-agent', ", ""])
def test_a_guard_connects_and_is_told_which_agent_it_stands_beside(own: OwnTenant, run: Run, agent: str) -> None:
    told = run(
        f"""
guard = Guard(client=client, {agent}mode="observe")
say(connection=guard.connect("agno", project="shop", environment="prod", sdk_version="1.7.0"), agent=guard.agent)
"""
    )
    connection = told["connection"]
    assert connection.pop("runtime_id").startswith("grt_")
    assert connection.pop("first_seen_at") == connection.pop("last_seen_at")
    assert told["agent"] == "ops-agent"
    assert connection == {
        "heartbeat_interval": "60s",
        "tenant_id": own.tenant,
        "project": "shop",
        "environment": "prod",
        "agent_id": "ops-agent",
        "workflow": "",
        "adapter": "agno",
        "mode": "observe",
        "sdk_version": "1.7.0",
        "seen_count": 1,
    }


def test_a_guard_that_connects_again_is_seen_again(own: OwnTenant, run: Run) -> None:
    program = "say(seen=[client.connect_guard(adapter='agno', mode='enforce') for _ in range(2)])"
    first, again = run(program)["seen"]
    assert (first["runtime_id"], first["seen_count"]) == (again["runtime_id"], 1)
    assert again["seen_count"] == 2


def test_a_guard_that_may_not_connect_is_told_why(own: OwnTenant, run: Run) -> None:
    program = """
try:
    client.connect_guard(agent_id="somebody", adapter="agno", mode="observe")
except ConnectionError as error:
    say(error=str(error))
"""
    assert "acts only as `ops-agent`" in run(program)["error"]


def test_what_a_guard_saw_is_told_and_echoed(own: OwnTenant, run: Run) -> None:
    told = run(
        """
guard = Guard(client=client, agent="ops-agent", mode="observe")
for order in ("ord_1", "ord_2"):
    guard.evaluate("refund", refund(order), run=lambda: None)
guard.evaluate("look", {}, run=lambda: None)
say(observation=guard.observe_push("agno", project="shop"))
"""
    )["observation"]
    look, refund = told["tools"]
    assert (look["name"], look["observed_call_count"], look["action"]) == ("look", 1, None)
    assert (refund["action"], refund["entity_type"], refund["entity_arg"]) == ("AUTO_REFUND", "Order", "order_id")
    assert refund["observed_call_count"] == 2
    assert refund["parameter_schema"]["properties"].keys() == {"amount", "order_id", "reason"}
    assert (told["tenant_id"], told["agent_id"], told["project"]) == (own.tenant, "ops-agent", "shop")
    assert told["observed_at"] and told["updated_at"]


def test_a_good_draft_is_saved_and_valid(own: OwnTenant, run: Run) -> None:
    text = DOMAIN.read_text("utf-8")
    told = run(f"say(draft=client.save_draft({text!r}))", "owner")["draft"]
    assert (told["yaml"], told["valid"], told["issues"]) == (text, True, [])
    assert told["updated_at"] > 0


def test_the_draft_of_what_a_guard_saw_is_saved_with_what_it_lacks(own: OwnTenant, run: Run) -> None:
    program = """
guard = Guard(client=client, agent="ops-agent", mode="observe")
guard.evaluate("refund", refund("ord_1"), run=lambda: None)
say(draft=guard.save_draft("support"), exported=export_yaml("support", guard.catalog))
"""
    told = run(program, "owner")
    draft = told["draft"]
    assert (draft["yaml"], draft["valid"]) == (told["exported"], False)
    assert draft["issues"] and all(isinstance(issue, str) for issue in draft["issues"])
    kept = own.get("/v1/me/domain/draft", "owner").body
    assert [action["name"] for action in kept["parsed"]["actions"]] == ["refund"]


def test_an_agent_saves_no_draft(own: OwnTenant, run: Run) -> None:
    program = """
try:
    client.save_draft("domain: mine")
except ConnectionError as error:
    say(error=str(error))
"""
    assert "save draft failed" in run(program)["error"]
    assert own.get("/v1/me/domain/draft", "owner").status == 404
