"""How fast history is decided again under a draft, beside the draft's compiled rules alone.

python -m benchmarks.simulated [decisions]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks import ruled
from benchmarks.lines import figure, note, ratio
from benchmarks.subject import AGENT
from kiff import ActionContract, Caller, Domain, Principal, Rule, Runtime
from kiff.analysis.simulate import Draft, Question, simulate
from kiff.analysis.simulate.again import Again, Judge
from kiff.analysis.simulate.counted import Counted
from kiff.analysis.simulate.past import Decision, pages, past
from kiff.gate import decide
from kiff.gate.case import environment, ruling
from kiff.ledger.keys import Ed25519Signer
from kiff.protocol.decision import Facts
from kiff.protocol.proposal import Proposal
from kiff.runtime.step.limits import NO_HOLDS
from kiff.stores.sqlite import SqliteStore

ORDERS = 200
ADAPTER = Caller(Principal("adapter", "service"), ("adapter",))


def history(path: Path, decisions: int, domain: Domain) -> None:
    """A database in which so many refunds were proposed under ten rules."""
    signer = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
    with Runtime(SqliteStore(path), signer, domains=[domain], max_waiting=1_000_000) as runtime:
        for number in range(ORDERS):
            placed = {"total": 1000 + number, "currency": "USD" if number % 3 else "EUR"}
            entity = f"order:{number}"
            runtime.ingest(ADAPTER, type="ORDER_PLACED", entity=entity, payload=placed).result()
            runtime.ingest(ADAPTER, type="ORDER_PAID", entity=entity).result()
        waiting = [
            runtime.propose(
                AGENT,
                entity=f"order:{number % ORDERS}",
                action=ruled.ACTION,
                parameters={"amount": (number * 7919 % 120_000) / 100, "reason": "customer request", "channel": "web"},
            )
            for number in range(decisions)
        ]
        for each in waiting:
            each.result()


Case = tuple[Domain, Proposal, Facts]


def cases(path: Path, draft: Draft) -> list[Case]:
    """The same decisions, read and ready to be made again."""
    store = SqliteStore(path, read_only=True)
    laws = draft.laws(store, "default")
    judge, made = Judge(store, "default", laws, Counted("default"), None), []
    for page in pages(store, "default", 0):
        for record in filter(lambda each: isinstance(each, Decision), map(past, page)):
            assert isinstance(record, Decision)
            again = judge.again(record, judge.ground(record), record.at_ms, NO_HOLDS)
            assert isinstance(again, Again)
            made.append((again.law.domain, again.proposal, again.facts))
    store.close()
    return made


def rate(count: int, call: Callable[[], Any]) -> float:
    """Decisions a second, the best of three rounds, by the time of this process."""
    best = 0.0
    for _ in range(3):
        start = time.process_time()
        call()
        best = max(best, count / (time.process_time() - start))
    return best


def history_rate(path: Path, draft: Draft, decisions: int, **question: Any) -> float:
    def once() -> None:
        store = SqliteStore(path, read_only=True)
        told = simulate(store, draft, Question(**question))
        assert (told.decisions, told.undecided) == (decisions, 0), told
        store.close()

    return rate(decisions, once)


def changed(limits: bool) -> Domain:
    """The draft: another threshold, and perhaps limits."""
    rules = [
        Rule(id=rule.id, when=rule.when.replace("> 50", "> 60"), then=rule.then)  # type: ignore[arg-type]
        for rule in ruled.RULES
    ]
    asked: ActionContract = ruled.action(rules=rules, limits=ruled.LIMITS if limits else ())
    return ruled.domain([asked])


def measure(folder: Path, decisions: int) -> None:
    """Prints the rates of a simulation beside those of the gate and of the rules over the same decisions."""
    domain, draft = ruled.domain(), changed(False)
    path = folder / "simulated.db"
    history(path, decisions, domain)
    ready, terms = cases(path, Draft(draft)), draft.terms[ruled.ACTION]
    envs = [environment(proposal, facts) for _, proposal, facts in ready]
    rules = rate(decisions, lambda: [ruling(terms, env) for env in envs])
    gate = rate(decisions, lambda: [decide(*each) for each in ready])
    note(f"{decisions} decisions under ten rules, from a SQLite file")
    figure("their compiled rules alone", f"{rules:.0f} /s")
    figure("the gate alone, everything read before", f"{gate:.0f} /s")
    for what, question, with_limits in (
        ("independent", {}, False),
        ("sequential", {"sequential": True}, False),
        ("independent, two limits counted", {}, True),
    ):
        got = history_rate(path, Draft(changed(with_limits)), decisions, **question)
        ratio(f"history {what}, over the gate", got / gate, "at least 0.50", f"{got:.0f} /s")
        ratio(f"history {what}, over the rules", got / rules, "at least 0.50", f"{1e6 / got:.1f} us each")


def main() -> None:
    decisions = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder), decisions)


if __name__ == "__main__":
    main()
