"""spec/openapi.json is what the server serves, is valid, and says of the routes what is so."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from msgspec import UNSET, Struct, UnsetType
from served import Served

from kiff.server.openapi import Shapes, document
from kiff.server.reference_pages import published
from kiff.server.route import Answer, Call, Route
from kiff.server.routes import ROUTES

PUBLISHED = Path(__file__).parents[2] / "spec" / "openapi.json"
DOCUMENT = document(ROUTES)
DRAFT = "https://json-schema.org/draft/2020-12/schema"
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


class Body(Struct):
    name: str
    reason: str = ""


class Query(Struct):
    """Which things."""

    kind: str | None = None
    limit: int = 100


class Sent(Struct):
    name: str
    output: Any = None
    receipt: str | UnsetType = UNSET


class Short(Struct, omit_defaults=True):
    name: str
    sent: Sent
    disputed: bool = False


def parts(value: Any) -> Iterator[dict[str, Any]]:
    """Every object within."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from parts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from parts(inner)


def dangling(told: dict[str, Any]) -> list[str]:
    """The references that lead nowhere."""
    lost = []
    for part in parts(told):
        if "$ref" in part:
            found: Any = told
            for name in part["$ref"].removeprefix("#/").split("/"):
                found = found.get(name) if isinstance(found, dict) else None
            if found is None:
                lost.append(part["$ref"])
    return lost


async def nothing(call: Call) -> Answer:
    return Answer()


def described(**more: Any) -> dict[str, Any]:
    """The one operation of a table with one route."""
    route = Route("POST", "/v1/things/{id}/more/{rest:path}", nothing, "More of a thing.", "Things", **more)
    told: dict[str, Any] = document((route,))["paths"]["/v1/things/{id}/more/{rest}"]["post"]
    return told


def test_the_published_file_is_what_the_routes_say() -> None:
    """With KIFF_WRITE_DOCS=1 the file takes over what the routes say; read the difference before it is kept."""
    expected = published(DOCUMENT)
    if os.environ.get("KIFF_WRITE_DOCS"):
        PUBLISHED.write_text(expected, "utf-8")
    assert PUBLISHED.read_text("utf-8") == expected, "write it anew with KIFF_WRITE_DOCS=1"


def test_the_served_document_is_the_published_one(shop: Served) -> None:
    told = shop.get("/v1/openapi.json", key=None)
    assert told.status == 200
    assert told.raw.decode() == published(DOCUMENT)


def test_a_client_that_has_the_document_is_not_sent_it_again(shop: Served) -> None:
    first = shop.get("/v1/openapi.json", key=None)
    assert "max-age" in first.headers["cache-control"]
    again = shop.get("/v1/openapi.json", key=None, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status, again.raw) == (304, b"")
    other = shop.get("/v1/openapi.json", key=None, headers={"If-None-Match": '"another"'})
    assert other.status == 200


def test_it_is_an_openapi_document() -> None:
    schemathesis.openapi.from_dict(DOCUMENT).validate()


def test_a_document_that_is_none_is_told_apart() -> None:
    wrong = {**DOCUMENT, "paths": {"no-slash": {"get": {"responses": 7}}}}
    with pytest.raises(jsonschema_rs.ValidationError):
        schemathesis.openapi.from_dict(wrong).validate()


def test_every_reference_leads_somewhere() -> None:
    assert dangling(DOCUMENT) == []
    assert dangling({"a": {"$ref": "#/components/schemas/Gone"}}) == ["#/components/schemas/Gone"]


@pytest.mark.parametrize("name", DOCUMENT["components"]["schemas"])
def test_every_component_is_a_json_schema(name: str) -> None:
    jsonschema_rs.meta.validate({"$schema": DRAFT, **DOCUMENT["components"]["schemas"][name]})


def test_every_route_is_in_it_once() -> None:
    assert len(OPERATIONS) == len(ROUTES)
    ids = [operation["operationId"] for _, operation in OPERATIONS]
    assert sorted(ids) == sorted(set(ids))


@pytest.mark.parametrize(("name", "operation"), OPERATIONS, ids=[name for name, _ in OPERATIONS])
def test_the_example_of_a_body_fits_it(name: str, operation: dict[str, Any]) -> None:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        if "example" in content:
            schema = {"$schema": DRAFT, **content["schema"], "components": DOCUMENT["components"]}
            jsonschema_rs.validate(schema, content["example"])


def test_names_in_a_path_are_parameters() -> None:
    names = {each["name"]: each for each in described()["parameters"]}
    assert names["id"]["schema"]["pattern"] == "^[A-Za-z0-9_.:-]{1,128}$"
    assert names["rest"] == {**names["rest"], "in": "path", "required": True, "schema": {"type": "string"}}


def test_a_public_route_needs_no_key_and_another_does() -> None:
    assert described(access="public")["security"] == []
    assert "security" not in described()
    assert DOCUMENT["security"] == [{"key": []}, {"session": []}]


@pytest.mark.parametrize("access", ["key", "read", "owner"])
def test_who_may_is_said(access: Any) -> None:
    said = {"key": "of the tenant", "read": "records.read", "owner": "tenant_owner"}
    assert said[access] in described(access=access)["description"]


def test_a_write_takes_an_idempotency_key_and_a_read_does_not() -> None:
    key = {"$ref": "#/components/parameters/Idempotency-Key"}
    assert key in described(writes=True)["parameters"]
    assert key not in described()["parameters"]


def test_the_errors_follow_from_what_a_route_is() -> None:
    always = {"400", "408", "414", "431", "500", "503"}
    assert described(access="public")["responses"].keys() == always | {"404"}
    assert described()["responses"].keys() == always | {"401", "403", "404", "429"}
    taking_in = described(body=Body, writes=True)["responses"].keys()
    assert taking_in == always | {"401", "403", "404", "409", "413", "415", "429"}


def test_errors_of_a_deciding_route_carry_the_decision() -> None:
    told = document((Route("GET", "/x", nothing, "x", "X", decides=True),))
    assert told["paths"]["/x"]["get"]["responses"]["401"] == {"$ref": "#/components/responses/decision401"}
    schemas = told["components"]["schemas"]
    assert schemas["DecisionProblem"]["required"] == ["outcome", "reasons"]


def test_what_is_always_sent_is_required_and_what_may_be_missing_is_not() -> None:
    shapes = Shapes((Route("GET", "/x", nothing, "x", "X", answers={200: Short}),))
    assert shapes.components["Sent"]["required"] == ["name", "output"]
    assert shapes.components["Short"]["required"] == ["name", "sent"]


def test_what_a_body_may_leave_out_is_not_required() -> None:
    shapes = Shapes((Route("POST", "/x", nothing, "x", "X", body=Body),))
    assert shapes.components["Body"]["required"] == ["name"]


def test_a_query_has_no_null() -> None:
    kind, limit = described(query=Query, access="public")["parameters"][2:]
    assert (kind["in"], kind["required"], kind["schema"]) == ("query", False, {"type": "string"})
    assert limit["schema"] == {"type": "integer", "default": 100}
    assert "Which things." in described(query=Query)["description"]


def test_the_committed_file_is_json() -> None:
    assert json.loads(PUBLISHED.read_text("utf-8"))["openapi"] == "3.1.0"
