"""What a long history is made of: deeds drawn from a seed. `model_machine.py` has hypothesis draw them."""

from __future__ import annotations

from random import Random
from typing import Any

from tower import Deed

WHO = ("agent", "agent", "bot", "mary", "passer-by")
REVIEWERS = ("nils", "olga", "mary", "mary-too", "agent", "bot", "passer-by")
ENTITIES = ("a", "a", "b", "c")
ACTIONS = ("PAY", "ASK", "ASK", "ASK_TWO", "SEND", "SEND", "PEEK", "PEEK", "NOTHING")
AMOUNTS = (1, 4, 4, 7, 11, None)
EVENTS = ("OPENED", "OPENED", "PAID_OUT", "NOT_PAID", "SHUT", "UNHEARD_OF")
STATUSES = ("succeeded", "failed", "cancelled", "unknown")
SPANS = (0, 1, 1_000, 30_000, 35_000, 61_000, 120_000, 600_000, 1_000_000, 3_600_000, -5_000, -100_000)
USE_WITHIN = (None, None, None, 30_000, 200_000)


def drawn(random: Random) -> list[Deed]:
    """One batch: mostly a single deed."""
    if random.random() < 0.15:
        return [drawn_call(random) for _ in range(random.randrange(2, 6))]
    if random.random() < 0.25:
        return [_other(random)]
    return [drawn_call(random)]


def drawn_call(random: Random) -> Deed:
    return random.choices(_CALLS, _WEIGHTS)[0](random)


def _other(random: Random) -> Deed:
    return random.choice(
        (("pass", random.choice(SPANS)), ("pass", random.choice(SPANS)), ("sweep",), ("sweep",), ("restart",))
    )


def _some(random: Random, chance: float = 0.5) -> int | None:
    return random.randrange(64) if random.random() < chance else None


def _propose(random: Random) -> Deed:
    mode, settles = random.choice(("execute", "decide")), random.random() < 0.5
    what: tuple[Any, ...] = (
        random.choice(WHO),
        random.choice(ENTITIES),
        random.choice(ACTIONS),
        random.choice(AMOUNTS),
    )
    number = random.randrange(6) if random.random() < 0.2 else None
    return "propose", mode, *what, settles, number, _some(random, 0.1)


def _again(random: Random) -> Deed:
    return "again", random.randrange(64), random.random() < 0.6, _some(random)


def _review(random: Random) -> Deed:
    verdict = random.choice(("grant", "grant", "grant", "grant", "deny", "cancel"))
    key = random.randrange(8) if random.random() < 0.2 else None
    return "review", verdict, random.choice(REVIEWERS), random.randrange(64), key, random.choice(USE_WITHIN)


def _settle(random: Random) -> Deed:
    return (
        "settle",
        random.choice(("agent", "bot", "mary", "nils", "olga")),
        random.randrange(64),
        random.choice(STATUSES),
    )


def _ingest(random: Random) -> Deed:
    number = random.randrange(8) if random.random() < 0.2 else None
    return "ingest", random.choice(("feed", "feed", "agent")), random.choice(EVENTS), random.choice(ENTITIES), number


def _answer(random: Random) -> Deed:
    return "answer", random.randrange(64), random.choice(("succeed", "succeed", "fail", "lose", "garbage"))


_CALLS = (_propose, _again, _review, _settle, _ingest, _answer)
_WEIGHTS = (6, 3, 6, 3, 3, 4)
