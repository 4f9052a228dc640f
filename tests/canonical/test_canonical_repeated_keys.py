"""A key given twice is always refused, and nothing else is refused in its name.

`parse` finds repeated keys by counting colons, so these texts are full of them: in keys, in strings, as
escapes, in members that a repeated key makes disappear.
"""

from __future__ import annotations

import json
import os
import random
from dataclasses import dataclass, field

import orjson
import pytest

from kiff.canonical import parse
from kiff.errors import InvalidJson

NEW = random.randrange(10**9) if os.environ.get("KIFF_SOAK") == "1" else 8259
SEED = int(os.environ.get("KIFF_SEED", NEW))
TEXTS = [2_000, pytest.param(10_000, marks=pytest.mark.slow), pytest.param(200_000, marks=pytest.mark.soak)]

CHARACTERS = 'ab::"\\/\n\t é€\ufb33😀'
SHORT = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\n": "\\n", "\t": "\\t"}


@dataclass
class Writer:
    """Writes random JSON texts and knows whether it gave a key twice in one object."""

    rng: random.Random
    chance: float
    escapes: bool
    repeated: bool = False
    parts: list[str] = field(default_factory=list)

    def space(self) -> str:
        return self.rng.choice(("", "", "", " ", "\n\t"))

    def character(self, char: str) -> str:
        if self.escapes and self.rng.random() < 0.3:
            units = char.encode("utf-16-be")
            form = self.rng.choice(("\\u{:04x}", "\\u{:04X}"))
            return "".join(form.format(units[at] << 8 | units[at + 1]) for at in range(0, len(units), 2))
        if char in '"\\\n\t' or (self.escapes and char in SHORT and self.rng.random() < 0.5):
            return SHORT[char]
        return char

    def string(self, text: str) -> str:
        return '"' + "".join(map(self.character, text)) + '"'

    def text(self) -> str:
        alphabet = CHARACTERS if self.escapes else "ab:: é€😀"
        return "".join(self.rng.choice(alphabet) for _ in range(self.rng.randrange(5)))

    def value(self, levels: int) -> str:
        kind = self.rng.randrange(6 if levels else 3)
        if kind == 0:
            return self.rng.choice(("0", "-1.5", "49.0", "1e-6", "true", "null"))
        if kind in (1, 2):
            return self.string(self.text())
        if kind == 3:
            items = [self.value(levels - 1) for _ in range(self.rng.randrange(4))]
            return "[" + ",".join(self.space() + item for item in items) + "]"
        return self.object(levels)

    def object(self, levels: int) -> str:
        keys: list[str] = []
        for _ in range(self.rng.randrange(5)):
            key = self.text()
            if keys and self.rng.random() < self.chance:
                key = self.rng.choice(keys)
            elif key in keys:
                continue
            self.repeated |= key in keys
            keys.append(key)
        members = [f"{self.space()}{self.string(key)}{self.space()}:{self.value(levels - 1)}" for key in keys]
        return "{" + ",".join(members) + self.space() + "}"


def refused(text: str) -> bool:
    try:
        parse(text)
    except InvalidJson as error:
        assert "once" in error.message, (error.message, text)
        return True
    return False


@pytest.mark.parametrize("texts", TEXTS)
@pytest.mark.parametrize("escapes", [False, True], ids=["plain", "escaped"])
def test_exactly_the_texts_with_a_repeated_key_are_refused(escapes: bool, texts: int) -> None:
    print(f"KIFF_SEED={SEED}")
    rng = random.Random(f"{SEED} {escapes}")
    planted = 0
    for _ in range(texts):
        writer = Writer(rng, chance=rng.choice((0, 0.1, 0.5)), escapes=escapes)
        text = writer.object(4)
        orjson.loads(text)  # the control: well formed, and the decoder on its own refuses none of them
        assert refused(text) is writer.repeated, text
        planted += writer.repeated
    assert texts // 10 < planted < texts * 9 // 10, "the mix must hold many of both kinds"


def test_every_member_of_a_canonical_text_given_again_is_refused() -> None:
    body = {"a:b": "c:d", "at": "2026-03-01T10:00:00Z", "n": {"x": [1, {"y": ":"}], "": {}}, "z": 0}
    for key, item in body.items():
        for place in range(len(body) + 1):
            members = [f"{json.dumps(k)}:{json.dumps(v)}" for k, v in body.items()]
            members.insert(place, f"{json.dumps(key)}:{json.dumps(item)}")
            assert refused("{" + ",".join(members) + "}")
    assert not refused(json.dumps(body))


@pytest.mark.parametrize("text", ['{"a":1,"a":"\\u003a"}', '{"a":1,"a":"\\u003A"}', '{"a":1,"\\u003a":1,"a":2}'])
def test_an_escaped_colon_does_not_stand_in_for_a_lost_one(text: str) -> None:
    """The control: the count of colons alone is the same before and after, and would let these in."""
    assert text.count(":") == orjson.dumps(orjson.loads(text)).count(b":")
    assert refused(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":{"a":1},"b":{"a":1}}',
        '[{"a":1},{"a":1}]',
        '{"a":1,"A":2}',
        '{"é":1,"e\u0301":2}',
        '{"\\\\u003a":1,":":2}',
        '{"u003a":"\\u003a"}',
        '{"a":"\\\\","b":":"}',
    ],
)
def test_like_keys_that_are_not_the_same_are_let_in(text: str) -> None:
    assert parse(text).value == json.loads(text)
