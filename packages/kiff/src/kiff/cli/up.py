"""`kiff up`: one command, and there is a server with a governed domain, three keys, and something outside to refund."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kiff.cli.domain_file import read_domain
from kiff.cli.executors_file import registry
from kiff.cli.server_options import (
    adapter_secrets,
    port_of,
    remote_executors,
    rollback_option,
    server_options,
    start_logging,
)
from kiff.stores.durable_file import make_folder

if TYPE_CHECKING:
    from kiff.server.tower import Tower

PROJECT = Path(__file__).parents[1] / "templates" / "refund-ops"
TENANT = "kiff-demo"
KEYS = {"agent": "ops-agent", "reviewer": "ops-human", "owner": "owner"}
"""Which key is whose."""


Executors = Mapping[str, Callable[..., Any]]


@click.command("up")
@server_options
@click.option("--domain", type=click.Path(path_type=Path), help="A kiff.yaml of your own, instead of refund-ops.")
@click.option("--executors", type=click.Path(path_type=Path), help="Its EXECUTORS.")
@rollback_option
@click.option("--new-keys", is_flag=True, help="Mint three more keys; those from before stay good.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    data: Path,
    host: str,
    port: str,
    issuer: str,
    log_level: str,
    domain: Path | None,
    executors: Path | None,
    accept_rollback: tuple[str, ...],
    new_keys: bool,
    output: str,
) -> None:
    """Start a server: the tenant `kiff-demo`, the domain refund-ops, keys for an agent, a reviewer and an owner.

    The keys are printed once. Started again on the same folder, it goes on where it was.
    """
    start_logging(log_level)
    make_folder(data)
    with _outside(data, executors) as functions:
        from kiff.server.serving import Serving  # while the ledger starts
        from kiff.server.settings import ServerSettings

        given = ServerSettings(
            data=data,
            host=host,
            port=port_of(port),
            issuer=issuer,
            adapter_secrets=adapter_secrets(data),
            remote=remote_executors(data),
            log_level=log_level,
            accept_rollback=accept_rollback,
        )
        serving = Serving(given, executors=functions())
        keys = _prepare(serving.tower, domain, new_keys=new_keys)
        serving.run(lambda: _tell(serving.url, keys, output))


def _prepare(tower: Tower, domain: Path | None, *, new_keys: bool) -> dict[str, str | None]:
    """The tenant, its people, its domain and its keys. On the second start they are there."""
    from kiff.protocol.authority import Member, Tenant

    if tower.store.row(Tenant, TENANT, "tenant") is None:
        new_keys = True
        tower.found(
            TENANT,
            [
                Member(TENANT, "ops-agent", "agent", "owner", "The refund agent", "ops_agent", True),
                Member(TENANT, "ops-human", "human", None, "The reviewer", "ops_operator,auditor", True),
                Member(TENANT, "owner", "human", None, "The owner", "tenant_owner,admin,event_source,operator", True),
            ],
        )
        tower.activate(TENANT, read_domain(domain or PROJECT / "kiff.yaml"))
    return {name: tower.mint(TENANT, whose, f"kiff up: {name}") if new_keys else None for name, whose in KEYS.items()}


@contextmanager
def _outside(data: Path, executors: Path | None) -> Iterator[Callable[[], Executors]]:
    """What executors change: an outside payment ledger, in a process and a file of its own, unless there are others."""
    if executors is not None:
        with redirect_stdout(sys.stderr):
            functions = registry(executors)
        yield lambda: functions
        return
    sys.path.insert(0, str(PROJECT))  # a project is a folder of plain modules, not part of this package
    folder = data / "outside"
    folder.mkdir(exist_ok=True)
    ledger = import_module("ledger_process").LedgerProcess(folder / "payments.jsonl")
    try:
        yield lambda: import_module("executors").registry(ledger.address)
    finally:
        ledger.stop()


def _tell(url: str, keys: Mapping[str, str | None], output: str) -> None:
    if output == "json":
        click.echo(json.dumps({"url": url, "tenant": TENANT, "keys": keys}))
        sys.stdout.flush()
        return
    click.echo(f"kiff is up at {url}, tenant {TENANT}; Ctrl-C ends it")
    for name, key in keys.items():
        click.echo(f"  {name:9s} {key or 'printed on the first start; --new-keys mints another'}")
    click.echo(f"\nthe reference is at {url}/v1/docs; something to try, an order that is paid and its refund:\n")
    order = {"entity_type": "order", "entity_id": "ord_001", "source": "stripe"}
    for event in ("ORDER_PLACED", "ORDER_PAID"):
        _curl(f"{url}/v1/events", keys["owner"] or "$OWNER_KEY", {"type": event, **order})
    parameters = {"amount": 49.0, "reason": "customer request"}
    refund = {"entity_type": "order", "actor": {"id": "ops-agent", "type": "agent"}, "parameters": parameters}
    _curl(f"{url}/v1/entities/ord_001/actions/AUTO_REFUND/execute", keys["agent"] or "$AGENT_KEY", refund)
    sys.stdout.flush()


def _curl(url: str, key: str, body: Mapping[str, Any]) -> None:
    click.echo(f"  curl {url} \\")
    click.echo(f"    -H 'authorization: Bearer {key}' -H 'content-type: application/json' \\")
    click.echo(f"    -d '{json.dumps(body)}'")
