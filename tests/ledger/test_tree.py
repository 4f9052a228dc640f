"""The tree against RFC 6962's own words, at every size to 130, and against wrong proofs of every kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from ledger_cases import hashes_of, naive_consistency, naive_path, naive_root, numbered

from kiff.errors import InvalidInput
from kiff.ledger import (
    EMPTY,
    consistency_proof,
    extend,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
    verify_consistency,
    verify_inclusion,
)
from kiff.ledger.tree import batch_proofs, root_from_inclusion

LARGEST = 130
LEAVES = numbered(LARGEST)
ROOTS = [naive_root(LEAVES[:size]) for size in range(LARGEST + 1)]

# The eight leaves and the roots over them that Certificate Transparency's implementations share.
CLASSIC = [bytes.fromhex(each) for each in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
CLASSIC_ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def wrong_proofs(proof: list[bytes]) -> Iterator[list[bytes]]:
    """Each node flipped, dropped, cut or padded; neighbours swapped; one too many at either end."""
    for at, node in enumerate(proof):
        yield [*proof[:at], bytes([node[0] ^ 1]) + node[1:], *proof[at + 1 :]]
        yield proof[:at] + proof[at + 1 :]
        yield [*proof[:at], node[:-1], *proof[at + 1 :]]
        yield [*proof[:at], node + b"\x00", *proof[at + 1 :]]
    for at in range(len(proof) - 1):
        yield [*proof[:at], proof[at + 1], proof[at], *proof[at + 2 :]]
    yield [*proof, LEAVES[0]]
    yield [LEAVES[0], *proof]


def test_an_empty_tree_includes_nothing() -> None:
    assert not verify_inclusion(LEAVES[0], 0, 0, [], ROOTS[0])
    assert root_from_inclusion(LEAVES[0], 0, 0, []) is None


def test_an_empty_tree_is_consistent_with_nothing() -> None:
    assert not verify_consistency(0, ROOTS[0], 0, ROOTS[0], [])
    assert not verify_consistency(0, ROOTS[0], 5, ROOTS[5], [])


@pytest.mark.parametrize("index", [-1, 5, 6, 2**60])
def test_an_index_outside_the_tree_is_refused(index: int) -> None:
    assert not verify_inclusion(LEAVES[0], index, 5, [], ROOTS[5])
    with pytest.raises(InvalidInput):
        inclusion_proof(index, 5, hashes_of(LEAVES))


@pytest.mark.parametrize(("old", "new"), [(0, 0), (0, 3), (4, 3), (-1, 3)])
def test_no_consistency_proof_is_made_for_sizes_that_have_none(old: int, new: int) -> None:
    with pytest.raises(InvalidInput):
        consistency_proof(old, new, hashes_of(LEAVES))


def test_a_shrunken_tree_is_not_consistent() -> None:
    proof = consistency_proof(5, 9, hashes_of(LEAVES))
    assert verify_consistency(5, ROOTS[5], 9, ROOTS[9], proof)
    assert not verify_consistency(9, ROOTS[9], 5, ROOTS[5], proof)


def test_one_size_has_one_root_and_needs_no_proof() -> None:
    assert verify_consistency(5, ROOTS[5], 5, ROOTS[5], [])
    assert not verify_consistency(5, ROOTS[5], 5, ROOTS[6], [])
    assert not verify_consistency(5, ROOTS[5], 5, ROOTS[5], [LEAVES[0]])


def test_a_proof_longer_than_the_tree_is_high_is_refused() -> None:
    """Leaf 1 of two, passed off as leaf 0 of one: the hashes fit, the shape does not."""
    assert verify_inclusion(LEAVES[1], 1, 2, [LEAVES[0]], ROOTS[2])
    assert not verify_inclusion(LEAVES[1], 0, 1, [LEAVES[0]], ROOTS[2])


def test_a_consistency_proof_of_other_sizes_is_refused() -> None:
    """From 7 to 8 the hashes go through the same turns as from 3 to 4, and then through one more."""
    longer, shorter = (consistency_proof(old, old + 1, hashes_of(LEAVES)) for old in (7, 3))
    assert verify_consistency(7, ROOTS[7], 8, ROOTS[8], longer)
    assert not verify_consistency(3, ROOTS[7], 4, ROOTS[8], longer)
    assert not verify_consistency(7, ROOTS[3], 8, ROOTS[4], shorter)


def test_hashes_cut_at_another_place_are_refused() -> None:
    """The same 64 bytes under a node, divided 31 and 33, would otherwise be another leaf of the same tree."""
    both = LEAVES[0] + LEAVES[1]
    for cut in (0, 31, 33, 64):
        assert not verify_inclusion(both[:cut], 0, 2, [both[cut:]], ROOTS[2])
        assert not verify_consistency(1, both[:cut], 2, ROOTS[2], [both[cut:]])


def test_a_node_is_never_taken_for_a_leaf() -> None:
    """Without the two prefixes, a node's children could be passed off as one record."""
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != node_hash(LEAVES[0], LEAVES[1])


def test_every_wrong_inclusion_proof_is_refused() -> None:
    for size in (*range(1, 35), 64, 65, 100, 129):
        for index in range(size):
            proof = inclusion_proof(index, size, hashes_of(LEAVES))
            for wrong in wrong_proofs(proof):
                assert not verify_inclusion(LEAVES[index], index, size, wrong, ROOTS[size]), (index, size)


def test_a_right_proof_for_another_place_is_refused() -> None:
    for size in range(2, 35):
        for index in range(size):
            proof = inclusion_proof(index, size, hashes_of(LEAVES))
            others = [place for place in range(size) if place != index]
            assert not any(verify_inclusion(LEAVES[index], place, size, proof, ROOTS[size]) for place in others)
            assert not verify_inclusion(LEAVES[index - 1], index, size, proof, ROOTS[size])
            assert not verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size - 1])


def test_every_wrong_consistency_proof_is_refused() -> None:
    for new in (*range(2, 35), 64, 65, 100, 129):
        for old in range(1, new):
            proof = consistency_proof(old, new, hashes_of(LEAVES))
            for wrong in wrong_proofs(proof):
                assert not verify_consistency(old, ROOTS[old], new, ROOTS[new], wrong), (old, new)


def test_a_right_consistency_proof_for_other_roots_is_refused() -> None:
    for new in range(2, 65):
        for old in range(1, new):
            proof = consistency_proof(old, new, hashes_of(LEAVES))
            assert not verify_consistency(old, ROOTS[old - 1], new, ROOTS[new], proof), (old, new)
            assert not verify_consistency(old, ROOTS[old], new, ROOTS[new - 1], proof), (old, new)


def test_classic_roots() -> None:
    found = [root(extend(EMPTY, [leaf_hash(data) for data in CLASSIC[:size]])).hex() for size in range(9)]
    assert found == list(CLASSIC_ROOTS)


def test_every_root_by_single_steps_is_the_naive_one() -> None:
    log = EMPTY
    for size, leaf in enumerate(LEAVES, start=1):
        log = extend(log, [leaf])
        assert (log.size, root(log)) == (size, ROOTS[size])
        assert len(log.frontier) == size.bit_count()


def test_every_split_into_two_batches_gives_the_same_log() -> None:
    for size in range(LARGEST + 1):
        whole = extend(EMPTY, LEAVES[:size])
        assert root(whole) == ROOTS[size]
        assert all(extend(extend(EMPTY, LEAVES[:at]), LEAVES[at:size]) == whole for at in range(size + 1))


def test_every_inclusion_proof_is_the_naive_one_and_holds() -> None:
    for size in range(1, LARGEST + 1):
        for index in range(0, size, 1 if size < 70 else 7):
            proof = inclusion_proof(index, size, hashes_of(LEAVES))
            assert proof == naive_path(index, LEAVES[:size])
            assert verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size])


def test_every_consistency_proof_is_the_naive_one_and_holds() -> None:
    for new in range(1, LARGEST + 1):
        for old in range(1, new + 1, 1 if new < 70 else 7):
            proof = consistency_proof(old, new, hashes_of(LEAVES))
            assert proof == naive_consistency(old, LEAVES[:new])
            assert verify_consistency(old, ROOTS[old], new, ROOTS[new], proof)


def test_proofs_made_together_are_those_made_one_by_one() -> None:
    for size in range(1, 70):
        top, paths = batch_proofs(LEAVES[:size])
        assert top == ROOTS[size]
        assert paths == [naive_path(index, LEAVES[:size]) for index in range(size)]
