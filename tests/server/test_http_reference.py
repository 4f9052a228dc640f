"""docs/reference/http.md is true: its tables are the routes', its limits the server's, its example runs."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from inspect import cleandoc
from itertools import pairwise
from pathlib import Path

from msgspec import structs
from served import Served

from kiff.server.openapi import answers
from kiff.server.route import Route
from kiff.server.routes import ROUTES
from kiff.server.settings import Limits

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "http.md"


EVERYWHERE = set.intersection(*(answers(route) for route in ROUTES if route.refuses is None))


def tables() -> str:
    """Every route by tag."""
    tags = list(dict.fromkeys(route.tag for route in ROUTES))
    everywhere = ", ".join(map(str, sorted(EVERYWHERE)))
    apart = " and ".join(f"`{route.method} {route.path}`" for route in ROUTES if route.refuses is not None)
    usual = f"Any route may answer {everywhere}; {apart} says all of its errors with status 200, as a refusal."
    return "\n".join([f"\n{usual}", *("\n".join(_table(tag)) for tag in tags), "", ""])


def _table(tag: str) -> Iterator[str]:
    yield f"\n### {tag}\n"
    yield "| route | access | body | answers | |"
    yield "|---|---|---|---|---|"
    for route in ROUTES:
        if route.tag == tag:
            yield f"| {' | '.join(_row(route))} |"


def _row(route: Route) -> tuple[str, ...]:
    return f"`{route.method} {route.path}`", route.access, _body(route), _answers(route), route.summary


def _body(route: Route) -> str:
    bodies = [] if route.body is None else [route.body.__name__]
    return ", ".join(f"`{name}`" for name in [*bodies, *filter(None, [route.media])])


def _answers(route: Route) -> str:
    every = sorted(answers(route) - EVERYWHERE)
    return " ".join([f"**{status}**" if status < 400 else str(status) for status in every])


def limits() -> str:
    """Every limit with its value, and what the docstring says of it."""
    text = cleandoc(Limits.__doc__ or "").partition("Args:\n")[2]
    told = re.findall(r"^    ([\w, ]+): ((?:.|\n {8})+)", text, re.MULTILINE)
    about = {name: " ".join(words.split()) for names, words in told for name in names.split(", ")}
    rows = [f"| `{name}` | {value:g} | {about[name]} |" for name, value in structs.asdict(Limits()).items()]
    return "\n".join(["", "| limit | value | |", "|---|---|---|", *rows, "", ""])


def test_the_generated_parts_are_what_the_server_says() -> None:
    """With KIFF_WRITE_DOCS=1 the page takes over what the server says; read the difference before it is kept."""
    text = PAGE.read_text("utf-8")
    written = text
    for name, told in (("routes", tables()), ("limits", limits())):
        before, rest = written.split(f"<!-- {name}: generated -->\n")
        after = rest.split(f"<!-- /{name} -->\n")[1]
        written = f"{before}<!-- {name}: generated -->\n{told}<!-- /{name} -->\n{after}"
    if os.environ.get("KIFF_WRITE_DOCS"):
        PAGE.write_text(written, "utf-8")
        return
    assert text == written, "write it anew with KIFF_WRITE_DOCS=1"


def test_every_route_is_on_the_page() -> None:
    shown = re.findall(r"^\| `([A-Z]+ /\S+)` \|", PAGE.read_text("utf-8"), re.MULTILINE)
    assert sorted(shown) == sorted(f"{route.method} {route.path}" for route in ROUTES)


def test_the_example_gives_what_the_page_shows(own_shop: Served) -> None:
    text = PAGE.read_text("utf-8")
    [line] = re.findall(r"```console\n\$ (curl .*?)\n```", text, re.DOTALL)
    [shown] = re.findall(r"```json\n(.*?)\n```", text, re.DOTALL)
    words = shlex.split(line.replace("\\\n", " "))
    headers = dict(word.split(": ", 1) for flag, word in pairwise(words) if flag == "-H")
    assert headers.pop("Authorization") == "Bearer $KIFF_KEY"
    path = next(word.removeprefix("$KIFF_URL") for word in words if word.startswith("$KIFF_URL"))
    own_shop.paid("ord_002")
    told = own_shop.ask(words[words.index("-X") + 1], path, words[words.index("-d") + 1].encode(), headers=headers)
    expected = json.loads(shown)
    assert told.status == 200
    for name, value in expected.items():
        fits = re.escape(value).replace("…", ".+") if isinstance(value, str) else None
        assert told.body[name] == value if fits is None else re.fullmatch(fits, told.body[name]), name


def test_every_file_it_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", PAGE.read_text("utf-8"))
    assert links
    assert [link for link in links if not (PAGE.parent / link).exists()] == []
