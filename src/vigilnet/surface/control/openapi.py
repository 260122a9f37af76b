"""The OpenAPI 3.1 document of the loopback HTTP API, made from the operations and their models.

`python -m vigilnet.surface.control.openapi` prints it; docs/openapi.json is what it printed last, and a
test compares them.
"""

import dataclasses
import inspect
import json
import sys
import types
import typing
from typing import Any, Final

from vigilnet.surface.control.operations import OPERATIONS, TOPICS, Nothing, Operation
from vigilnet.surface.control.schema import VERSION

BASE: Final = "/api/v1"
_KINDS: Final[dict[object, str]] = {str: "string", int: "integer", float: "number", bool: "boolean"}
_ERROR: Final = {"$ref": "#/components/schemas/Error"}


def document() -> dict[str, Any]:
    """Return the document."""
    models: dict[str, Any] = {"Error": _error_schema()}
    paths: dict[str, Any] = {}
    for operation in OPERATIONS.values():
        if not operation.is_socket_only:
            verb = "post" if operation.is_change else "get"
            paths[f"{BASE}/{operation.name}"] = {verb: _operation(operation, models)}
    paths[f"{BASE}/events"] = {"get": _events(models)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "VigilNet control API",
            "version": str(VERSION),
            "description": "Steers one node from this machine. Within one version fields are added, never "
            "renamed or dropped. Private fields (x-private) are empty for a read-only token.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": dict(sorted(models.items())),
        },
    }


def _operation(operation: Operation, models: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.purpose,
        "x-role": "full" if operation.needs_full else "read-only",
        "responses": {
            "200": _json("the answer", _schema(operation.result, models)),
            "default": _json("why not", _ERROR),
        },
    }
    if operation.params is Nothing:
        return described
    if operation.is_change:
        body = {"application/json": {"schema": _schema(operation.params, models)}}
        described["requestBody"] = {"required": True, "content": body}
    else:
        described["parameters"] = _query(operation.params, models)
    return described


def _events(models: dict[str, Any]) -> dict[str, Any]:
    kinds = {topic: _schema(kind, models) for topic, kind in TOPICS.items()}
    return {
        "operationId": "events",
        "summary": "server-sent events: the event's name is the topic, its data the topic's new value",
        "x-role": "read-only",
        "x-topics": kinds,
        "parameters": [
            {
                "name": "topics",
                "in": "query",
                "description": f"with commas between; none: all of {', '.join(TOPICS)}",
                "schema": {"type": "string", "default": ""},
            }
        ],
        "responses": {
            "200": {"description": "events until the caller leaves", "content": {"text/event-stream": {}}},
            "default": _json("why not", _ERROR),
        },
    }


def _json(description: str, schema: object) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _query(kind: type, models: dict[str, Any]) -> list[dict[str, Any]]:
    properties = _model(kind, models)
    return [
        {
            "name": name,
            "in": "query",
            "required": name in properties.get("required", ()),
            "description": schema.pop("description", ""),
            "schema": schema,
        }
        for name, schema in properties["properties"].items()
    ]


def _schema(kind: object, models: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a kind of value; models go by reference."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        words = [part for part in arguments[1:] if isinstance(part, str) and part != "private"]
        schema = dict(_schema(arguments[0], models))
        if words:
            schema["description"] = words[0]
        if "private" in arguments[1:]:
            schema["x-private"] = True
        return schema
    if origin is types.UnionType:
        return {"anyOf": [_schema(arguments[0], models), {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0], models)}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in models:
            models[kind.__name__] = {}  # against a model that holds itself
            models[kind.__name__] = _model(kind, models)
        return {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"type": "object"} if origin is dict else {"type": _KINDS[kind]}


def _model(kind: type, models: dict[str, Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    properties: dict[str, Any] = {}
    required = []
    for field in dataclasses.fields(kind):
        schema = _schema(hints[field.name], models)
        if field.default is dataclasses.MISSING:
            required.append(field.name)
        elif isinstance(field.default, str | int | float):
            schema["default"] = field.default
        properties[field.name] = schema
    described = {
        "type": "object",
        "description": (inspect.getdoc(kind) or "").partition("\n")[0],
        "properties": properties,
    }
    return {**described, "required": required} if required else described


def _error_schema() -> dict[str, Any]:
    words = {
        "code": "for programs; stable",
        "message": "one line for people",
        "why": "one more sentence",
        "next": "what to do now, often a command line",
    }
    fields = {name: {"type": "string", "description": text} for name, text in words.items()}
    error = {"type": "object", "properties": fields, "required": ["code", "message"]}
    return {"type": "object", "properties": {"error": error}, "required": ["error"]}


def main() -> None:
    """Print the document."""
    json.dump(document(), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
