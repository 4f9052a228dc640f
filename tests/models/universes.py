"""The small worlds that are searched through: who sends what. In each, everything may come in any order."""

from __future__ import annotations

from collections.abc import Callable

from plain_facts import MINUTE, SECOND
from universe import Universe, call, event, review, settle

A = "appr_ask"
"""The approval that the call named `ask` opens, in every universe."""


def two_people() -> Universe:
    """A quorum of two over four names of three people, votes that lapse, and an entity that moves on."""
    return Universe(
        commands=(
            call("ask", "agent", "ASK_TWO", 1, id="p1"),
            review("mary-yes", "mary", "grant", A),
            review("mary-too-yes", "mary-too", "grant", A),
            review("nils-yes", "nils", "grant", A, use_within=MINUTE),
            review("nils-again", "nils", "grant", A),
            event("note", "feed", "NOT_PAID"),
            call("use", "agent", "ASK_TWO", 1, id="p1", approval=A),
            call("use-again", "agent", "ASK_TWO", 1, id="p2", approval=A),
        ),
        ticks=(MINUTE, MINUTE),
        sweeps=False,
    )


def own_proposal() -> Universe:
    """Whoever may propose and review: under their own name, another one, and by way of their service."""
    return Universe(
        commands=(
            call("ask", "mary", "ASK", 4, id="p1"),
            review("mary-yes", "mary", "grant", A),
            review("mary-too-yes", "mary-too", "grant", A),
            review("bot-yes", "bot", "grant", A),
            review("passer-by-yes", "passer-by", "grant", A),
            review("feed-no", "feed", "deny", A),
            review("nils-no", "nils", "deny", A),
            call("use", "mary", "ASK", 4, id="p1", approval=A),
        ),
        ticks=(5 * MINUTE, 5 * MINUTE),
    )


def services_agents() -> Universe:
    """What a service proposes, and what agents and services may not answer."""
    return Universe(
        commands=(
            call("ask", "agent", "ASK", 4, id="p1"),
            review("bot-yes", "bot", "grant", A),
            review("agent-yes", "agent", "grant", A),
            review("passer-by-yes", "passer-by", "grant", A),
            call("use", "agent", "ASK", 4, id="p1", approval=A),
        ),
    )


def one_grant() -> Universe:
    """One grant, and everything it could be used for: again, late, for more, by somebody else."""
    return Universe(
        commands=(
            call("ask", "agent", "ASK", 4, id="p1"),
            review("nils-yes", "nils", "grant", A, key="k1"),
            review("nils-once-more", "nils", "grant", A, key="k1"),
            review("olga-no", "olga", "deny", A),
            call("use", "agent", "ASK", 4, id="p1", approval=A),
            call("use-for-more", "agent", "ASK", 7, id="p3", approval=A),
            call("use-as-another", "mary", "ASK", 4, id="p4", approval=A),
            call("use-again", "agent", "ASK", 4, id="p5", approval=A),
        ),
        ticks=(2 * MINUTE, 8 * MINUTE),
        reports=("succeeded",),
    )


def retries() -> Universe:
    """One id, sent again and again, and once for another call; executors that fail or never say."""
    return Universe(
        commands=(
            call("pay", "agent", "PAY", 4, id="p1"),
            call("retry", "agent", "PAY", 4, id="p1"),
            call("retry-late", "agent", "PAY", 4, id="p1"),
            call("other", "agent", "PAY", 7, id="p1"),
            call("mine", "mary", "PAY", 4, id="p2"),
            settle("nils-says-done", "nils", "clr_pay", "succeeded"),
            settle("nils-says-failed", "nils", "clr_pay", "failed"),
        ),
        ticks=(35 * SECOND,),
        reports=("succeeded", "failed", "unknown"),
    )


def money() -> Universe:
    """A budget under holds, denials, failures and disputes."""
    return Universe(
        commands=(
            call("ask", "agent", "ASK", 4, id="p1"),
            call("pay", "agent", "PAY", 7, id="p2"),
            call("pay-too", "agent", "PAY", 7, id="p3"),
            review("nils-no", "nils", "deny", A),
            review("olga-yes", "olga", "grant", A),
            call("use", "agent", "ASK", 4, id="p1", approval=A),
            settle("nils-says-done", "nils", "clr_pay", "succeeded"),
        ),
        ticks=(10 * MINUTE,),
        reports=("succeeded", "failed", "unknown"),
    )


def runway() -> Universe:
    """Two on one entity: an app that never reports, one that does late, and somebody who only says so."""
    return Universe(
        commands=(
            call("take", "agent", "PAY", 1, id="p1", mode="decide"),
            call("take-too", "mary", "PAY", 1, id="p2", mode="decide"),
            call("promise", "bot", "PAY", 1, id="p3", mode="decide", settles=True),
            settle("agent-done", "agent", "clr_take", "succeeded"),
            settle("agent-failed", "agent", "clr_take", "failed"),
            event("paid", "agent", "PAID_OUT"),
            settle("mary-done", "mary", "clr_take-too", "succeeded"),
        ),
        ticks=(59 * SECOND, SECOND),
    )


def runs_on_grant() -> Universe:
    """A call that runs by its grant, was held twice, and is sent again all the while."""
    return Universe(
        commands=(
            call("ask", "agent", "SEND", 1, id="p1"),
            call("other", "mary", "SEND", 2, id="p2"),
            review("other-yes", "nils", "grant", "appr_other"),
            call("retry", "agent", "SEND", 1, id="p1"),
            review("ask-yes", "nils", "grant", A),
            review("retry-yes", "olga", "grant", "appr_retry"),
            call("use", "agent", "SEND", 1, id="p1", approval=A),
        ),
        reports=("succeeded", "unknown"),
        sweeps=False,
    )


def races() -> Universe:
    """Two replicas that load, step and append; replies that are lost, and replicas that die, at any point."""
    return Universe(
        commands=(
            call("ask", "agent", "ASK", 4, id="p1"),
            review("nils-yes", "nils", "grant", A, key="k1"),
            review("olga-no", "olga", "deny", A),
            call("use", "agent", "ASK", 4, id="p1", approval=A),
            call("use-again", "agent", "ASK", 4, id="p1", approval=A),
            call("pay", "agent", "PAY", 7, id="p2"),
        ),
        reports=("succeeded",),
        sweeps=False,
        replicas=2,
        losses=1,
    )


UNIVERSES: tuple[Callable[[], Universe], ...] = (
    two_people,
    own_proposal,
    services_agents,
    one_grant,
    retries,
    money,
    runway,
    runs_on_grant,
    races,
)
