"""actions.py: a contract per action, and a stub per executor that says so until somebody writes it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import fields

from kiff.cli.scaffolding.names import function_names
from kiff.cli.scaffolding.source import WIDTH, Call, Name, assigned, source
from kiff.domain import Domain
from kiff.protocol.action import ActionContract, Emits, Lock

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
    "Limit",
    "Lock",
    "Operation",
    "Risk",
    "Rule",
    "Unfinished",
    "annotations",
)


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
        if contract.executor_name and not contract.runs_elsewhere:
            users.setdefault(contract.executor_name, []).append(contract)
    return users


def _imports(contracts: Sequence[Call]) -> str:
    used = {"ActionContract", "Approval", "Operation", "Risk"}
    used |= {call.called for contract in contracts for call in _inside(contract)}
    used |= {"Unfinished"} if any("executor" in contract.named for contract in contracts) else set()
    imported = f"from kiff import {', '.join(sorted(used))}"
    return f"from collections.abc import Callable\nfrom typing import Any\n\n{imported}\n"


def _inside(contract: Call) -> Iterator[Call]:
    for value in contract.named.values():
        yield from (each for each in (value if type(value) is tuple else (value,)) if isinstance(each, Call))


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
        "lock": _lock(contract),
        "emits": _emits(contract.emits),
        "timeout_seconds": None if contract.timeout_seconds == 30 else contract.timeout_seconds,
        "when": contract.when or None,
        "otherwise": contract.otherwise or None,
        "rules": tuple(_written("Rule", rule) for rule in contract.rules) or None,
        "limits": tuple(_written("Limit", limit) for limit in contract.limits) or None,
        "compensate": contract.compensate or None,
    }
    stated = {name: value for name, value in named.items() if value is not None}
    return Call("ActionContract", named=stated, spread=True)


def _written(called: str, value: Struct) -> Call:
    """A value without what stands at its default."""
    named = {field.name: getattr(value, field.name) for field in fields(value)}
    stated = {field.name for field in fields(value) if named[field.name] != field.default}
    return Call(called, named={name: given for name, given in named.items() if name in stated})


def _lock(contract: ActionContract) -> str | Call | None:
    if isinstance(contract.lock, Lock):
        return _written("Lock", contract.lock)
    return None if contract.lock == "entity" else contract.lock


def _policy(contract: ActionContract) -> Call | None:
    """The policy without what the contract means anyway."""
    policy = contract.approval_policy
    bare = ActionContract(contract.name, required_permissions=contract.required_permissions)
    stated = dict(_written("ApprovalPolicy", policy).named)
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
