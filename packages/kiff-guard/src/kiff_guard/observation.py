"""What a guard tells KIFF of itself and of the tools it saw, and what KIFF makes of it. Values only."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from kiff_guard.errors import AmbiguousTool

if TYPE_CHECKING:
    from kiff_guard.catalog import Catalog
    from kiff_guard.tool_map import ToolBinding, ToolMap

SCHEMA_BYTES = 16_000
"""A schema larger than that is left out: KIFF would take none of the tools because of it."""


@dataclass
class GuardConnection:
    """A guard as KIFF knows it: the same one by tenant, project, environment, agent, workflow and adapter.

    Attributes:
        runtime_id: its id, `grt_…`.
        heartbeat_interval: how often to connect again, such as `60s`.
        agent_id: whom it stands beside; with a key that is bound to an agent, that one.
        first_seen_at, last_seen_at: RFC 3339.
        seen_count: how often it connected.
    """

    runtime_id: str
    heartbeat_interval: str
    tenant_id: str
    project: str
    environment: str
    agent_id: str
    workflow: str
    adapter: str
    mode: str
    sdk_version: str = ""
    first_seen_at: str = ""
    last_seen_at: str = ""
    seen_count: int = 0


@dataclass
class GuardToolObservation:
    """A tool that a guard saw, and as much as it knows of it. What is None is left out.

    Attributes:
        parameter_schema: JSON Schema of its arguments.
        entity_arg, action, entity_type: its binding, where it has one.
        required: the arguments that every call had.
    """

    name: str
    description: str | None = None
    parameter_schema: dict[str, Any] | None = None
    entity_arg: str | None = None
    action: str | None = None
    entity_type: str | None = None
    required: list[str] | None = None
    observed_call_count: int | None = None


@dataclass
class GuardObservation:
    """What a guard saw, as KIFF keeps it. KIFF infers neither risk nor limits from it."""

    project: str = ""
    environment: str = ""
    agent_id: str = ""
    workflow: str = ""
    tools: list[GuardToolObservation] = field(default_factory=list)
    tenant_id: str = ""
    observed_at: str = ""
    updated_at: str = ""
    runtime_id: str = ""
    adapter: str = ""
    mode: str = ""
    sdk_version: str = ""


@dataclass
class DraftResult:
    """A draft of a domain, as it was saved.

    Attributes:
        updated_at: Unix time in seconds.
        valid: it could govern as it is.
        issues: what keeps it from that, a line each.
    """

    yaml: str
    updated_at: int = 0
    valid: bool = False
    issues: list[str] = field(default_factory=list)


class GuardConnector(Protocol):
    """Says that a guard runs."""

    def connect_guard(
        self,
        agent_id: str = "",
        adapter: str = "",
        mode: str = "",
        project: str = "",
        environment: str = "",
        workflow: str = "",
        sdk_version: str = "",
    ) -> GuardConnection: ...


class ObservationPusher(Protocol):
    """Tells which tools a guard saw."""

    def observe_guard(
        self,
        agent_id: str,
        adapter: str,
        mode: str,
        tools: list[GuardToolObservation],
        project: str = "",
        environment: str = "",
        workflow: str = "",
        sdk_version: str = "",
    ) -> GuardObservation: ...


class DraftSaver(Protocol):
    """Saves the draft of a domain."""

    def save_draft(self, yaml_text: str) -> DraftResult: ...


def observations(catalog: Catalog, tool_map: ToolMap | None = None) -> list[GuardToolObservation]:
    """The tools of a catalog as KIFF is told of them, with the bindings that they have."""
    return [_observation(name, count, parameters, tool_map) for name, count, parameters in catalog.seen()]


def _observation(
    name: str, count: int, parameters: dict[str, list[str]], tool_map: ToolMap | None
) -> GuardToolObservation:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {parameter: _property(types) for parameter, types in parameters.items()},
    }
    binding = None if tool_map is None else _binding(tool_map, name)
    return GuardToolObservation(
        name,
        parameter_schema=schema if len(json.dumps(schema)) <= SCHEMA_BYTES else None,
        entity_arg=binding.entity_arg or None if binding else None,
        action=binding.action if binding else None,
        entity_type=binding.entity_type if binding else None,
        observed_call_count=count,
    )


def _property(types: list[str]) -> dict[str, Any]:
    """A schema of a parameter; one that was only ever null may be anything."""
    if not types:
        return {}
    return {"type": types[0] if len(types) == 1 else types}


def _binding(tool_map: ToolMap, name: str) -> ToolBinding | None:
    try:
        return tool_map.get(name)
    except AmbiguousTool:
        return None
