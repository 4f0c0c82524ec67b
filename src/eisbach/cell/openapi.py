"""The OpenAPI document, made from the route table and the types: the code that serves is the truth.

May not know: handlers.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import msgspec

from eisbach.cell.problems import Problem
from eisbach.cell.routes import Answer, Call, Route

__all__ = ["openapi_document", "openapi_route"]

_PARAMETER: Final = re.compile(r"\{([a-z]+)(?::[a-z]+)?\}")
_DESCRIPTION: Final = (
    "Calls of viewers' apps. Send Eisbach-Slot with private calls; on 421 ask Eisbach-Owner. On 503 see code:"
    " overloaded: wait, then ask the same region; unavailable, slot_frozen: nothing was done, and another region may do"
    " it; outcome_unknown: repeat with the same Idempotency-Key to learn the answer. PUT and DELETE take no key: sent"
    " again they are carried out again, and the last one counts."
)
_COMMON: Final = {"viewer": ("401", "421"), "anyone": ()}


def openapi_document(routes: Sequence[Route], *, version: str) -> dict[str, Any]:
    """OpenAPI 3.1 of the listed routes."""
    listed = [route for route in routes if route.listed]
    kinds = {Problem: None} | {kind: None for r in listed for kind in (r.body, r.answer) if kind is not None}
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(kinds, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in listed:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Eisbach",
            "version": version,
            "description": _DESCRIPTION,
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"viewer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _operation(route: Route, schema_of: dict[Any, Any]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "maxLength": 64}}
        for name in _PARAMETER.findall(route.path)
    ]
    if route.caller == "viewer":
        parameters.append(_header("Eisbach-Slot", "as given at sign-in"))
        parameters.append(_header("Eisbach-Position", "what the caller has seen: {origin: [epoch, seq]}"))
    if route.keyed:
        parameters.append({**_header("Idempotency-Key", "1 to 64 of [A-Za-z0-9_-]"), "required": True})
    problem = {"application/problem+json": {"schema": schema_of[Problem]}}
    normal: dict[str, Any] = {"description": route.summary}
    if route.answer is not None:
        normal["content"] = {"application/json": {"schema": schema_of[route.answer]}}
    operation: dict[str, Any] = {
        "summary": route.summary,
        "operationId": _operation_id(route),
        "x-class": route.importance,
        "parameters": parameters,
        "responses": {
            str(route.status): normal,
            **{status: {"description": "See code", "content": problem} for status in _COMMON.get(route.caller, ())},
            "default": {"description": ", ".join(route.codes) or "Any problem", "content": problem},
        },
    }
    if route.body is not None:
        content = {"application/json": {"schema": schema_of[route.body]}}
        operation["requestBody"] = {"required": True, "content": content}
    if route.caller == "viewer":
        operation["security"] = [{"viewer": []}]
    return operation


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "description": description, "schema": {"type": "string"}}


def _operation_id(route: Route) -> str:
    words = re.findall(r"[a-z]+", route.path.removeprefix("/v1/"))
    return "_".join([route.method.lower(), *words])


def openapi_route(routes: Sequence[Route], *, version: str) -> Route:
    """``GET /v1/openapi.json``, made once, when it is first asked for: a cell must be back at once after a crash."""

    @cache
    def body() -> bytes:
        return msgspec.json.encode(openapi_document(routes, version=version))

    async def answer(_call: Call) -> Answer:
        return Answer(200, body(), [("Cache-Control", "public, max-age=60")])

    return Route(
        method="GET", path="/v1/openapi.json", handler=answer, importance="best_effort", caller="anyone",
        summary="This document", listed=False,
    )  # fmt: skip
