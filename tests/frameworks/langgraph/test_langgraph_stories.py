"""The two stories: an invoice is paid once, an order has a ceiling; against a real KIFF, counted outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from langgraph_driver import Agent
from stories.outside import Bank
from stories.telling import INVOICE_STORIES, ORDER_STORIES, Story
from towers import Tower, kiff_program

pytestmark = pytest.mark.skipif(not kiff_program().is_file(), reason="needs a KIFF server: `make test` makes it")


@pytest.mark.parametrize("story", INVOICE_STORIES, ids=lambda story: story.__name__)
def test_an_invoice_is_paid_once(story: Story, invoices: Tower, tmp_path: Path) -> None:
    story(Agent(), invoices, Bank(tmp_path / "bank.jsonl"))


@pytest.mark.parametrize("story", ORDER_STORIES, ids=lambda story: story.__name__)
def test_an_order_has_a_ceiling(story: Story, orders: Tower, tmp_path: Path) -> None:
    story(Agent(), orders, Bank(tmp_path / "bank.jsonl"))
