"""Five tickets, five outcomes: the same agent works on each without KIFF and with it, then the proof.

    python demo.py [--model stub|openai|bedrock] [--dir DATA] [--fresh]

It ends with 0 only if everything is as promised, with 1 if something is not, with 130 on Ctrl-C. What a real model
chooses is not promised; that nothing happens without its receipt is.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from actions import EXECUTORS
from agent import Choose, choose
from endpoint import ModelError
from model import chooser
from outside import Outside
from proof import prove
from screen import Screen
from story import Stage
from tower import Tower

from kiff import Domain, KiffError, Runtime, load, open_runtime

HERE = Path(__file__).parent


def play(folder: Path, screen: Screen, model: str, *, fresh: bool) -> list[str]:
    """One run on the data in a folder. Returns what is not as promised."""
    domain = load((HERE / "kiff.yaml").read_text("utf-8"))
    chooses = choose if model == "stub" else chooser(model, domain.actions.values(), os.environ)
    database, world, ungoverned = _prepare(folder, fresh=fresh)
    os.environ["OUTSIDE_FILE"] = str(world)
    with open_runtime(database, domains=[domain], executors=EXECUTORS) as runtime:
        stage = _stage(runtime, domain, screen, chooses, Outside(world), Outside(ungoverned))
        stage.promises = model == "stub"
        screen.title(f"{domain.name}: five tickets, one agent, twice", f"run {stage.run}, {model}")
        screen.text("Each request arrives; two of the answers get lost, and the agent asks again.")
        _left_unknown(runtime, screen)
        stage.play()
        runtime.checkpoint().result()
        screen.text()
        for proof in prove(database, stage.world.effects()):
            screen.proof(proof.name, proof.wrong[0] if proof.wrong else proof.said, holds=not proof.wrong)
            stage.deviations += [f"{proof.name}: {problem}" for problem in proof.wrong]
    screen.text()
    if not stage.deviations:
        said = "everything as promised" if stage.promises else "nothing happened without its receipt"
        screen.last("allowed", f"{said}; look for yourself:")
        screen.last("allowed", f"   kiff timeline ticket:{stage.first} --db {_near(database)}")
    return stage.deviations


def _prepare(folder: Path, *, fresh: bool) -> tuple[Path, Path, Path]:
    """The folder, invisible to git; `fresh` removes what earlier runs left, and nothing else."""
    if not folder.exists():
        folder.mkdir(parents=True)
        (folder / ".gitignore").write_text("*\n")
    world, ungoverned = folder / "outside.jsonl", folder / "outside-without-kiff.jsonl"
    for left in (*folder.glob("kiff.db*"), world, ungoverned) if fresh else ():
        left.unlink(missing_ok=True)
    return folder / "kiff.db", world, ungoverned


def _stage(
    runtime: Runtime, domain: Domain, screen: Screen, chooses: Choose, world: Outside, ungoverned: Outside
) -> Stage:
    tower = Tower(runtime, HERE / "principals.toml")
    keys = {name: tower.key(name) for name in ("support-agent", "team-lead", "helpdesk")}
    return Stage(tower.post, keys, runtime.read, set(domain.actions), chooses, screen, world, ungoverned)


def _left_unknown(runtime: Runtime, screen: Screen) -> None:
    """What a run that was cut off may have left: KIFF sends it to nobody again, a person settles it."""
    for operation in runtime.read.operations(status="unknown"):
        screen.text(f"{operation.entity}: {operation.action} of an earlier run was cut off; kiff operations settles it")


def _near(path: Path) -> str:
    return min(str(path), os.path.relpath(path), key=len)


def main() -> int:
    options = argparse.ArgumentParser(description="Five tickets, five outcomes, one governance loop.")
    options.add_argument("--model", choices=("stub", "openai", "bedrock"), default="stub", help="who chooses")
    options.add_argument("--dir", type=Path, default=HERE / ".run", help="where the data are kept (default: .run)")
    options.add_argument("--fresh", action="store_true", help="forget what earlier runs left")
    given = options.parse_args()
    try:
        deviations = play(given.dir, Screen(sys.stdout), given.model, fresh=given.fresh)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone; so does what is buffered
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; the next run goes on from here", file=sys.stderr)
        return 130
    except (KiffError, ModelError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    for deviation in deviations:
        print(f"demo: not as promised: {deviation}", file=sys.stderr)
    return 1 if deviations else 0


if __name__ == "__main__":
    sys.exit(main())
