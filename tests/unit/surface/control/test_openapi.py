import json
from pathlib import Path

from vigilnet.surface.control.openapi import BASE, document
from vigilnet.surface.control.operations import OPERATIONS

WRITTEN = Path(__file__).parents[4] / "docs" / "openapi.json"


def test_written_document_is_what_the_operations_give() -> None:
    written = json.loads(WRITTEN.read_text())
    assert written == document(), (
        "write it anew: python -m vigilnet.surface.control.openapi > docs/openapi.json"
    )


def test_every_operation_that_http_serves_is_described() -> None:
    paths = document()["paths"]
    for name, operation in OPERATIONS.items():
        described = paths.get(f"{BASE}/{name}")
        if operation.is_socket_only:
            assert described is None
        else:
            assert set(described) == {"post" if operation.is_change else "get"}
    assert f"{BASE}/events" in paths


def test_every_reference_leads_somewhere_and_every_field_has_a_kind() -> None:
    content = document()
    models = content["components"]["schemas"]
    text = json.dumps(content)
    for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in models
    for model in models.values():
        for field in model["properties"].values():
            assert {"type", "$ref", "anyOf"} & set(field)
