"""Where a key may be sent, and what it may look like."""

from __future__ import annotations

import pytest

from kiff.client import Client
from kiff.client.address import server_url
from kiff.errors import InvalidInput


@pytest.mark.parametrize(
    "url",
    [
        "http://kiff.example.com",
        "http://10.0.0.1:8480",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "http://0.0.0.0:8480",
    ],
)
def test_plain_http_to_another_machine_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match="another machine"):
        Client(url, "kiff_live_acme_x")
    assert Client(url, "kiff_live_acme_x", unsafe_http=True).url == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "kiff.example.com",
        "ftp://kiff.example.com",
        "https://",
        "https://user:hunter2@kiff.example.com",
        "https://kiff.example.com/?key=hunter2",
        "https://kiff.example.com/#hunter2",
        "https://kiff.example.com:http",
        "https://kiff example.com",
        "http://127.0.0.1\\@kiff.example.com",
        "https://kiff.exаmple.com",
        "https://kiff.example.com/\r\nhost: elsewhere",
    ],
)
def test_what_is_no_url_of_a_server_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        Client(url, "kiff_live_acme_x", unsafe_http=True)
    assert "user:" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "spelled"),
    [
        ("https://KIFF.example.com/", "https://kiff.example.com"),
        ("https://kiff.example.com/tower/", "https://kiff.example.com/tower"),
        ("http://localhost:8480", "http://localhost:8480"),
        ("http://127.0.0.1:8480/", "http://127.0.0.1:8480"),
        ("http://[::1]:8480", "http://[::1]:8480"),
    ],
)
def test_a_server_has_one_spelling(url: str, spelled: str) -> None:
    assert server_url(url) == spelled


@pytest.mark.parametrize("key", ["", "kiff_live\r\nhost: elsewhere", "kiff live", "kiff_é", "k" * 1000])
def test_a_key_that_is_none_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        Client("https://kiff.example.com", key)
    assert not key or key not in str(raised.value)


def test_a_client_does_not_show_its_key() -> None:
    with Client("https://kiff.example.com", "kiff_live_acme_hunter2") as client:
        assert "hunter2" not in repr(client)
