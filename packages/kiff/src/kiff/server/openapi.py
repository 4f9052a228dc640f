"""The OpenAPI 3.1 document: made of the route table and of the types it names, and of nothing else.

What a route can answer follows from what it is (public, with a body, a write, ...) and from what its `answers` name.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.metadata import version
from inspect import cleandoc
from typing import Any

from msgspec import UNSET, Struct, inspect, structs
from msgspec.json import schema_components

from kiff.server import samples
from kiff.server.codes import CODES
from kiff.server.cookies import SESSION
from kiff.server.problems import DOCS, STATUS, Problem
from kiff.server.route import READ, Route

Json = dict[str, Any]

ACCESS = {
    "public": "Needs no key.",
    "key": "Needs a key of the tenant.",
    "read": f"Needs a key that may read records: the permission `{READ}`, or the role `auditor` or `tenant_owner`.",
    "owner": "Needs a key with the role `tenant_owner`.",
}
ID = r"^[A-Za-z0-9_.:-]{1,128}$"
DESCRIPTION = f"""\
KIFF decides whether an agent's action may happen, before it does.

A key in `Authorization: Bearer …` says whose authority a call has; a body never does. A write takes an
`Idempotency-Key`: the same request with the same key brings the same answer. Unknown members and query names are
refused. Answers may gain members, and never lose them. Every error has a `code`; `{DOCS}` says what each means."""
_JSON = "application/json"
_PROBLEM = {
    "decision": {"$ref": "#/components/schemas/DecisionProblem"},
    "error": {"$ref": "#/components/schemas/Problem"},
}
_NAME = re.compile(r"{(\w+)(?::(\w+))?}")
_HEADERS: dict[str, Json] = {
    "Trace-Id": {"description": "Finds the request in logs and records.", "schema": {"type": "string"}},
    "Retry-After": {"description": "Seconds to wait before asking again.", "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string"}},
}
_PARAMETERS: dict[str, Json] = {
    "Idempotency-Key": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "An id of the write, drawn by the client. The same one with other content is refused.",
        "schema": {"type": "string", "pattern": ID},
    }
}


def document(routes: tuple[Route, ...], url: str = "/") -> Json:
    """The document for these routes, served at `url`."""
    shapes = Shapes(routes)
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(template(route.path), {})[route.method.lower()] = _operation(route, shapes)
    return {
        "openapi": "3.1.0",
        "info": {"title": "KIFF", "version": version("kiff"), "description": DESCRIPTION},
        "servers": [{"url": url}],
        "security": [{"key": []}, {"session": []}],
        "tags": _tags(routes),
        "paths": paths,
        "components": {
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "bearerFormat": "kiff_live_<tenant>_…"},
                "session": {"type": "apiKey", "in": "cookie", "name": SESSION},
            },
            "headers": _HEADERS,
            "parameters": _PARAMETERS,
            "responses": _common(routes),
            "schemas": shapes.components,
        },
    }


def template(path: str) -> str:
    """A route's path as OpenAPI writes it: `{name:path}` is `{name}`."""
    return _NAME.sub(r"{\1}", path)


def with_key(route: Route) -> bool:
    return route.access != "public"


ERRORS: tuple[tuple[Callable[[Route], bool], tuple[int, ...]], ...] = (
    (lambda route: True, (400, 408, 414, 431, 500, 503)),
    (lambda route: with_key(route) or route.writes, (401, 403, 429)),  # what is public and writes asks for a proof
    (lambda route: "{" in route.path or route.writes, (404,)),
    (lambda route: route.writes or route.rehearses, (409,)),
    (lambda route: route.body is not None or route.media is not None, (413,)),
    (lambda route: route.body is not None and route.media is None, (415,)),
)
"""What a route is -> the errors that follow from it."""


def errors(route: Route) -> set[int]:
    """The errors that follow from what a route is; its `answers` may name more."""
    if route.refuses is not None:
        return set()
    return {status for holds, follow in ERRORS if holds(route) for status in follow}


def answers(route: Route) -> set[int]:
    """Every status that a route can answer."""
    return errors(route) | route.answers.keys()


class Shapes:
    """The types that the routes name, as JSON Schemas.

    Args:
        components: by name, for `components.schemas`.
    """

    def __init__(self, routes: tuple[Route, ...]) -> None:
        asked = [route.body for route in routes if route.body is not None]
        bodies = [_bodies(answer).values() for route in routes for answer in route.answers.values()]
        told = [shape for shapes in bodies for shape in shapes if shape is not None]
        types = list(dict.fromkeys([*asked, *told, Problem]))
        classes = {each.cls for root in inspect.multi_type_info(types) for each in _structs(root)}
        taken_in = {each.cls for root in inspect.multi_type_info(asked) for each in _structs(root)}
        ordered = [*types, *sorted(classes - set(types), key=lambda cls: cls.__qualname__)]
        refs, components = schema_components(ordered, ref_template="#/components/schemas/{name}")
        self._refs = dict(zip(ordered, refs, strict=True))
        self.components: dict[str, Json] = dict(sorted(components.items()))
        for cls in classes:
            self._tell(cls, told=cls not in taken_in)
        self.components |= _problems(self.of(Problem))

    def of(self, shape: Any) -> Json:
        """The schema that refers to a type."""
        ref: Json = self._refs[shape]
        return ref

    def _tell(self, cls: type[Struct], *, told: bool) -> None:
        """Puts right what msgspec cannot know: docstrings are indented, and what is sent is there, default or not."""
        component = self.components[self._refs[cls]["$ref"].rpartition("/")[2]]
        if "description" in component:
            component["description"] = cleandoc(component["description"])
        if told:
            fields = structs.fields(cls)
            always = cls.__struct_config__.omit_defaults
            component["required"] = [each.encode_name for each in fields if _is_sent(each, omits=always)]


def _is_sent(field: structs.FieldInfo, *, omits: bool) -> bool:
    return field.required or (not omits and field.default is not UNSET)


def _structs(of: Any) -> Iterator[inspect.StructType]:
    """Every Struct within a type."""
    seen: set[type] = set()

    def walk(each: Any) -> Iterator[inspect.StructType]:
        if isinstance(each, inspect.StructType):
            if each.cls in seen:
                return
            seen.add(each.cls)
            yield each
            for field in each.fields:
                yield from walk(field.type)
        elif isinstance(each, inspect.Type):
            for name in each.__struct_fields__:
                inner = getattr(each, name)
                for one in inner if isinstance(inner, tuple) else (inner,):
                    yield from walk(one)

    return walk(of)


def _problems(problem: Json) -> dict[str, Json]:
    """What is made of the error body: as a deciding route answers it, and as RFC 9457 writes it."""
    return {
        "DecisionProblem": {
            "description": "An error where a decision was asked for. It carries one, and it is never `allowed`.",
            "allOf": [problem],
            "required": ["outcome", "reasons"],
        },
        "ProblemDetails": {
            "description": "The same error, when the request accepts application/problem+json (RFC 9457).",
            "allOf": [problem],
            "type": "object",
            "properties": {
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
            },
            "required": ["type", "title", "status", "detail"],
        },
    }


def _operation(route: Route, shapes: Shapes) -> Json:
    told: Json = {
        "operationId": operation_id(route),
        "tags": [route.tag],
        "summary": route.summary,
        "description": " ".join(_said(route)),
        "parameters": [*_path(route), *_query(route), *_header(route)],
        "responses": {str(status): _response(route, status, shapes) for status in sorted(answers(route))},
    }
    if not with_key(route):
        told["security"] = []
    body = _body(route, shapes)
    return told if body is None else {**told, "requestBody": body}


def operation_id(route: Route) -> str:
    """`post_entities_id_actions_name_execute`: the method and the words of the path."""
    words = re.findall(r"[A-Za-z0-9]+", template(route.path).removeprefix("/v1"))
    return "_".join([route.method.lower(), *words])


def _said(route: Route) -> Iterator[str]:
    yield ACCESS[route.access]
    if route.query is not None and route.query.__doc__:
        yield cleandoc(route.query.__doc__)


def _path(route: Route) -> Iterator[Json]:
    for found in _NAME.finditer(route.path):
        name, kind = found.groups()
        words = [word for word in route.path[: found.start()].split("/") if word and "{" not in word]
        schema = {"type": "string"} if kind == "path" else {"type": "string", "pattern": ID}
        example = samples.in_path(words if route.path[found.start() - 1] == "/" else [], name)
        yield {"name": name, "in": "path", "required": True, "schema": schema, "example": example}


def _query(route: Route) -> Iterator[Json]:
    if route.query is None:
        return
    (ref,), components = schema_components([route.query])
    shape = components[ref["$ref"].rpartition("/")[2]]
    for name, schema in shape["properties"].items():
        yield {"name": name, "in": "query", "required": name in shape["required"], "schema": _not_null(schema)}


def _not_null(schema: Json) -> Json:
    """A query has no null: what is not said is left out."""
    choices = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(choices) != 1:
        return schema
    return {**{name: value for name, value in schema.items() if name not in ("anyOf", "default")}, **choices[0]}


def _header(route: Route) -> list[Json]:
    return [{"$ref": "#/components/parameters/Idempotency-Key"}] if route.writes and with_key(route) else []


def _body(route: Route, shapes: Shapes) -> Json | None:
    content: Json = {}
    if route.body is not None:
        schema = shapes.of(route.body)
        content[_JSON] = {"schema": schema, "example": samples.body(schema, shapes.components)}
    if route.media is not None:
        content[route.media] = {"schema": {}}
    if not content:
        return None
    needed = route.body is None or any(field.required for field in structs.fields(route.body))
    return {"required": needed, "content": content}


def _response(route: Route, status: int, shapes: Shapes) -> Json:
    """One answer. Where a route has a body of its own for an error, the common one may come instead."""
    answer = route.answers.get(status)
    if status < 400:
        told: Json = {"description": _meaning(answer, status), "headers": _headers(status)}
        if answer is not None:
            told["content"] = {
                media: {} if shape is None else {"schema": shapes.of(shape)} for media, shape in _bodies(answer).items()
            }
        return told
    if answer in (None, Problem):
        return {"$ref": f"#/components/responses/{_kind(route)}{status}"}
    return _error(status, {"anyOf": [shapes.of(answer), _PROBLEM[_kind(route)]]})


def _kind(route: Route) -> str:
    """Which of the two common errors a route has."""
    return "decision" if route.decides else "error"


def _common(routes: tuple[Route, ...]) -> dict[str, Json]:
    """The errors that look the same on many routes, by status."""
    every = {(_kind(route), status) for route in routes for status in answers(route) if status >= 400}
    return {f"{kind}{status}": _error(status, _PROBLEM[kind]) for kind, status in sorted(every)}


def _error(status: int, schema: Json) -> Json:
    details = {"$ref": "#/components/schemas/ProblemDetails"}
    return {
        "description": ", ".join(f"`{code}`" for code in CODES if STATUS[code] == status and not CODES[code].later),
        "headers": _headers(status),
        "content": {_JSON: {"schema": schema}, "application/problem+json": {"schema": details}},
    }


def _headers(status: int) -> Json:
    names = ["Trace-Id"]
    names += ["Retry-After"] if status in (429, 503) else []
    names += ["WWW-Authenticate"] if status == 401 else []
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _bodies(answer: Any) -> dict[str, Any]:
    """What an answer is -> its Struct by media type; None where it is not JSON."""
    if answer is None:
        return {}
    if isinstance(answer, str):
        return {answer: None}
    return answer if isinstance(answer, dict) else {_JSON: answer}


def _meaning(answer: Any, status: int) -> str:
    if status == 304:
        return "What you have is still so."
    shape = next((shape for shape in _bodies(answer).values() if shape is not None), None)
    doc = None if shape is None else shape.__doc__
    return cleandoc(doc).partition("\n\n")[0] if doc else "Done."


def _tags(routes: tuple[Route, ...]) -> list[Json]:
    """The groups in the order of their first route; what they are about says the module that has most of them."""
    modules: dict[str, Counter[str]] = {}
    for route in routes:
        modules.setdefault(route.tag, Counter())[route.handler.__module__] += 1
    return [{"name": tag, "description": _about(tag, counted.most_common(1)[0][0])} for tag, counted in modules.items()]


def _about(tag: str, module: str) -> str:
    text = cleandoc(sys.modules[module].__doc__ or "").partition("\n\n")[0].replace("\n", " ")
    text = text.removeprefix(f"{tag}: ")
    return text[:1].upper() + text[1:]
