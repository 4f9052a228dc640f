"""actions.py: a contract per action, and a stub per executor that says so until somebody writes it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from kiff.cli.scaffolding.names import function_names
from kiff.cli.scaffolding.source import WIDTH, Call, Name, assigned, source
from kiff.domain import Domain
from kiff.protocol.action import ActionContract, ApprovalPolicy, Emits

_HEAD = '''\
"""{entity}: what may be proposed, and what does it. Written by `kiff scaffold`; yours to edit.

ACTIONS are the contracts that KIFF decides by. EXECUTORS is the only code that a cleared action runs. An executor
gets one `Operation`, sends `operation.id` on as the idempotency key of the effect, and returns
{{"status": "succeeded", "message": ..., "output": ...}}. It raises `kiff.ActionFailed` only when nothing can have
happened outside; after any other exception nobody knows, so nothing is sent again until a person has looked.
"""

from __future__ import annotations

{imports}
'''
_TYPE = "dict[str, Callable[[Operation], dict[str, Any]]]"
_TAKEN = (
    "ACTIONS",
    "ActionContract",
    "Any",
    "Approval",
    "ApprovalPolicy",
    "Callable",
    "EXECUTORS",
    "Emits",
    "Operation",
    "Risk",
    "Unfinished",
    "annotations",
)
_NO_POLICY = ApprovalPolicy()


def actions_module(domain: Domain) -> str:
    """The source of actions.py."""
    contracts = tuple(_contract(contract) for contract in domain.actions.values())
    users = _users(domain)
    names = function_names(users, taken=_TAKEN)
    stubs = [_stub(executor, names[executor], contracts) for executor, contracts in users.items()]
    registry = {executor: Name(name) for executor, name in names.items()}
    head = _HEAD.format(entity=domain.entity, imports=_imports(contracts))
    parts = [head + assigned("ACTIONS", contracts), *stubs, assigned("EXECUTORS", registry, _TYPE)]
    return "\n\n\n".join(parts) + "\n"


def _users(domain: Domain) -> dict[str, list[ActionContract]]:
    """Executor name -> the contracts that use it."""
    users: dict[str, list[ActionContract]] = {}
    for contract in domain.actions.values():
        if contract.executor_name:
            users.setdefault(contract.executor_name, []).append(contract)
    return users


def _imports(contracts: Sequence[Call]) -> str:
    used = {"ActionContract", "Approval", "Operation", "Risk"}
    used |= {call.called for contract in contracts for call in contract.named.values() if isinstance(call, Call)}
    used |= {"Unfinished"} if any("executor" in contract.named for contract in contracts) else set()
    imported = f"from kiff import {', '.join(sorted(used))}"
    return f"from collections.abc import Callable\nfrom typing import Any\n\n{imported}\n"


def _contract(contract: ActionContract) -> Call:
    """What is read strictly when it is not stated is stated; what stands at its default is not."""
    named: dict[str, Any] = {
        "name": contract.name,
        "description": contract.description or None,
        "allowed_states": contract.allowed_states,
        "required_parameters": contract.required_parameters or None,
        "required_permissions": contract.required_permissions,
        "risk": Name(f"Risk.{contract.risk.name}"),
        "approval_requirement": Name(f"Approval.{contract.approval_requirement.name}"),
        "executor": contract.executor_name or None,
        "parameters": contract.parameters,
        "approval_policy": _policy(contract),
        "lock": "none" if contract.lock == "none" else None,
        "emits": _emits(contract.emits),
        "timeout_seconds": None if contract.timeout_seconds == 30 else contract.timeout_seconds,
    }
    stated = {name: value for name, value in named.items() if value is not None}
    return Call("ActionContract", named=stated, spread=True)


def _policy(contract: ActionContract) -> Call | None:
    """The policy without what the contract means anyway."""
    policy = contract.approval_policy
    bare = ActionContract(contract.name, required_permissions=contract.required_permissions)
    stated = {
        name: getattr(policy, name)
        for name in ("permissions", "expires_seconds", "use_within_seconds", "on_grant")
        if getattr(policy, name) != getattr(_NO_POLICY, name)
    }
    if policy.permissions == bare.reviewer_permissions:
        stated.pop("permissions", None)
    return Call("ApprovalPolicy", named=stated) if stated else None


def _emits(emits: Emits) -> Call | None:
    if not emits.declared:
        return None
    named = {"success": emits.success, "failure": emits.failure}
    return Call("Emits", named={name: events for name, events in named.items() if events})


def _stub(executor: str, name: str, contracts: Sequence[ActionContract]) -> str:
    head = f"def {name}(operation: Operation) -> dict[str, Any]:"
    if len(head) > WIDTH:
        head = f"def {name}(\n    operation: Operation,\n) -> dict[str, Any]:"
    unfinished = source(Call("Unfinished", (f"{executor} is not written yet",)), indent=4, before=len("    raise "))
    return f"{head}\n{_docstring(contracts)}\n    raise {unfinished}"


def _docstring(contracts: Sequence[ActionContract]) -> str:
    """What runs it, what it gets, what its answer stands for."""
    parameters = dict.fromkeys(p for c in contracts for p in (*c.required_parameters, *(c.parameters or ())))
    given = f"Gets {_listed(f'`{p}`' for p in parameters)} in `operation.parameters`." if parameters else ""
    runs = _filled(f'"""Runs {_listed(c.name for c in contracts)}.')
    details = [_filled(line) for line in (given, _reports(contracts)) if line]
    if not details and "\n" not in runs and len(runs) + 3 <= WIDTH:
        return f'{runs}"""'
    return "\n".join([runs, *([""] if details else []), *details, '    """'])


def _reports(contracts: Sequence[ActionContract]) -> str:
    """Which events the answer stands for, and when it has to say which."""
    success = dict.fromkeys(event for contract in contracts for event in contract.emits.success)
    failure = dict.fromkeys(event for contract in contracts for event in contract.emits.failure)
    if any(len(contract.emits.success) > 1 or len(contract.emits.failure) > 1 for contract in contracts):
        return f'Names what happened in "events": {_listed((*success, *failure), "or")}.'
    told = f"A success is {_listed(success, 'or')}." if success else ""
    return f"{told} A failure is {_listed(failure, 'or')}.".strip() if failure else told


def _listed(names: Iterable[str], word: str = "and") -> str:
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else last


def _filled(line: str) -> str:
    return textwrap.fill(
        line, WIDTH, initial_indent="    ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
