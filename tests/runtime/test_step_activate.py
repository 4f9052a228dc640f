"""Which version governs: a pointer that moves, over versions that never change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lane_cases import AGENT, SHOP, SIGNER, place, shop, told

from kiff import Caller, Domain, Principal, Runtime, load
from kiff.errors import Conflict, Forbidden, InvalidDomain
from kiff.runtime.ports import Store
from kiff.stores.memory import MemoryStore
from kiff.stores.sqlite import SqliteStore


@pytest.fixture(params=["memory", "sqlite"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    store: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "kiff.db")
    with Runtime(store, SIGNER, domains=[shop()]) as runtime:
        yield runtime


OWNER = Caller(Principal("ada", "human"), ("tenant_owner",))


def version(label: str, **edits: str) -> Domain:
    text = SHOP.replace("version: v1", f"version: {label}")
    for old, new in edits.items():
        text = text.replace(old, new)
    return load(text)


@pytest.mark.parametrize("caller", [AGENT, Caller(Principal("ada", "human"), ("ops_agent",))])
def test_only_a_tenant_owner_publishes(runtime: Runtime, caller: Caller) -> None:
    answer = told(runtime.activate(caller, version("v2")))
    assert isinstance(answer, Forbidden)
    assert answer.code == "permission_denied"
    assert [row.version for row in runtime._store.active_domains()] == ["shop-v1"]


def test_a_version_name_never_means_other_content(runtime: Runtime) -> None:
    answer = told(runtime.activate(OWNER, version("v1", orders="wares")))
    assert isinstance(answer, Conflict)
    assert answer.detail["version"] == "shop-v1"


def test_one_domain_governs_a_type(runtime: Runtime) -> None:
    answer = told(runtime.activate(OWNER, version("v1", shop="stall")))
    assert isinstance(answer, Conflict)
    assert answer.detail == {"domain": "shop", "entity_type": "order"}


def test_a_draft_is_not_activated(runtime: Runtime) -> None:
    draft = load(SHOP.replace("version: v1", "version: v2").replace("allowed_states: [OPEN]", "allowed_states: []"))
    assert isinstance(told(runtime.activate(OWNER, draft)), InvalidDomain)


def test_activating_what_is_active_changes_nothing(runtime: Runtime) -> None:
    assert told(runtime.activate(OWNER, shop())).changed is False


def test_the_pointer_moves_forward_and_back(runtime: Runtime) -> None:
    """Going back publishes nothing: the old version is there as it was."""
    second = version("v2")
    assert told(runtime.activate(OWNER, second)).changed
    assert told(place(runtime, "order:1")).state == "OPEN"
    back = told(runtime.activate(OWNER, shop()))
    assert getattr(back, "version", back) == "shop-v1"
    assert told(place(runtime, "order:2")).state == "OPEN"
    rebuilt = [runtime.read.rebuild(entity).match for entity in ("order:1", "order:2")]
    assert rebuilt == [True, True]
