"""The key file: a key that others could have read or placed signs nothing, and the error says the fix."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from kiff.errors import KeyUnusable
from kiff.ledger import parse_jwks
from kiff.stores.keyfile import load, load_or_create, public_path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "receipts.pem"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644, 0o777])
def test_a_key_open_to_others_is_refused_with_the_fix(path: Path, mode: int) -> None:
    load_or_create(path)
    path.chmod(mode)
    for use in (load, load_or_create):
        with pytest.raises(KeyUnusable, match=f"chmod 600 {path}"):
            use(path)


def test_a_symbolic_link_is_refused(path: Path, tmp_path: Path) -> None:
    load_or_create(tmp_path / "real.pem")
    path.symlink_to(tmp_path / "real.pem")
    for use in (load, load_or_create):
        with pytest.raises(KeyUnusable, match="symbolic link"):
            use(path)


def test_a_dangling_link_creates_nothing(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(KeyUnusable, match="symbolic link"):
        load_or_create(path)
    assert not (tmp_path / "elsewhere.pem").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file to another user")
def test_another_users_key_is_refused(path: Path) -> None:
    load_or_create(path)
    os.chown(path, 12345, -1)
    with pytest.raises(KeyUnusable, match="12345"):
        load(path)


def test_a_folder_and_a_pipe_are_refused(path: Path, tmp_path: Path) -> None:
    path.mkdir(mode=0o700)
    pipe = tmp_path / "pipe.pem"
    os.mkfifo(pipe, 0o600)
    for each in (path, pipe):
        with pytest.raises(KeyUnusable, match="not a regular file"):
            load(each)


def test_a_missing_key_is_not_made_by_load(path: Path) -> None:
    with pytest.raises(KeyUnusable, match="is not there"):
        load(path)
    assert not path.exists()


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match="cannot be created"):
        load_or_create(tmp_path / "nowhere" / "receipts.pem")


def test_a_key_of_another_type_is_refused(path: Path) -> None:
    other = generate_private_key(SECP256R1())
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    with pytest.raises(KeyUnusable, match="another type"):
        load(path)


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "encrypted"])
def test_a_damaged_key_is_refused_and_left_alone(path: Path, damage: str) -> None:
    load_or_create(path)
    pem = path.read_bytes()
    locked = load_pem_private_key(pem, None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    held = {"empty": b"", "cut": pem[:60], "noise": b"\xff" * 100, "encrypted": locked}[damage]
    path.write_bytes(held)
    with pytest.raises(KeyUnusable, match="PEM"):
        load_or_create(path)
    assert path.read_bytes() == held


def test_an_error_does_not_show_the_key(path: Path) -> None:
    load_or_create(path)
    secret = path.read_text().splitlines()[1]
    path.chmod(0o644)
    with pytest.raises(KeyUnusable) as caught:
        load(path)
    assert secret not in str(caught.value)
    assert secret not in str(caught.value.detail)


def test_a_broken_key_set_is_not_written_over(path: Path) -> None:
    load_or_create(path)
    public_path(path).write_text("mine")
    with pytest.raises(KeyUnusable, match="not a key set"):
        load_or_create(path)
    assert public_path(path).read_text() == "mine"


@pytest.mark.parametrize("umask", [0, 0o022, 0o077, 0o377])
def test_a_new_key_is_its_owners_alone_whatever_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        load_or_create(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(public_path(path).stat().st_mode) == 0o644


def test_the_same_key_comes_back(path: Path) -> None:
    first = load_or_create(path)
    assert load_or_create(path).kid == load(path).kid == first.kid


def test_auditors_find_the_public_key_beside_it_and_nothing_else(path: Path) -> None:
    signer = load_or_create(path)
    assert public_path(path) == path.with_name("receipts.jwks.json")
    keys = parse_jwks(public_path(path).read_bytes())
    assert list(keys) == [signer.kid]
    assert keys.verify(signer.kid, signer.sign(b"data"), b"data")
    assert "d" not in json.loads(public_path(path).read_text())["keys"][0]
    assert sorted(each.name for each in path.parent.iterdir()) == ["receipts.jwks.json", "receipts.pem"]


def test_a_replaced_key_joins_the_ones_that_signed_before(path: Path) -> None:
    first = load_or_create(path)
    path.unlink()
    second = load_or_create(path)
    assert list(parse_jwks(public_path(path).read_bytes())) == [first.kid, second.kid]
