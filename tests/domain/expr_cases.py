"""What the tests of conditions speak of: one scope with every type, facts that fit it, and a source of chance."""

from __future__ import annotations

import os
import random
from typing import Any

from kiff.domain.expr import (
    BOOL,
    DOUBLE,
    INT,
    STRING,
    TIMESTAMP,
    Decimal,
    Field,
    ListOf,
    Object,
    String,
    Type,
    Unusable,
)

USD, EUR = Decimal("USD", 2), Decimal("EUR", 2)
LINE = Object({"n": Field(INT), "price": Field(USD), "note": Field(String(20), optional=True)})
SCOPE: dict[str, Type] = {
    "parameters": Object(
        {
            "amount": Field(USD),
            "fee": Field(EUR),
            "count": Field(INT),
            "ratio": Field(DOUBLE),
            "reason": Field(String(500)),
            "letter": Field(STRING),
            "tags": Field(ListOf(String(20), 10)),
            "lines": Field(ListOf(LINE, 10)),
            "all_lines": Field(ListOf(LINE)),
            "either": Field(Unusable("has several types")),
            "extra": Field(Object({}, open=True)),
            "due": Field(String(40)),
        }
    ),
    "entity": Object(
        {
            "total": Field(USD),
            "currency": Field(String(3, ("USD", "EUR"))),
            "risk": Field(INT, optional=True),
            "owner": Field(Object({"id": Field(String(20)), "age": Field(INT, optional=True)}), optional=True),
            "vip": Field(BOOL),
        }
    ),
    "schedule": Object({"office": Field(BOOL)}),
    "now": TIMESTAMP,
}


def facts() -> dict[str, Any]:
    """Fresh facts that fit SCOPE; the optional ones are missing."""
    return {
        "parameters": {
            "amount": 49.99,
            "fee": 2,
            "count": 7,
            "ratio": 2.5,
            "reason": "it broke",
            "letter": "dear",
            "tags": ["new", "gift"],
            "lines": [{"n": 1, "price": 10, "note": "red"}, {"n": 2, "price": 0.1}],
            "all_lines": [],
            "either": None,
            "extra": {"any": 1},
            "due": "2026-05-24T09:53:55Z",
        },
        "entity": {"total": 100, "currency": "USD", "vip": True},
        "schedule": {"office": False},
        "now": 1_779_616_435_011,
    }


def chance() -> random.Random:
    """Random numbers of this run; the seed is printed."""
    seed = int(os.environ.get("KIFF_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"seed: {seed} (KIFF_TEST_SEED repeats it)")
    return random.Random(seed)
