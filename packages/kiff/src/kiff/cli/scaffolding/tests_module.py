"""test_domain.py: every promise of the domain, written down as it is now, so that a change of it shows."""

from __future__ import annotations

import textwrap
from pathlib import Path
from string import Template

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
        paths=assigned("PATHS", ways),
        unreached=_unreached([state for state in domain.states if state not in ways]),
        reporter=source(reporter or ("test-reporter",)),
        json="" if reporter else "import json\n",
        governed="" if reporter else _WITH_REPORTER,
        domain="DOMAIN" if reporter else "with_reporter(DOMAIN)",
    )


def _why_left(domain: Domain, action: str, ways: Paths) -> str:
    """Why an action cannot be tried without its author; empty when it can."""
    states = domain.actions[action].allowed_states
    if not any(state in ways for state in states):
        return f"no events lead to {', '.join(states)}"
    _, missing = example_call(domain, action)
    return f"no value was found that fits {', '.join(missing)}: write one" if missing else ""


def _call(domain: Domain, contract: ActionContract, ways: Paths) -> Call:
    parameters, _ = example_call(domain, contract.name)
    named = {
        "roles": roles_for(domain, contract.required_permissions),
        "states": tuple(state for state in contract.allowed_states if state in ways),
    }
    if contract.approval_requirement is not Approval.NEVER:
        named["reviewers"] = roles_for(domain, contract.reviewer_permissions)
    return Call("Call", (contract.name, parameters), named)


def _unreached(states: list[str]) -> str:
    if not states:
        return ""
    line = f"No events lead to {', '.join(states)}, so nothing here tries them."
    return textwrap.fill(line, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False) + "\n"
