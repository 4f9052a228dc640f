"""The operator's executors: imported when something is to run, read and never run otherwise."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kiff.cli.executors_file import Executor, registry, stubs
from kiff.errors import InvalidInput

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes the file; what importing it changed is changed back."""
    modules, path = dict(sys.modules), list(sys.path)

    def written(text: str) -> Path:
        file = tmp_path / "actions.py"
        file.write_text(text)
        return file

    yield written
    sys.path[:] = path
    for name in sys.modules.keys() - modules.keys():
        del sys.modules[name]


WRONG = [
    ("x = = 1\n", "is not Python: line 1: SyntaxError"),
    ("a = 1\nraise SystemExit('imported')\n", "cannot be imported: line 2: SystemExit: imported"),
    ("import nothing_of_this_name\n", "cannot be imported: line 1: ModuleNotFoundError: No module named"),
    ("def f(): return g()\ndef g(): raise KeyError('x')\nf()\n", "line 2: KeyError"),
    ("return 1\n", "line 1: SyntaxError: 'return' outside function"),
    ("a = 1\n", "has no EXECUTORS"),
    ("EXECUTORS = [print]\n", "expected EXECUTORS to be a dict of name -> function, found list"),
    ("EXECUTORS = {1: print}\n", "found the name `1`"),
    ("EXECUTORS = {'a.b': 5}\n", "`a.b` is int, which cannot be called"),
]


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_a_file_that_has_no_executors_says_why(write: Write, text: str, said: str) -> None:
    file = write(text)
    with pytest.raises(InvalidInput) as caught:
        registry(file)
    assert said in caught.value.message
    assert f"`{file}`" in caught.value.message


def test_a_missing_file_says_how_to_name_one(tmp_path: Path) -> None:
    for read in (registry, stubs):
        with pytest.raises(InvalidInput, match="there is no executors file") as caught:
            read(tmp_path / "actions.py")
        assert "--executors" in caught.value.detail["hint"]


def test_the_functions_are_what_the_file_says(write: Write) -> None:
    assert registry(write("EXECUTORS = {'a.b': len}\n")) == {"a.b": len}


def test_a_file_imports_from_its_own_folder_under_its_own_name(write: Write, tmp_path: Path) -> None:
    (tmp_path / "beside_actions.py").write_text("def pay(operation): return 'paid'\n")
    text = "from beside_actions import pay\nEXECUTORS = {'a.b': pay, __name__: pay}\n"
    found = registry(write(text))
    assert found["a.b"](None) == "paid"
    assert "actions" in found or "executors_actions" in found


def test_a_dataclass_with_written_annotations_can_be_made(write: Write) -> None:
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    text += "@dataclass\nclass Bank:\n    url: str\n    def pay(self, operation): return self.url\n"
    assert registry(write(text + "EXECUTORS = {'a.b': Bank('x').pay}\n"))["a.b"](None) == "x"


def test_an_edited_file_is_read_anew(write: Write) -> None:
    assert registry(write("EXECUTORS = {'a.b': min}\n"))["a.b"] is min
    assert registry(write("EXECUTORS = {'a.b': max}\n"))["a.b"] is max


def test_nothing_is_left_beside_the_file(write: Write, tmp_path: Path) -> None:
    registry(write("EXECUTORS = {}\n"))
    assert [path.name for path in tmp_path.iterdir()] == ["actions.py"]


STUBS = """\
import kiff
from kiff import Unfinished
raise SystemExit("read, not run")

def pay(operation):
    raise Unfinished("bank.pay is not written yet")

async def look(operation):
    if operation:
        raise kiff.Unfinished

def send(operation):
    return {"status": "succeeded"}

EXECUTORS: dict[str, object] = {
    "bank.pay": pay,
    "bank.look": look,
    "post.send": send,
    "post.scan": lambda operation: None,
}
"""


def test_stubs_are_seen_without_running_the_file(write: Write) -> None:
    found = stubs(write(STUBS))
    assert found.is_literal
    assert found.executors == (
        Executor("bank.pay", 5, True, "pay"),
        Executor("bank.look", 8, True, "look"),
        Executor("post.send", 12, False, "send"),
        Executor("post.scan", 19, False),
    )


def test_a_stub_that_was_written_is_none(write: Write) -> None:
    text = STUBS.replace('raise Unfinished("bank.pay is not written yet")', 'return {"status": "succeeded"}')
    assert [each.name for each in stubs(write(text)).executors if each.unfinished] == ["bank.look"]


UNDECIDED = [
    "EXECUTORS = dict(a=pay)",
    "EXECUTORS = {**{}, 'a.b': pay}",
    "EXECUTORS = {}\nEXECUTORS['a.b'] = pay",
    "EXECUTORS = {}\nEXECUTORS.update({'a.b': pay})",
    "EXECUTORS = {}\nEXECUTORS |= {'a.b': pay}",
    "EXECUTORS = {}\nif pay:\n    EXECUTORS = {'a.b': pay}",
    "from elsewhere import EXECUTORS",
    "from elsewhere import table as EXECUTORS",
    "from elsewhere import *",
]


@pytest.mark.parametrize("text", UNDECIDED)
def test_what_only_running_it_would_tell_is_not_guessed(write: Write, text: str) -> None:
    assert not stubs(write("def pay(operation): ...\n" + text + "\n")).is_literal


def test_using_the_dict_does_not_make_it_undecided(write: Write) -> None:
    assert stubs(write("EXECUTORS = {'a.b': print}\nfor name in EXECUTORS.items(): EXECUTORS['a.b']\n")).is_literal


def test_an_unfinished_function_is_seen_where_the_names_are_not(write: Write) -> None:
    text = STUBS.partition("EXECUTORS")[0] + "EXECUTORS = dict(a=pay)\n"
    assert [each.name for each in stubs(write(text)).executors] == ["pay", "look"]


@pytest.mark.parametrize(("text", "line"), [("\nx = = 1\n", 2), ("EXECUTOR = {}\n", None)])
def test_a_file_that_cannot_be_read_says_where(write: Write, text: str, line: int | None) -> None:
    with pytest.raises(InvalidInput) as caught:
        stubs(write(text))
    assert caught.value.detail.get("line") == line
