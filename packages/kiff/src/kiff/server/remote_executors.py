"""Executors that a contract names by an address: which of them a tenant may use, and how a call of one is made."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from kiff.runtime.executors import Operation
from kiff.runtime.ports import Clock
from kiff.server.circuit import Circuits
from kiff.server.egress import Egress
from kiff.server.egress_policy import TargetRefused
from kiff.server.https_executor import HttpsCalls
from kiff.server.mcp_servers import McpServers
from kiff.server.outcome import Outcome
from kiff.server.remote_settings import AT_ONCE, RemoteSettings

HTTPS, MCP = "https://", "mcp://"
_KNOWN = 4_096


class Target(NamedTuple):
    """Where an address leads.

    Args:
        name: what calls of a tenant share: a host and port, or an MCP server.
        at_once: how many calls of a tenant it gets.
    """

    name: str
    at_once: int
    run: Callable[[Operation, float], Outcome]


class RemoteExecutors:
    """The port `Remote`, over HTTPS and MCP. Nothing is opened before the first call.

    Args:
        settings: what the operator allows; nothing else is usable.
        egress: the way out for what tenants name.
    """

    def __init__(self, settings: RemoteSettings, egress: Egress, clock: Clock) -> None:
        self._settings = settings
        self._egress = egress
        self._circuits = Circuits(clock.monotonic)
        self._https = HttpsCalls(egress, clock)
        self._mcp = McpServers(settings.mcp)
        self._target = lru_cache(_KNOWN)(self._find)

    def usable(self, tenant: str, address: str) -> bool:
        return self._target(tenant, address) is not None

    def reserve(self, tenant: str, address: str) -> None:
        name, at_once = self._shared(tenant, address)
        self._circuits.reserve((tenant, name), at_once)

    def release(self, tenant: str, address: str) -> None:
        self._circuits.release((tenant, self._shared(tenant, address)[0]))

    def run(self, address: str, operation: Operation, seconds: float) -> Any:
        target = self._target(operation.tenant, address)
        assert target is not None, "the gate clears nothing that is not usable"
        key = (operation.tenant, target.name)
        with self._circuits.running(key, target.at_once):
            outcome = target.run(operation, seconds)
        self._circuits.told(key, reached=outcome.reached)
        if isinstance(outcome.report, Exception):
            raise outcome.report
        return outcome.report

    def close(self) -> None:
        self._https.close()
        self._mcp.close()

    def _shared(self, tenant: str, address: str) -> tuple[str, int]:
        target = self._target(tenant, address)
        return (address, AT_ONCE) if target is None else (target.name, target.at_once)

    def _find(self, tenant: str, address: str) -> Target | None:
        """The target of an address; None when this tenant may not use it."""
        if address.startswith(HTTPS):
            return self._https_target(tenant, address)
        server, _, tool = address.removeprefix(MCP).partition("/")
        how = self._settings.server(tenant, server) if address.startswith(MCP) and tool else None
        if how is None:
            return None
        return Target(
            f"{MCP}{server}", how.at_once, lambda operation, seconds: self._mcp.run(server, tool, operation, seconds)
        )

    def _https_target(self, tenant: str, url: str) -> Target | None:
        try:
            target = self._egress.policy.target(url)
        except TargetRefused:
            return None
        how = self._settings.executor(tenant, target.host, target.port)
        if how is None:
            return None
        return Target(
            target.authority, how.at_once, lambda operation, seconds: self._https.run(url, how, operation, seconds)
        )
