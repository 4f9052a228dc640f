"""The pages that people read: every route, and every code. HTML from the same document and the same table as all else.

INVARIANT: a page loads nothing but its own stylesheet, runs no script, and everything in it is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from hashlib import sha256
from html import escape
from shlex import quote
from typing import Any

from msgspec import Struct

from kiff.server.codes import CODES, meaning
from kiff.server.problems import STATUS, problem
from kiff.server.route import Route
from kiff.server.style import STYLE

Json = dict[str, Any]


class Page(Struct, frozen=True):
    """What is served: bytes, and the tag by which a client knows that it has them."""

    body: bytes
    media: str
    tag: str


class Reference:
    """The document and the pages of a table of routes, made when they are first asked for.

    Args:
        url: where the routes are served.
    """

    def __init__(self, routes: tuple[Route, ...], url: str = "/") -> None:
        self._routes = routes
        self._url = url

    @cached_property
    def openapi(self) -> Page:
        return _page(published(self._document), "application/json")

    @cached_property
    def routes(self) -> Page:
        return _page(routes_page(self._document), HTML)

    @cached_property
    def errors(self) -> Page:
        return _page(errors_page(), HTML)

    @cached_property
    def style(self) -> Page:
        return _page(STYLE, "text/css; charset=utf-8")

    @cached_property
    def _document(self) -> Json:
        from kiff.server.openapi import document  # 15 ms that a start without readers does not need

        return document(self._routes, self._url)


HTML = "text/html; charset=utf-8"


def published(told: Json) -> str:
    """A document as it is served and committed."""
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def _page(text: str, media: str) -> Page:
    body = text.encode()
    return Page(body, media, f'"{sha256(body).hexdigest()[:32]}"')


def routes_page(told: Json) -> str:
    """Every route by tag: what it takes, what it answers, and a call of it."""
    operations = [
        Operation(method.upper(), path, operation, told)
        for path, methods in told["paths"].items()
        for method, operation in methods.items()
    ]
    of = {tag["name"]: [each for each in operations if each.told["tags"] == [tag["name"]]] for tag in told["tags"]}
    menu = [
        f'<li><a href="#{_anchor(tag)}">{escape(tag)}</a><ul>{"".join(map(_menu, group))}</ul></li>'
        for tag, group in of.items()
    ]
    menu += ['<li><a href="#shapes">Shapes</a></li>', '<li><a href="docs/errors">Codes</a></li>']
    usual = _usual(operations)
    parts = [
        f"<h1>KIFF over HTTP</h1>{_prose(told['info']['description'])}",
        '<p><a href="openapi.json">openapi.json</a> says the same to programs.</p>',
        "<p>What every route may answer besides what stands with it, unless 200 is all that it answers:</p>",
        _answers(operations[0], usual),
    ]
    for tag in told["tags"]:
        parts.append(f'<h2 id="{_anchor(tag["name"])}">{escape(tag["name"])}</h2>{_prose(tag["description"])}')
        parts += [_operation(each, usual) for each in of[tag["name"]]]
    parts.append('<h2 id="shapes">Shapes</h2>')
    parts += [_shape(name, schema) for name, schema in told["components"]["schemas"].items()]
    return _html("KIFF over HTTP", "docs/style.css", menu, parts)


def _usual(operations: list[Operation]) -> Json:
    """The errors that every route may answer, as most of them do: shown once. A route that has none stands apart."""
    answers = [set(each.told["responses"]) for each in operations]
    everywhere = set.intersection(*(each for each in answers if max(each) >= "400"))
    common = operations[0].document["components"]["responses"]
    names = {status: f"error{status}" for status in sorted(everywhere)}
    return {status: {"$ref": f"#/components/responses/{name}"} for status, name in names.items() if name in common}


def errors_page() -> str:
    """Every code: what it means, when it is answered, what to do."""
    codes = "".join(f'<li><a href="#{code}"><code>{code}</code></a></li>' for code in CODES)
    menu = ['<li><a href="../docs">Routes</a></li>', f"<li>Codes<ul>{codes}</ul></li>"]
    parts = [
        "<h1>Codes</h1>",
        "<p>Every error, and every refusal by the gate, carries one of these as <code>code</code>. A code never "
        "changes its meaning. One that is not here is the id of a rule in the domain.</p>",
    ]
    for code, known in CODES.items():
        later = f'<p class="later">Comes with {escape(known.later)}; nothing answers it yet.</p>' if known.later else ""
        parts.append(
            f'<section id="{code}"><h3><code>{code}</code><span class="status">{STATUS[code]}</span></h3>'
            f"<p>{escape(sentence(code))}</p>{later}<dl><dt>When</dt><dd>{_inline(known.when)}</dd>"
            f"<dt>What to do</dt><dd>{_inline(known.fix)}</dd></dl>"
            f"<pre><code>{escape(example(code))}</code></pre></section>"
        )
    return _html("KIFF: codes", "style.css", menu, parts)


def sentence(code: str) -> str:
    """What a code means, written as a sentence."""
    text = meaning(code)
    return f"{text[0].upper()}{text[1:]}."


def example(code: str) -> str:
    """The body of an error with this code."""
    body = problem(code, meaning(code), "trace_4bf92f3577b34da6a3ce929d0e0e4736", CODES[code].detail)
    return json.dumps(body, indent=2, ensure_ascii=False)


class Operation(Struct, frozen=True):
    """One route as the document has it."""

    method: str
    path: str
    told: Json
    document: Json

    def resolved(self, part: Json) -> Json:
        """What a reference within the document leads to; anything else is itself."""
        if "$ref" not in part:
            return part
        found: Any = self.document
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        resolved: Json = found
        return resolved

    @property
    def parameters(self) -> list[Json]:
        return [self.resolved(each) for each in self.told["parameters"]]

    @property
    def body(self) -> tuple[str, Json] | None:
        """Media type and content of the request's body."""
        content = self.told.get("requestBody", {}).get("content", {})
        return next(iter(content.items()), None)


def curl(each: Operation) -> str:
    """A call of the route, for a shell that has KIFF_URL and KIFF_KEY."""
    path = each.path
    for parameter in each.parameters:
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
    words = ["curl", *(() if each.method == "GET" else ("-X", each.method)), f'"$KIFF_URL{path}"']
    lines = [" ".join(words)]
    if each.told.get("security") != []:
        lines.append('-H "Authorization: Bearer $KIFF_KEY"')
    if any(parameter["name"] == "Idempotency-Key" for parameter in each.parameters):
        lines.append('-H "Idempotency-Key: $(uuidgen)"')
    if each.body is not None:
        media, content = each.body
        lines.append(f"-H 'Content-Type: {media}'")
        lines.append(f"-d {quote(json.dumps(content['example']))}" if "example" in content else "--data-binary @body")
    return " \\\n  ".join(lines)


def _operation(each: Operation, usual: Json) -> str:
    told = each.told
    parts = [
        f'<section id="{told["operationId"]}">',
        f'<h3><span class="method {each.method.lower()}">{each.method}</span> <code>{escape(each.path)}</code></h3>',
        f"<p>{_inline(told['summary'])}</p>{_prose(told['description'], 'access')}",
    ]
    if each.parameters:
        parts.append(_table(("Parameter", "In", "Type", ""), (_parameter(every) for every in each.parameters)))
    if each.body is not None:
        media, content = each.body
        needed = "" if told["requestBody"]["required"] else ", may be left out"
        parts.append(f"<p>Body: <code>{escape(media)}</code>{needed}: {_type(content['schema'])}</p>")
    own = {status: part for status, part in told["responses"].items() if usual.get(status) != part}
    parts.append(_answers(each, own))
    parts.append(f"<pre><code>{escape(curl(each))}</code></pre></section>")
    return "".join(parts)


def _menu(each: Operation) -> str:
    return (
        f'<li><a href="#{each.told["operationId"]}"><span class="method {each.method.lower()}">{each.method}</span> '
        f"{escape(each.path.removeprefix('/v1'))}</a></li>"
    )


def _parameter(told: Json) -> tuple[str, ...]:
    schema = told["schema"]
    notes = [_inline(told.get("description", ""))]
    notes += ["required"] if told.get("required") else []
    if schema.get("default", "") not in ("", None):
        notes.append(f"default <code>{escape(json.dumps(schema['default']))}</code>")
    return _code(told["name"]), told["in"], _type(schema), "; ".join(filter(None, notes))


def _answers(each: Operation, told: Json) -> str:
    rows = ((_status(status), *_answer(each, part)) for status, part in told.items())
    return _table(("Answer", "Body", ""), rows)


def _answer(each: Operation, part: Json) -> tuple[str, str]:
    found = each.resolved(part)
    content = found.get("content", {})
    kinds = [
        _type(its["schema"]) if its.get("schema") else _code(media)
        for media, its in content.items()
        if media != "application/problem+json"
    ]
    return ", ".join(kinds), _CODE.sub(_linked, _inline(found["description"]))


def _linked(found: re.Match[str]) -> str:
    """A code, leading to what it means."""
    return f'<a href="docs/errors#{found[1]}">{found[0]}</a>' if found[1] in CODES else found[0]


_CODE = re.compile(r"<code>(\w+)</code>")


def _status(status: str) -> str:
    return f'<span class="status s{status[0]}">{status}</span>'


def _shape(name: str, schema: Json) -> str:
    head = f'<section id="shape-{name}"><h3><code>{escape(name)}</code></h3>{_prose(schema.get("description", ""))}'
    if "allOf" in schema:
        head += f"<p>All of {', '.join(_type(each) for each in schema['allOf'])}, and:</p>"
    required = schema.get("required", ())
    properties = schema.get("properties") or {name: {} for name in required}
    rows = (
        (_code(member), _type(its) if its else "", "always" if member in required else "")
        for member, its in properties.items()
    )
    return f"{head}{_table(('Member', 'Type', ''), rows) if properties else ''}</section>"


def _type(schema: Json) -> str:
    """A schema in a few words, as HTML."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#shape-{escape(name)}">{escape(name)}</a>'
    if "enum" in schema:
        return " | ".join(_code(json.dumps(each)) for each in schema["enum"])
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " | ".join(_type(each) for each in schema[choice])
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_type(schema.get('items') or {})}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict) and schema["additionalProperties"]:
        return f"object of {_type(schema['additionalProperties'])}"
    text = " or ".join(kind) if isinstance(kind, list) else kind or "anything"
    return escape(text) + "".join(f", {word} {escape(str(schema[name]))}" for name, word in _BOUNDS if name in schema)


_BOUNDS = (
    ("minimum", "at least"),
    ("maximum", "at most"),
    ("maxLength", "characters at most"),
    ("pattern", "like"),
)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table; its cells are HTML already."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _prose(text: str, kind: str = "") -> str:
    """Paragraphs of text with `code` in it."""
    mark = f' class="{kind}"' if kind else ""
    return "".join(f"<p{mark}>{_inline(part)}</p>" for part in text.split("\n\n") if part.strip())


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _anchor(tag: str) -> str:
    return "tag-" + re.sub(r"[^a-z0-9]+", "-", tag.lower())


def _html(title: str, style: str, menu: Iterable[str], parts: Iterable[str]) -> str:
    return "\n".join(_lines(title, style, menu, parts))


def _lines(title: str, style: str, menu: Iterable[str], parts: Iterable[str]) -> Iterator[str]:
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="color-scheme" content="light dark">'
    yield f"<title>{escape(title)}</title>"
    yield f'<link rel="stylesheet" href="{style}">\n</head>\n<body>'
    yield f"<nav><ul>\n{chr(10).join(menu)}\n</ul></nav>\n<main>"
    yield from parts
    yield "</main>\n</body>\n</html>\n"
