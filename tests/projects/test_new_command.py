"""`kiff new`: what it refuses, what it writes, and that it never leaves a half of it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from project_cases import TEMPLATE, finish, new, start

import kiff
from kiff.cli import run

FILES = sorted(path.name for folder in (TEMPLATE, TEMPLATE.parent / "project") for path in folder.iterdir())
FILES = [name for name in FILES if name not in ("__pycache__", ".run")]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["9lives", "-x", "a b", "größe", "a" * 64, "a\n", "", "github.com/your/.project"])
def test_a_bad_name_is_refused(here: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert run(["new", "--", name]) == 2
    assert "a letter, then up to 62" in capsys.readouterr().err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", [".", "..", "./proj", "../proj", "/proj", "~/proj", "sub/proj", ".proj"])
def test_a_path_is_refused(here: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (here / "sub").mkdir()
    assert run(["new", name]) == 2
    assert "cd there, then give its name alone" in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["sub"]


def test_an_unknown_template_is_refused_with_the_one_that_was_meant(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["new", "desk", "--template", "agentic-op"]) == 2
    assert "did you mean `agentic-ops`?" in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_a_template_like_no_other_is_refused_with_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["new", "desk", "--template", "../project"]) == 2
    assert "there is agentic-ops" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_folder_with_something_in_it_is_left_alone(
    here: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    (here / "desk").mkdir()
    (here / "desk" / "mine.txt").write_text("keep")
    assert run(["new", "desk", *more]) == 1
    assert "`desk` is there already, and is not empty" in capsys.readouterr().err
    assert [path.name for path in here.rglob("*")] == ["desk", "mine.txt"]


@pytest.mark.parametrize("link", [False, True])
def test_a_file_and_a_link_are_left_alone(here: Path, capsys: pytest.CaptureFixture[str], link: bool) -> None:
    (here / "elsewhere").mkdir()
    (here / "desk").symlink_to("elsewhere") if link else (here / "desk").write_text("keep")
    assert run(["new", "desk"]) == 1
    assert "is not a folder" in capsys.readouterr().err
    assert list((here / "elsewhere").iterdir()) == []


def test_a_full_disk_leaves_nothing(here: Path) -> None:
    """A process that may write files of 3 KiB at most stands for one."""

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_072, 3_072))

    program = "from kiff.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "new", "desk"],
        preexec_fn=no_room,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "`desk` cannot be made: File too large" in done.stderr
    assert list(here.iterdir()) == []


def test_ctrl_c_leaves_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        assert [path for path in here.iterdir() if path.name.startswith(".desk-")], "everything is written by now"
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    assert run(["new", "desk"]) == 130
    assert list(here.iterdir()) == []


def test_the_project_is_what_was_listed_and_next_steps_are_on_stderr(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["new", "desk"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["file", *(f"desk/{name}" for name in FILES)]
    assert sorted(path.name for path in (here / "desk").iterdir()) == FILES
    assert [line.split("  ")[1] for line in err.splitlines()] == ["cd desk", "make demo", "make test", "kiff check"]


def test_an_empty_folder_is_taken(here: Path) -> None:
    (here / "desk").mkdir()
    assert run(["new", "desk"]) == 0
    assert (here / "desk" / "kiff.yaml").exists()


def test_a_dry_run_says_the_same_and_writes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["new", "desk", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert (said.err, list(here.iterdir())) == ("", [])
    assert run(["new", "desk"]) == 0
    assert capsys.readouterr().out == said.out


@pytest.mark.parametrize("option", [("-template=agentic-ops",), ("--template", "agentic-ops"), ()])
def test_the_seeds_command_line(here: Path, option: tuple[str, ...]) -> None:
    assert run(["new", *option, "github.com/your/project"]) == 0
    assert [path.name for path in here.iterdir()] == ["project"]


def test_json_says_what_was_made(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["new", "My_Desk.2", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "kiff": "v1",
        "folder": "My_Desk.2",
        "template": "agentic-ops",
        "domain": "my-desk-2",
        "dry_run": False,
        "files": FILES,
    }


def test_the_domain_has_the_projects_name_and_nothing_has_the_templates(here: Path) -> None:
    project = new(here, "My_Desk.2")
    texts = {path.name: path.read_text("utf-8") for path in project.iterdir()}
    domain = kiff.load(texts["kiff.yaml"])
    assert (domain.name, domain.activation_issues) == ("my-desk-2", ())
    left = ("support-ops", "@KIFF", str(TEMPLATE.parents[3]), str(here))
    assert [(name, word) for name, text in texts.items() for word in left if word in text] == []


def test_the_project_pins_the_kiff_that_made_it(here: Path) -> None:
    pins = (new(here) / "requirements.txt").read_text("utf-8").splitlines()
    assert [line for line in pins if not line.startswith("#")] == [f"kiff=={kiff.__version__}"]


def test_readme_names_every_file(here: Path) -> None:
    project = new(here)
    said = (project / "README.md").read_text("utf-8")
    about = {"README.md", "Makefile", "requirements.txt", ".gitignore"}
    assert [name for name in FILES if name not in about and f"`{name}`" not in said] == []


def test_what_a_project_leaves_behind_is_invisible_to_git(here: Path) -> None:
    project = new(here)
    assert finish(start(project, "demo.py")).code == 0
    ignored = (project / ".gitignore").read_text("utf-8").split()
    assert ".run/" in ignored
    assert {path.name for path in project.iterdir()} == {*FILES, ".run"}
