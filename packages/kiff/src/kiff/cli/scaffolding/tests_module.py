"""test_domain.py: every promise of the domain, written down as it is now, so that a change of it shows."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from string import Template
from typing import Any

from kiff.cli.scaffolding.examples import example_call
from kiff.cli.scaffolding.paths import Paths, paths
from kiff.cli.scaffolding.roles import roles_for
from kiff.cli.scaffolding.source import WIDTH, Call, assigned, source
from kiff.domain import Domain
from kiff.protocol.action import ActionContract, Approval

_TEMPLATE = Path(__file__).with_name("test_domain.txt")
_WITH_REPORTER = '''
def with_reporter(domain: kiff.Domain) -> kiff.Domain:
    """The domain with one more role: none of its own may say what happened (`events.ingest`), and these tests must."""
    document = json.loads(domain.content)
    document["permissions"]["roles"].setdefault("test-reporter", []).append("events.ingest")
    return kiff.load(json.dumps(document))

'''


def tests_module(domain: Domain, yaml: str) -> str:
    """The source of test_domain.py.

    Args:
        yaml: the path of the kiff.yaml, from the folder of the test.
    """
    ways = paths(domain)
    left = {name: why for name in domain.actions if (why := _why_left(domain, name, ways))}
    calls = tuple(_call(domain, contract, ways) for name, contract in domain.actions.items() if name not in left)
    reporter = roles_for(domain, ("events.ingest",))
    return Template(_TEMPLATE.read_text("utf-8")).substitute(
        yaml=source(yaml),
        calls=assigned("CALLS", calls, "tuple[Call, ...]"),
        left=assigned("LEFT", left, "dict[str, str]"),
        paths=assigned("PATHS", _written(domain, ways)),
        paths_told="events" if not domain.payloads else "events, with their payloads,",
        step="event" if not domain.payloads else "event, payload",
        payload="" if not domain.payloads else ", payload=payload",
        unreached=_unreached([state for state in domain.states if state not in ways]),
        reporter=source(reporter or ("test-reporter",)),
        json="" if reporter else "import json\n",
        governed="" if reporter else _WITH_REPORTER,
        domain="DOMAIN" if reporter else "with_reporter(DOMAIN)",
    )


def _written(domain: Domain, ways: Paths) -> dict[str, tuple[Any, ...]]:
    """The paths as the module has them: events alone where no payload is declared."""
    if domain.payloads:
        return dict(ways)
    return {state: tuple(event for event, _ in steps) for state, steps in ways.items()}


def _why_left(domain: Domain, action: str, ways: Paths) -> str:
    """Why an action cannot be tried without its author; empty when it can."""
    contract = domain.actions[action]
    states, policy = contract.allowed_states, contract.approval_policy
    if not any(state in ways for state in states):
        return f"no events lead to {', '.join(states)}"
    if _depends(domain, contract):
        return "its conditions decide: write a call for each side of them"
    if policy.evidence != "key":
        return "a reviewer must have signed in: write a test that does"
    _, missing = example_call(domain, action)
    return f"no value was found that fits {', '.join(missing)}: write one" if missing else ""


def _depends(domain: Domain, contract: ActionContract) -> bool:
    """Whether what comes of a call depends on more than its states and its roles."""
    grants = json.loads(domain.content)["permissions"].get("grants", ())
    granted = {permission for grant in grants for permission in grant["permissions"]}
    asks = contract.when or contract.rules or contract.limits or granted.intersection(contract.required_permissions)
    return bool(asks) or contract.approval_requirement is Approval.CONDITIONAL


def _call(domain: Domain, contract: ActionContract, ways: Paths) -> Call:
    parameters, _ = example_call(domain, contract.name)
    named: dict[str, Any] = {
        "roles": roles_for(domain, contract.required_permissions),
        "states": tuple(state for state in contract.allowed_states if state in ways),
    }
    if contract.approval_requirement is not Approval.NEVER:
        named["reviewers"] = roles_for(domain, contract.reviewer_permissions)
        named |= {"quorum": contract.approval_policy.quorum} if contract.approval_policy.quorum > 1 else {}
    return Call("Call", (contract.name, parameters), named)


def _unreached(states: list[str]) -> str:
    if not states:
        return ""
    line = f"No events lead to {', '.join(states)}, so nothing here tries them."
    return textwrap.fill(line, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False) + "\n"
