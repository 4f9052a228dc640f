"""The pages for people: complete, escaped, and loading nothing from anywhere."""

from __future__ import annotations

import re
import shlex
from html.parser import HTMLParser

import pytest
from served import Served

from kiff.server.codes import CODES
from kiff.server.openapi import document
from kiff.server.reference_pages import Operation, curl, errors_page, routes_page
from kiff.server.route import Answer, Call, Route
from kiff.server.routes import ROUTES
from kiff.server.style import STYLE

pytestmark = pytest.mark.slow

PAGES = {"/v1/docs": "/v1/docs/style.css", "/v1/docs/errors": "/v1/docs/style.css"}
VOID = {"meta", "link"}
ALLOWED = {
    *("html", "head", "meta", "title", "link", "body", "nav", "main", "section", "div", "span", "a", "p", "ul", "li"),
    *("h1", "h2", "h3", "table", "thead", "tbody", "tr", "th", "td", "code", "pre", "dl", "dt", "dd"),
}


class Seen(HTMLParser):
    """What is in a page: tags, attributes, ids and links; and that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.tags.add(tag)
        self.attributes |= set(told)
        if "id" in told:
            self.ids.append(str(told["id"]))
        if "href" in told:
            (self.loads if tag == "link" else self.links).append(str(told["href"]))
        if "src" in told:
            self.loads.append(str(told["src"]))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


async def nothing(call: Call) -> Answer:
    return Answer()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_loads_its_stylesheet_and_nothing_else(shop: Served, path: str) -> None:
    told = shop.get(path, key=None)
    assert told.status == 200
    assert told.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().split(" ", 1) for part in told.headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["style-src"]) == ("'none'", "'self'")
    assert "script-src" not in policy
    seen = Seen(told.raw.decode())
    assert len(seen.loads) == 1
    assert seen.tags <= ALLOWED
    assert seen.attributes <= {"lang", "charset", "name", "content", "rel", "href", "id", "class"}
    assert all(not re.match(r"[a-z]+:|//", link) for link in seen.links)


def test_the_stylesheet_is_served_and_fetches_nothing(shop: Served) -> None:
    told = shop.get("/v1/docs/style.css", key=None)
    assert (told.status, told.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert told.raw.decode() == STYLE
    assert not re.search(r"url\(|@import|@font-face", STYLE)
    assert "prefers-color-scheme: dark" in STYLE


def test_a_page_that_the_client_has_is_not_sent_again(shop: Served) -> None:
    tag = shop.get("/v1/docs", key=None).headers["etag"]
    assert shop.get("/v1/docs", key=None, headers={"If-None-Match": tag}).status == 304


def test_every_route_is_on_the_page() -> None:
    told = document(ROUTES)
    seen = Seen(routes_page(told))
    operations = [operation["operationId"] for methods in told["paths"].values() for operation in methods.values()]
    assert len(operations) == len(ROUTES)
    assert set(operations) <= set(seen.ids)
    assert len(seen.ids) == len(set(seen.ids))


def test_every_link_within_the_page_leads_somewhere() -> None:
    seen = Seen(routes_page(document(ROUTES)))
    assert {link[1:] for link in seen.links if link.startswith("#")} <= set(seen.ids)
    others = {link.partition("#")[0] for link in seen.links if not link.startswith("#")}
    assert others == {"openapi.json", "docs/errors"}
    assert {link.partition("#")[2] for link in seen.links if link.startswith("docs/errors#")} <= set(CODES)


def test_every_code_has_its_anchor() -> None:
    assert Seen(errors_page()).ids == list(CODES)


def test_an_error_leads_to_its_anchor(shop: Served) -> None:
    told = shop.get("/v1/approvals/appr_01", key=None)
    path, _, anchor = told.body["docs"].partition("#")
    assert anchor in Seen(shop.get(path, key=None).raw.decode()).ids


def test_what_the_routes_say_is_escaped() -> None:
    route = Route("GET", "/v1/<b>", nothing, "<script>alert(1)</script> & `<i>`", "<em>Tag</em>")
    page = routes_page(document((route,)))
    seen = Seen(page)
    assert seen.tags <= ALLOWED
    assert "<script>alert(1)</script>" in seen.text


def test_a_call_is_one_a_shell_takes() -> None:
    told = document(ROUTES)
    operation = told["paths"]["/v1/entities/{id}/actions/{name}/execute"]["post"]
    words = shlex.split(curl(Operation("POST", "/v1/entities/{id}/actions/{name}/execute", operation, told)))
    assert words[:3] == ["curl", "-X", "POST"]
    assert words[3] == "$KIFF_URL/v1/entities/order:ord_002/actions/REFUND_ORDER/execute"
    assert "Authorization: Bearer $KIFF_KEY" in words


def test_a_call_of_a_public_route_shows_no_key() -> None:
    told = document(ROUTES)
    line = curl(Operation("GET", "/healthz", told["paths"]["/healthz"]["get"], told))
    assert line == 'curl "$KIFF_URL/healthz"'
