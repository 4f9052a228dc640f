"""What a step was not given it must ask for. Every command of every scenario is stepped with one key missing.

DESIGN section 2: reading a key that is not in the slice raises NotLoaded; absent is a loaded value, never a
default. The control is a world that takes what is missing for absent: the same look at it must find it out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import scenario_drivers
from msgspec import Struct
from scenario_cases import cases
from scenario_drivers import Outside, SetClock, StepLane, open_on, shown
from scenario_play import Play

from kiff.runtime.commands import Activate, Command, Expire, Ingest, Propose, Review, Settle
from kiff.runtime.lane import Item
from kiff.runtime.ports import Key, Slice
from kiff.runtime.step import step
from kiff.runtime.world import Change, Context, NotLoaded, World

pytestmark = pytest.mark.slow


class Stepped(Struct):
    """One command, with the slice that was just enough for it."""

    command: Command
    context: Context
    loaded: Slice


class Absent(dict[Key, Any]):
    """Rows that answer for what they do not have."""

    def __missing__(self, key: Key) -> None:
        return None

    def get(self, key: Key, default: object = None) -> Any:
        return super().get(key)

    def __contains__(self, key: object) -> bool:
        return True


def careless(context: Context, loaded: Slice) -> World:
    """The mutant: a world in which whatever is missing is absent."""
    world = World(context, loaded)
    world.rows = Absent(world.rows)
    return world


@pytest.fixture(scope="module")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> list[Stepped]:
    """Every command of every scenario."""
    seen: list[Stepped] = []

    class Recording(StepLane):
        def _step(self, world: World, item: Item, ahead: object = None) -> Change | Exception:
            if item.command is not None:
                loaded = self._store.load([item.tenant], [])
                probe = World(self._context, loaded)
                self._asked(probe, item)
                rows = dict(probe.rows)
                seen.append(Stepped(item.command, self._context, Slice(loaded.now, loaded.heads, rows)))
            return super()._step(world, item)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenario_drivers, "StepLane", Recording)
        for number, case in enumerate(cases()):
            clock, outside = SetClock(), Outside()
            driver = open_on("step", tmp_path_factory.mktemp(str(number)), case.domain, clock, outside)
            Play(case, driver, clock, outside).run()
            driver.close()
    return seen


def without(loaded: Slice, key: Key) -> Slice:
    return Slice(loaded.now, loaded.heads, {other: row for other, row in loaded.rows.items() if other != key})


def overlooked(each: Stepped, make: Any) -> Iterator[Key]:
    """Keys that the step asked for when it had nothing, and does without when they alone are missing."""
    for key in each.loaded.rows:
        try:
            step(make(each.context, without(each.loaded, key)), each.command)
        except NotLoaded as missing:
            if key in missing.keys:
                continue
        except Exception:  # noqa: BLE001  a mutant may break in any way: that it went on is what counts
            pass
        yield key


def test_every_kind_of_command_is_among_them(stepped: list[Stepped]) -> None:
    kinds = Counter(type(each.command) for each in stepped)
    assert kinds.keys() == {Propose, Ingest, Review, Settle, Expire, Activate}
    assert min(kinds.values()) >= 5, kinds


def test_with_one_key_missing_every_step_asks_for_it(stepped: list[Stepped]) -> None:
    found = [(type(each.command).__name__, key) for each in stepped for key in overlooked(each, World)]
    assert found == []
    assert sum(len(each.loaded.rows) for each in stepped) > 500, "the loop really had keys to take away"


@pytest.mark.parametrize("kind", [Propose, Ingest, Review, Settle, Expire, Activate], ids=lambda kind: kind.__name__)
def test_a_world_that_takes_missing_for_absent_is_found_out(stepped: list[Stepped], kind: type) -> None:
    mine = [each for each in stepped if isinstance(each.command, kind)]
    assert all(list(overlooked(each, careless)) == list(each.loaded.rows) for each in mine)


def test_taking_missing_for_absent_would_change_what_happens(stepped: list[Stepped]) -> None:
    """Why it matters: for most keys that hold something, the mutant comes to another answer."""
    changed = 0
    for each in stepped:
        right = shown(step(World(each.context, each.loaded), each.command))
        for key, row in each.loaded.rows.items():
            if row is None:
                continue
            try:
                changed += shown(step(careless(each.context, without(each.loaded, key)), each.command)) != right
            except Exception:  # noqa: BLE001  breaking is another answer too
                changed += 1
    assert changed > 300


def test_stepping_twice_changes_the_same(stepped: list[Stepped]) -> None:
    for each in stepped:
        first = shown(step(World(each.context, each.loaded), each.command))
        assert first == shown(step(World(each.context, each.loaded), each.command))


def test_a_step_leaves_the_world_as_it_was(stepped: list[Stepped]) -> None:
    for each in stepped:
        world = World(each.context, each.loaded)
        before = (dict(world.rows), dict(world.changed), {t: (log.size, log.at) for t, log in world.logs.items()})
        step(world, each.command)
        after = (dict(world.rows), dict(world.changed), {t: (log.size, log.at) for t, log in world.logs.items()})
        assert before == after


def test_ids_come_from_the_command_and_from_nowhere_else(stepped: list[Stepped]) -> None:
    """Every id that a step makes ends in the suffix that was drawn at submit."""
    for each in stepped:
        change = step(World(each.context, each.loaded), each.command)
        made = [row.id for key, row in change.rows.items() if key not in each.loaded.rows and hasattr(row, "status")]
        fresh = [id for id in made if id.startswith(("clr_", "appr_"))]
        assert all(id.endswith(each.command.suffix) for id in fresh), fresh
