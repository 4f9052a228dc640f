"""The organisation's policy: which versions are published, which one holds for every domain, and changing that."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import Struct, json

from kiff.domain import Policy, check_policy
from kiff.errors import NotFound
from kiff.runtime.answers import PolicyActivated
from kiff.server.authoring import ISSUES, YAML, keep_text, text_of, told_issues, written
from kiff.server.problems import HttpError, Problem
from kiff.server.route import Answer, Call, Route


class PolicyText(Struct, forbid_unknown_fields=True):
    """A policy document that is to hold; it can be the body itself too, as `application/x-yaml`."""

    yaml: str


class PolicyShown(Struct):
    """A version. `content` is the document with everything written out."""

    policy: str
    version: str
    digest: str
    active: bool
    yaml: str
    content: dict[str, Any]


class PolicyInForce(Struct):
    """What holds now; null where nothing does. `changed` is false when it was so already.

    `pending_approvals`: how many were pending. They stay: each is decided again under what holds when it is used, and a
    grant satisfies only what it was asked for.
    """

    policy: str | None
    version: str | None
    digest: str | None
    changed: bool
    pending_approvals: int


class PolicyVersion(Struct):
    """A published version. It was published when it held first, and may have held again since."""

    policy: str
    version: str
    digest: str
    active: bool
    published_at: str
    activated_at: str
    activated_by: str


class Policies(Struct):
    """The published versions, in the order they were published."""

    policies: list[PolicyVersion]


async def show(call: Call) -> Answer:
    policy = await asyncio.to_thread(call.tower.runtime.read.policy, call.tenant)
    if policy is None:
        raise NotFound("no policy holds; PUT one")
    return Answer(_shown(call, policy, active=True))


async def show_version(call: Call) -> Answer:
    policy = await _version(call)
    active = await asyncio.to_thread(call.tower.runtime.read.policy, call.tenant)
    return Answer(_shown(call, policy, active=policy == active))


def _shown(call: Call, policy: Policy, *, active: bool) -> PolicyShown:
    yaml = written(call, policy.digest, policy.content)
    return PolicyShown(policy.name, policy.version, policy.digest, active, yaml, json.decode(policy.content))


async def _version(call: Call) -> Policy:
    """The published version that the path names.

    Raises:
        NotFound: there is none.
    """
    read, named = call.tower.runtime.read, call.path["version"]
    try:
        return await asyncio.to_thread(read.policy_version, named, tenant=call.tenant)
    except NotFound as error:
        raise NotFound(f"there is no policy version `{named[:64]}`", version=named[:64]) from error


async def put(call: Call) -> Answer:
    text = text_of(call)
    return Answer(await _activate(call, await _read(call, text), text))


async def _read(call: Call, text: bytes) -> Policy:
    """
    Raises:
        HttpError: `invalid_policy`; `issues` says what is wrong.
    """
    async with call.tower.compiling[call.tenant]:
        policy, issues = await asyncio.to_thread(check_policy, text)
    if policy is not None:
        return policy
    told = told_issues(each for each in issues if each.level == "error")[:ISSUES]
    more = f", and {len(told) - 1} more" if len(told) > 1 else ""
    raise HttpError("invalid_policy", f"the policy cannot hold: {told[0].message}{more}", issues=told)


async def list_(call: Call) -> Answer:
    return Answer(Policies(await asyncio.to_thread(_listed, call)))


def _listed(call: Call) -> list[PolicyVersion]:
    read = call.tower.runtime.read
    active = read.policy(call.tenant)
    told: dict[str, PolicyVersion] = {}
    for record in read.policy_activations(tenant=call.tenant):
        data, at = record["data"], record["at"]
        if record["kind"] == "policy_activated" and data["replaces"] != data["version"]:
            name = data["version"]
            first = told[name].published_at if name in told else at
            holds = active is not None and active.version == name
            by = record["actor"]["id"]
            told[name] = PolicyVersion(data["policy"], name, data["digest"], holds, first, at, by)
    return list(told.values())


async def activate(call: Call) -> Answer:
    return Answer(await _activate(call, await _version(call)))


async def take_back(call: Call) -> Answer:
    return Answer(await _activate(call, None))


async def _activate(call: Call, policy: Policy | None, text: bytes | None = None) -> PolicyInForce:
    runtime, key = call.tower.runtime, call.id_of_write(None)
    told: PolicyActivated = await call.write(lambda caller: runtime.activate_policy(caller, policy, key=key))
    if policy is not None and text is not None:
        await keep_text(call, policy.digest, text)
    return PolicyInForce(told.policy, told.version, told.digest, told.changed, told.pending_approvals)


ROUTES = (
    Route(
        "GET",
        "/v1/me/policy",
        show,
        "The policy that holds for every domain.",
        "Policy",
        answers={200: PolicyShown, 404: Problem},
    ),
    Route(
        "PUT",
        "/v1/me/policy",
        put,
        "Publish a policy and let it hold for every domain.",
        "Policy",
        body=PolicyText,
        media=YAML,
        answers={200: PolicyInForce, 415: Problem, 422: Problem},
        access="owner",
        writes=True,
    ),
    Route(
        "DELETE",
        "/v1/me/policy",
        take_back,
        "Let no policy hold.",
        "Policy",
        answers={200: PolicyInForce},
        access="owner",
        writes=True,
    ),
    Route("GET", "/v1/me/policies", list_, "The published policy versions.", "Policy", answers={200: Policies}),
    Route(
        "GET",
        "/v1/me/policies/{version}",
        show_version,
        "A published policy version.",
        "Policy",
        answers={200: PolicyShown, 404: Problem},
    ),
    Route(
        "POST",
        "/v1/me/policies/{version}/activate",
        activate,
        "Let a published policy version hold.",
        "Policy",
        answers={200: PolicyInForce, 404: Problem},
        access="owner",
        writes=True,
    ),
)
