"""A command's place on a server: the key says who acts, and the server runs what is cleared."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import click

from kiff.canonical import encode
from kiff.cli.credentials import key_for
from kiff.cli.domain_file import read_text
from kiff.cli.place import Call, Executors, Governed, Looked, PolicyVersion, Trial, Version, decided_by, startable
from kiff.cli.policy_file import policy_text
from kiff.client import Client
from kiff.client.address import server_url
from kiff.client.nouns import Approval, Operation, Rehearsed, State
from kiff.domain import load
from kiff.errors import KiffError, NotFound
from kiff.protocol.ids import split_ref
from kiff.protocol.proposal import Mode
from kiff.runtime import Activated, Decided, Erased, Ingested, Rebuilt, Reviewed, Settled
from kiff.runtime.answers import PolicyActivated, Shadowed

ENDS_SECONDS = 30.0
LOOKS_SECONDS = 0.2
HINTS = {
    "approval_required": "a reviewer says kiff approvals grant {approval}; kiff approvals watch {approval} waits",
    "executor_missing": "whoever runs the server gives it executors",
    "permission_denied": "kiff members says who has which roles, kiff.yaml gives a role its permissions",
}


class OnServer:
    """Talks to one server with one key.

    Args:
        tenant: whose credential; None when that was not said.
    """

    def __init__(self, url: str, tenant: str | None, *, sandbox: bool = False) -> None:
        self.url = server_url(url)
        self._tenant = tenant
        self._sandbox = sandbox

    @property
    def whose(self) -> str:
        return f"the key's tenant at {self.url}"

    @property
    def hints(self) -> Mapping[str, str]:
        return HINTS

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client with the credential for the server.

        Raises:
            Unauthorized: there is none.
        """
        with Client(self.url, key_for(self.url, self._tenant, sandbox=self._sandbox)) as client:
            yield client

    @contextmanager
    def reading(self) -> Iterator[ServerReading]:
        with self.client() as client:
            yield ServerReading(client)

    watching = reading

    def put(self, mode: Mode, call: Call, executors: Executors, *, settles: bool) -> tuple[Decided, str | None]:
        with self.client() as client:
            if mode == "execute":
                answer: Decided = client.execute(**_named(call), id=call.id)
            else:
                answer = client.propose(**_named(call), id=call.id, settles=settles)
            return answer, None if answer.outcome == "allowed" else _decided_by(client, answer.receipt_id)

    def rehearse(self, mode: Mode, call: Call, executors: Executors, *, settles: bool) -> Rehearsed:
        named = _named(call)
        del named["reasoning_summary"]
        with self.client() as client:
            return client.validate(**named, mode=mode)

    def ingest(self, event: Mapping[str, Any], *, dry_run: bool) -> Ingested:
        _no_rehearsal(dry_run, "an event")
        with self.client() as client:
            return client.ingest(**event)

    def settle(self, operation_id: str, status: Any, said: Mapping[str, Any], *, dry_run: bool) -> Settled:
        _no_rehearsal(dry_run, "a settlement")
        with self.client() as client:
            return client.settle(operation_id, status, **said)

    def review(
        self,
        verdict: Literal["grant", "deny"],
        approval_id: str,
        reason: str,
        key: str,
        executors: Executors,
        *,
        dry_run: bool,
    ) -> Reviewed:
        _no_rehearsal(dry_run, "a review")
        with self.client() as client:
            review = client.grant if verdict == "grant" else client.deny
            return review(approval_id, reason, key=key)

    def erase(self, what: str) -> Erased:
        with self.client() as client:
            return client.erase(what)

    def activate(self, file: Path, *, dry_run: bool) -> Activated:
        _no_rehearsal(dry_run, "a publication", "; kiff check FILE and kiff domains diff FILE say what it would be")
        text = read_text(file)
        with self.client() as client:
            return client.domains.activate(text)

    def activate_policy(self, file: Path | None, published: str | None, *, dry_run: bool) -> PolicyActivated:
        _no_rehearsal(dry_run, "a policy", "; kiff policies check FILE --governing says what it would meet")
        text = None if file is None else policy_text(file)
        with self.client() as client:
            if text is not None:
                return client.policies.activate(text)
            return client.policies.take_back() if published is None else client.policies.use(published)

    def shadow(self, file: Path | None, slug: str) -> Shadowed:
        text = None if file is None else read_text(file)
        slug = load(text, str(file)).name if text is not None else slug
        with self.client() as client:
            return client.domains.shadow(slug, text)


class ServerReading:
    """What a server says to the holder of one key."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._risks: dict[str, dict[str, str]] = {}

    def state(self, entity: str, at: int | None) -> State | None:
        return self._client.state(entity, at=at)

    def entities(self, type: str | None, after: str) -> Iterator[State]:
        return self._client.entities(type=type, after=after)

    def entity(self, entity: str) -> Governed:
        found = self._client.state(entity)
        if found is None:
            raise NotFound(f"nothing has happened to `{entity}`", entity=entity)
        told = self._client.allowed_actions(entity)
        return Governed(
            entity=found.entity,
            state=found.state,
            version=found.version,
            domain=told.version,
            held_by=told.held_by,
            waiting=[each.id for each in self._client.approvals(status="pending", entity=entity)],
            startable=[startable(a.name, a.risk, a.approval) for a in told.actions if found.state in a.allowed_states],
        )

    def timeline(self, entity: str, after: int) -> Iterator[dict[str, Any]]:
        return self._client.timeline(entity, after=after)

    def risk(self, record: Mapping[str, Any]) -> str | None:
        """By the contract that governs now: whoever reads records need not be one who reads domains."""
        action, entity = record["data"].get("action"), record["entity"]
        return None if action is None or entity is None else self._risks_of(entity).get(action)

    def rebuild(self, entity: str) -> Rebuilt:
        return self._client.rebuild(entity)

    def approvals(self, status: Any, limit: int) -> list[Approval]:
        return self._client.approvals(status=status, limit=limit)

    def approval(self, approval_id: str) -> Approval:
        return self._client.approval(approval_id)

    def look(self, approval: Approval) -> Looked:
        found = self._client.state(approval.entity)
        moved = found is not None and found.version != approval.entity_version
        risk = self._risks_of(approval.entity).get(approval.action)
        return Looked(risk, None if found is None else found.state, moved)

    def operations(self, status: Any, limit: int) -> list[Operation]:
        return [each for each, _ in zip(self._client.operations(status=status), range(limit), strict=False)]

    def operation(self, operation_id: str) -> Operation | None:
        """The server answers a grant before what it started has ended."""
        until = time.monotonic() + ENDS_SECONDS
        while True:
            try:
                found = self._client.operation(operation_id)
            except NotFound:  # it runs, and is not for this key to see
                return None
            if found.status != "open" or time.monotonic() >= until:
                return found
            time.sleep(LOOKS_SECONDS)

    def receipts(self, entity: str | None, after: int) -> Iterator[dict[str, Any]]:
        """A record names the receipt that it binds, and says what the receipt says."""
        for record in self._client.records(entity=entity, after=after):
            data = record["data"]
            if isinstance(data.get("receipt"), dict) and "id" in data["receipt"]:
                reasons = data.get("reasons") or [{"code": "allowed"}]
                yield {
                    "seq": record["seq"],
                    "receipt_id": data["receipt"]["id"],
                    "issued_at": record["at"],
                    "entity": record["entity"],
                    "action": data.get("action"),
                    "decision": data.get("outcome"),
                    "reason": reasons[0]["code"],
                    "trace_id": record["trace_id"],
                }

    def receipt(self, receipt_id: str, *, proof: bool = False) -> dict[str, Any]:
        return self._client.receipt(receipt_id, proof=proof)

    def bundle(self, receipt_id: str) -> dict[str, Any]:
        return self._client.bundle(receipt_id)

    def jws(self, receipt_id: str) -> str:
        return self._client.jws(receipt_id)

    def versions(self) -> list[Version]:
        found = []
        for domain in self._client.domains.all():
            governs = {version: kind for kind, version in domain.active.items()}
            for each in self._client.domains.versions(domain.slug):
                governed = governs.get(each.version)
                found.append(Version(each.version, domain.slug, each.digest, governed, each.shadow))
        return found

    def content(self, version: str) -> bytes:
        for domain in self._client.domains.all():
            if any(each.version == version for each in self._client.domains.versions(domain.slug)):
                return load(self._client.domains.yaml(domain.slug, version), version).content
        raise NotFound(f"no version `{version}` is published", version=version, hint="kiff domains list")

    def explain(self, id: str) -> dict[str, Any]:
        return self._client.explain(id)

    def simulate(self, trial: Trial) -> dict[str, Any]:
        if trial.file is None:
            raise click.UsageError("a server tries a policy together with a domain: give the kiff.yaml too")
        text = read_text(trial.file)
        return self._client.domains.simulate(
            load(text, str(trial.file)).name,
            text,
            policy=None if trial.policy is None else policy_text(trial.policy),
            since=trial.since,
            action=trial.action,
            sequential=trial.sequential,
            examples=trial.examples,
            minutes_per_approval=trial.minutes,
        )

    def policies(self) -> list[PolicyVersion]:
        return [PolicyVersion(e.version, e.policy, e.digest, e.active) for e in self._client.policies.all()]

    def policy(self, version: str | None) -> bytes:
        policies = self._client.policies
        shown = policies.in_force() if version is None else policies.version(version)
        return encode(shown.content)

    def _risks_of(self, entity: str) -> dict[str, str]:
        kind = split_ref(entity)[0]
        if kind not in self._risks:
            self._risks[kind] = {each.name: each.risk for each in self._client.allowed_actions(entity).actions}
        return self._risks[kind]


def _named(call: Call) -> dict[str, Any]:
    """A call as the client takes it."""
    return {
        "entity": call.entity,
        "action": call.action,
        "parameters": call.parameters,
        "approval_id": call.approval_id,
        "reasoning_summary": call.reasoning,
    }


def _decided_by(client: Client, receipt_id: str) -> str | None:
    """The versions that a decision was made under. Not to know them must not hide the decision."""
    try:
        return decided_by(client.receipt(receipt_id))
    except KiffError:
        return None


def _no_rehearsal(dry_run: bool, what: str, more: str = "") -> None:
    if dry_run:
        raise click.UsageError(f"a server has no dry run of {what}{more}")
