"""Any bytes either load or are refused with a line; nothing else comes out."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import msgspec
import pytest

from kiff import canonical
from kiff.domain import Domain, check, load
from kiff.errors import InvalidDomain

pytestmark = pytest.mark.slow

DOCUMENTS = sorted(Path(__file__).with_name("documents").glob("*.yaml"))
REFUND_OPS = Path(__file__).with_name("documents") / "refund_ops.yaml"
WEBHOOKS = Path(__file__).with_name("documents") / "webhooks.yaml"
ROUNDS = 150
PIECES = (
    *"[]{}:,-?&*!|>%@`'\"#\n\t \\~",
    *("\ufeff", "\u2028", "\x00", "\x85", "\ud7ff", "😀", "---", "...", "<<: ", "!!str ", "&a ", "*a"),
    *(
        "%YAML 1.1\n",
        ": ",
        "- ",
        "? ",
        "|\n",
        ">-\n",
        '"\\x',
        '"\\U0010FFFF',
        "1e400",
        ".nan",
        "0x",
        "null",
        "true",
        "\n\n  ",
    ),
    *("name: A", "on: X", "from: []", "emits: {success: X}", "type: [number, 5]", "parameters: {a: {type: nul}}"),
    *("actions:", "states:", "  - {}", "- []", "pattern: '('", "enum: []", "minimum: x", "roles: {a: [{}]}"),
)


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("KIFF_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"seed: {seed} (KIFF_TEST_SEED repeats it)")
    return random.Random(seed)


def holds(raw: bytes) -> None:
    domain, issues = check(raw)
    for issue in issues:
        assert issue.line >= 1
        assert issue.message
        json.loads(msgspec.json.encode(issue))
    assert (domain is None) == any(issue.level == "error" for issue in issues)
    if domain is not None:
        assert Domain.from_content(domain.content) == domain


def test_random_bytes(chance: random.Random) -> None:
    for _ in range(ROUNDS):
        holds(chance.randbytes(chance.randrange(200)))


def test_random_pieces(chance: random.Random) -> None:
    for _ in range(ROUNDS):
        holds("".join(chance.choices(PIECES, k=chance.randrange(1, 40))).encode())


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_mutated_documents(path: Path, chance: random.Random) -> None:
    original = path.read_text()
    for _ in range(ROUNDS // 3):
        text = original
        for _ in range(chance.randrange(1, 5)):
            at = chance.randrange(len(text))
            cut = chance.choice((0, 0, 1, 5, 30))
            text = text[:at] + chance.choice(PIECES) + text[at + cut :]
        holds(text.encode())


@pytest.mark.parametrize(("document", "least"), [(REFUND_OPS, 300), (WEBHOOKS, 150)])
def test_values_of_every_wrong_shape(document: Path, least: int, chance: random.Random) -> None:
    """Every value of a complete document replaced by other kinds of value: a domain or InvalidDomain."""
    whole = json.loads(load(document.read_text()).content)
    kinds = (None, True, 7, 1.5, "", "x", "REFUND", [], [None], [["x"]], [{"a": 1}], {}, {"name": 1}, {"": 1})
    refused = 0
    for path in places(whole):
        for kind in chance.sample(kinds, 4):
            try:
                Domain.from_content(canonical.admit(replaced(whole, path, kind)).data)
            except InvalidDomain:
                refused += 1
    assert refused > least, "the control: nearly all of these are wrong"


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [p for key, item in items for p in places(item, (*path, key))]


def replaced(value: object, path: tuple[str | int, ...], new: object) -> object:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy
