"""What the loader refuses: anything two readers could disagree about, and anything that is meant to hurt."""

from __future__ import annotations

import pytest

from kiff.domain import check, load
from kiff.domain.loader import MAX_NODES, read
from kiff.errors import InvalidDomain

BOMB = 'a: &a ["x", "x"]\n' + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}, *{a}]\n"
    for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

REFUSED = [
    ("alias", "domain: &d refund-ops\nentity: *d\n", "alias", 2),
    ("alias of nothing", "domain: *nowhere\n", "alias", 1),
    ("alias as key", "? *a\n: b\n", "alias", 1),
    ("anchor", "domain: refund-ops\nstates: &s [PAID]\n", "anchor", 2),
    ("tag", "domain: refund-ops\nentity: !!str Order\n", "tag", 2),
    ("python tag", "entity: !!python/object/apply:os.system [ls]\n", "tag", 1),
    ("own tag", "entity: !secret x\n", "tag", 1),
    ("duplicate key", "domain: refund-ops\nentity: Order\ndomain: other\n", "duplicate_key", 3),
    ("duplicate key inside", "actions:\n  - name: A\n    risk: high\n    risk: low\n", "duplicate_key", 4),
    ("duplicate key in quotes", 'risk: high\n"risk": low\n', "duplicate_key", 2),
    ("number as key", "1: x\n", "key_not_text", 1),
    ("truth as key", "true: x\n", "key_not_text", 1),
    ("nothing as key", "~: x\n", "key_not_text", 1),
    ("list as key", "[a, b]: x\n", "key_not_text", 1),
    ("mapping as key", "? {a: b}\n: x\n", "key_not_text", 1),
    ("two documents", "domain: a\n---\ndomain: b\n", "many_documents", 2),
    ("old version", "%YAML 1.1\n---\ndomain: a\n", "directive", 2),
    ("tag shorthand", "%TAG ! tag:x,2000:\n---\ndomain: a\n", "directive", 2),
    ("not a number", "version: .nan\n", "not_finite", 1),
    ("endless", "version: -.Inf\n", "not_finite", 1),
    ("too great", "version: 9007199254740992\n", "number_out_of_range", 1),
    ("too great for a double", "version: 1e999\n", "number_out_of_range", 1),
    ("five thousand digits", f"version: {'9' * 5000}\n", "number_out_of_range", 1),
    ("half a character", 'description: "\\ud800"\n', "lone_surrogate", 1),
    ("an escape beyond Unicode", 'description: "\\UFFFFFFFF"\n', "not_yaml", 1),
    ("a control character", "domain: a\ndescription: \x07\n", "not_yaml", 2),
    ("no end of list", "domain: a\nstates: [PAID\nentity: Order\n", "not_yaml", 3),
    ("a tab as indent", "actions:\n\t- name: A\n", "not_yaml", 2),
]


@pytest.mark.parametrize(("text", "code", "line"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused_with_its_line(text: str, code: str, line: int) -> None:
    domain, issues = check(text)
    assert domain is None
    assert (code, line) in [(issue.code, issue.line) for issue in issues]


def test_what_is_refused_raises_from_load() -> None:
    with pytest.raises(InvalidDomain, match=r"kiff\.yaml cannot be used: line 1 domain: .* and 1 more") as caught:
        load("domain: &d refund-ops\nentity: *d\n")
    assert [issue.code for issue in caught.value.issues if issue.level == "error"] == ["anchor", "alias"]


def test_a_bomb_is_never_expanded() -> None:
    document = read(BOMB)
    assert {finding.code for finding in document.findings} == {"anchor", "alias"}
    assert document.value["i"] == [None] * 9


@pytest.mark.parametrize("deep", ["[" * 3000, "{a: " * 3000, "- " * 3000, "[,[" * 2000, "[{" * 2000])
def test_depth_is_refused_before_it_is_built(deep: str) -> None:
    domain, issues = check(deep)
    assert domain is None
    assert [issue.code for issue in issues] == ["too_deep"]


def test_32_levels_are_read_and_33_are_not() -> None:
    assert read("[" * 32 + "]" * 32).value
    with pytest.raises(InvalidDomain, match="at most 32 levels"):
        read("[" * 33 + "]" * 33)


def test_32_levels_of_blocks_are_read_and_33_are_not() -> None:
    assert read("".join(" " * i + "a:\n" for i in range(32))).value
    with pytest.raises(InvalidDomain, match="at most 32 levels"):
        read("".join(" " * i + "a:\n" for i in range(33)))


def test_brackets_in_texts_and_comments_are_not_levels() -> None:
    assert read(f"# {'[' * 100}\na: '{'[' * 100}'\nb: |\n  {'{' * 100}\n").value["a"] == "[" * 100


def test_size_is_refused_in_bytes() -> None:
    read("#" * 262_144)
    for large in ("#" * 262_145, "# " + "é" * 131_072, b"#" * 262_145):
        with pytest.raises(InvalidDomain, match="at most 262144 bytes"):
            read(large)


@pytest.mark.slow
def test_the_number_of_values_is_refused() -> None:
    assert len(read("- a\n" * (MAX_NODES - 1)).value) == MAX_NODES - 1
    with pytest.raises(InvalidDomain, match="at most 10000 values"):
        read("- a\n" * MAX_NODES)


@pytest.mark.parametrize("raw", [b"\xff\xfea\x00", b"domain: caf\xe9\n", "a: \ud800"])
def test_only_utf8_is_read(raw: bytes | str) -> None:
    with pytest.raises(InvalidDomain) as caught:
        read(raw)
    assert caught.value.issues[0].code == "not_utf8"


def test_a_dropped_value_leaves_no_trace() -> None:
    document = read("a: 1\na: {b: 2}\nc: 3\n")
    assert document.value == {"a": 1, "c": 3}


@pytest.mark.slow
def test_a_small_document_that_grows_beyond_the_limit_is_refused() -> None:
    text = "actions:\n" + "".join(f"- name: A{i}\n" for i in range(4990))
    domain, issues = check(text)
    assert domain is None
    assert [issue.code for issue in issues if issue.level == "error"] == ["too_large"]
