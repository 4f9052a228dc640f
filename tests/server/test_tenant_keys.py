"""A tenant's signing key is made when the tenant is, and never again."""

from __future__ import annotations

from pathlib import Path

from served import TENANT, served


def test_a_key_that_is_gone_is_not_replaced_by_a_restart(tmp_path: Path) -> None:
    """What it signed is still there: a new key would make a log that nobody can tell from a forged one."""
    with served(tmp_path) as shop:
        shop.found("other")
    key = tmp_path / "keys" / f"{TENANT}.pem"
    key.unlink()
    with served(tmp_path) as shop:
        assert not key.exists()
        assert shop.decide("ord_001").status >= 500
        keys = shop.found("other")
        assert shop.decide("ord_001", key=keys["agent"]).status == 200, "and the other tenants go on"


def test_where_a_key_is_kept_is_in_no_answer(tmp_path: Path) -> None:
    with served(tmp_path) as shop:
        pass
    (tmp_path / "keys" / f"{TENANT}.pem").unlink()
    with served(tmp_path) as shop:
        for told in (shop.decide("ord_001"), shop.get("/readyz")):
            assert str(tmp_path).encode() not in told.raw
            assert b".pem" not in told.raw
