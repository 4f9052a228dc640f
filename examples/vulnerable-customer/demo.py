"""Three agents serve two customers. One event halts all of them for one customer, and the log proves it.

    python demo.py [--dir DATA] [--fresh]

It ends with 0 only if everything is as promised, with 1 if something is not, with 130 on Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
import tomllib
from bisect import bisect
from collections import Counter
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from actions import EXECUTORS
from outside import mailroom
from proof import prove

from kiff import Caller, KiffError, Principal, Runtime, load, open_runtime
from kiff.errors import Forbidden
from kiff.runtime.answers import Executed

HERE = Path(__file__).parent
TEAM = {"collections-agent": "SEND_REMINDER", "sales-agent": "OFFER_UPGRADE", "credit-agent": "RAISE_LIMIT"}
PARAMETERS = {"RAISE_LIMIT": {"amount": 250}}
TURNS = ("VULNERABILITY_FLAGGED", "VULNERABILITY_LIFTED")
ROUNDS = 5


class Lender:
    """Who asks KIFF for what. `broken` collects what is not as promised."""

    def __init__(self, runtime: Runtime) -> None:
        people = tomllib.loads((HERE / "principals.toml").read_text("utf-8"))
        self.people = {who: Caller(Principal(who, p["type"]), tuple(p["roles"])) for who, p in people.items()}
        self.runtime = runtime
        self.broken: list[str] = []
        self.run = 1
        while runtime.read.state(f"customer:cus_{self.run}01") is not None:
            self.run += 1
        self.flagged, self.other = f"cus_{self.run}01", f"cus_{self.run}02"

    def promise(self, what: str, expected: object, found: object) -> None:
        if expected != found:
            self.broken.append(f"{what}: expected {expected}, found {found}")

    def report(self, who: str, event: str, customer: str) -> None:
        self.runtime.ingest(self.people[who], type=event, entity=f"customer:{customer}", source=who).result()

    def ask(self, who: str, action: str, customer: str, **again: Any) -> Executed:
        call = {"entity": f"customer:{customer}", "action": action, "parameters": PARAMETERS.get(action, {})}
        return self.runtime.execute(self.people[who], **call, **again).result()

    def grant(self, who: str, held: Executed) -> None:
        self.runtime.grant(self.people[who], held.approval_id or "", "talked it over").result()

    def serve(self, agent: str, rounds: int) -> list[Executed]:
        """One agent at work: a call for each customer, round after round, whatever it is told."""
        both = (self.flagged, self.other)
        return [self.ask(agent, TEAM[agent], customer) for _ in range(rounds) for customer in both]

    def state(self, customer: str) -> str | None:
        kept = self.runtime.read.state(f"customer:{customer}")
        return None if kept is None else kept.state


def before(lender: Lender) -> None:
    for customer in (lender.flagged, lender.other):
        lender.report("contact-centre", "CUSTOMER_JOINED", customer)
    reasons = Counter(answer.reason for agent in TEAM for answer in lender.serve(agent, 1))
    show(f"\nThree agents serve {lender.flagged} and {lender.other}, one after the other", counted(reasons))
    lender.promise("before the flag", {"allowed": 6}, dict(reasons))


def flag(lender: Lender) -> None:
    """The event comes while all three are at work; what each asks from then on, it asks of a protected customer."""
    with ThreadPoolExecutor(len(TEAM)) as threads:
        early = [threads.submit(lender.serve, agent, ROUNDS) for agent in TEAM]
        wait(early, return_when=FIRST_COMPLETED)
        lender.report("contact-centre", "VULNERABILITY_FLAGGED", lender.flagged)
        late = [threads.submit(lender.serve, agent, ROUNDS) for agent in TEAM]
    for shift in early:
        shift.result()
    answers = [answer for shift in late for answer in shift.result()]
    show("Three agents at once; contact-centre reports VULNERABILITY_FLAGGED", f"{lender.state(lender.flagged)}")
    lender.promise("the flag", "PROTECTED", lender.state(lender.flagged))
    for customer, expected in ((lender.flagged, {"state_not_allowed"}), (lender.other, {"allowed", "entity_busy"})):
        reasons = Counter(answer.reason for answer in answers if answer.entity == f"customer:{customer}")
        show(f"   {customer}, asked after it", counted(reasons))
        lender.promise(f"{customer} after the flag: other reasons", set(), reasons.keys() - expected)


def protected(lender: Lender) -> None:
    show(f"\nWhile {lender.flagged} is protected")
    answers = {agent: line(lender, agent, TEAM[agent]) for agent in TEAM}
    lender.promise("the team", {"state_not_allowed"}, {answer.reason for answer in answers.values()})
    lender.promise("an agent lifts it", "permission_denied", line(lender, "sales-agent", "LIFT_PROTECTION").reason)
    refused = refusal(lambda: lender.report("sales-agent", "VULNERABILITY_LIFTED", lender.flagged))
    show(f"   {'sales-agent':<18} {'reports the lifting':<25} {refused}")
    lender.promise("an agent reports the lifting: refused with", "permission_denied", refused)
    with_a_second_person(lender, "CARE_CALL")


def with_a_second_person(lender: Lender, action: str) -> None:
    held = line(lender, "mira", action)
    lender.promise(f"{action} of one person", "approval_required", held.outcome)
    if held.approval_id is None:
        return
    refused = refusal(lambda: lender.grant("mira", held))
    show(f"   {'mira':<18} {'grants it herself':<25} {refused}")
    lender.promise(f"{action}: mira grants it herself", "proposer_is_reviewer", refused)
    lender.grant("noor", held)
    show(f"   {'noor':<18} grants it")
    answer = line(lender, "mira", action, id=held.proposal_id, approval_id=held.approval_id)
    lender.promise(f"{action} of two people", True, answer.executed)


def after(lender: Lender) -> None:
    with_a_second_person(lender, "LIFT_PROTECTION")
    lender.promise("after the lifting", "ACTIVE", lender.state(lender.flagged))
    reasons = Counter(answer.reason for agent in TEAM for answer in lender.serve(agent, 1))
    show(f"\nThree agents serve {lender.flagged} and {lender.other} again", counted(reasons))
    lender.promise("after the lifting", {"allowed": 6}, dict(reasons))


def effects(lender: Lender) -> None:
    """What reached them is the mailroom's word; when it was cleared, before or after the flag, is the log's."""
    records = [r for who in (lender.flagged, lender.other) for r in lender.runtime.read.timeline(f"customer:{who}")]
    cleared = {r["data"]["operation_id"]: r["seq"] for r in records if r["kind"] == "action_validated"}
    turns = [r["seq"] for r in records if r["kind"] == "event_ingested" and r["data"]["event"]["type"] in TURNS]
    found = Counter(
        (each["customer"], each["effect"] in TEAM.values(), bisect(turns, cleared[each["key"]]))
        for each in mailroom().effects()
        if each["key"] in cleared
    )
    show(f"\n{'What reached them':<36}{'before the flag':>20}{'while protected':>20}{'after lifting':>20}")
    rows = ((lender.flagged, "the team", True), (lender.flagged, "care calls", False), (lender.other, "the team", True))
    for customer, name, team in rows:
        show(f"   {customer}, {name:<24}" + "".join(f"{found[customer, team, phase]:>20}" for phase in range(3)))
    lender.promise("effects of the team on a protected customer", 0, found[lender.flagged, True, 1])
    lender.promise("care calls", 1, found[lender.flagged, False, 1])
    lender.promise("effects of the team after the lifting", len(TEAM), found[lender.flagged, True, 2])
    lender.promise("the other customer is served meanwhile", True, found[lender.other, True, 1] > 0)


def proof(lender: Lender, database: Path) -> None:
    lender.runtime.checkpoint().result()
    show("\nProof, for all runs")
    for each in prove(database, mailroom().effects()):
        show(f"   {each.name:<9} {'WRONG' if each.wrong else 'ok':<6}{each.wrong[0] if each.wrong else each.said}")
        lender.broken += [f"{each.name}: {problem}" for problem in each.wrong]


def line(lender: Lender, who: str, action: str, **again: Any) -> Executed:
    """Asks about the flagged customer, and shows the answer."""
    answer = lender.ask(who, action, lender.flagged, **again)
    outcome = "held" if answer.outcome == "approval_required" else answer.outcome
    reason = "" if answer.reason == outcome else answer.reason
    show(f"   {who:<18} {action:<16} {outcome:<8} {reason:<18}", answer.receipt_id)
    return answer


def refusal(call: Callable[[], None]) -> str:
    """What a call is refused with; `nothing` when it is not."""
    try:
        call()
    except Forbidden as error:
        return error.code
    return "nothing"


def show(text: str, right: str = "") -> None:
    print(text + right.rjust(96 - len(text.lstrip("\n"))) if right else text, flush=True)


def counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{times} {reason}" for reason, times in sorted(reasons.items()))


def near(path: Path) -> str:
    return min(str(path), os.path.relpath(path), key=len)


def play(folder: Path, *, fresh: bool) -> list[str]:
    """One run on the data in a folder. Returns what was not as promised."""
    folder.mkdir(parents=True, exist_ok=True)
    database, book = folder / "kiff.db", folder / "mailroom.jsonl"
    os.environ["MAILROOM_FILE"] = str(book)
    for left in (*folder.glob("kiff.db*"), book) if fresh else ():
        left.unlink(missing_ok=True)
    domain = load((HERE / "kiff.yaml").read_text("utf-8"))
    with open_runtime(database, domains=[domain], executors=EXECUTORS) as runtime:
        lender = Lender(runtime)
        show("vulnerable-customer: one event halts a team of agents", f"run {lender.run}")
        for scene in (before, flag, protected, after, effects):
            scene(lender)
        proof(lender, database)
    return lender.broken


def main() -> int:
    options = argparse.ArgumentParser(description="One event halts a team of agents.")
    options.add_argument("--dir", type=Path, default=HERE, help="where the data are kept (default: beside this file)")
    options.add_argument("--fresh", action="store_true", help="forget what earlier runs left")
    given = options.parse_args()
    sys.stdout.reconfigure(errors="replace")  # a terminal that cannot write a folder's name shows the rest
    try:
        broken = play(given.dir, fresh=given.fresh)
    except KeyboardInterrupt:
        print("\ndemo: interrupted; the next run goes on from here", file=sys.stderr)
        return 130
    except (KiffError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    for deviation in broken:
        print(f"demo: not as promised: {deviation}", file=sys.stderr)
    if not broken:
        show(f"\neverything as promised; see for yourself: kiff verify {near(given.dir / 'kiff.db')}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
