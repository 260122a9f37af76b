"""Fuzz targets of the control socket: any line is a request or refused, a reply or blamed on the node."""

from collections.abc import Callable

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.surface.control import models, schema


def _request(data: bytes) -> None:
    try:
        request = schema.decode_request(data)
    except schema.ControlError:
        return
    assert schema.decode_request(request.encode()) == request


def _reply(data: bytes) -> None:
    for kind in (models.Status, tuple[models.Circuit, ...], tuple[models.Stream, ...]):
        try:
            schema.read(kind, schema.decode_reply(data, 1))
        except (schema.ControlError, RemoteProtocolError):
            continue


TARGETS: dict[str, Callable[[bytes], None]] = {"request": _request, "reply": _reply}

SEEDS: dict[str, list[bytes]] = {
    "request": [schema.Request(1, "status", {"a": [1, None]}).encode()],
    "reply": [
        schema.encode_result(
            1, schema.plain(models.Status("0", 1, "connected", 1.5, listen=("127.0.0.1:1",)))
        ),
        schema.encode_result(1, schema.plain([models.Circuit(1, "open", (models.Hop("12D3KooW"),))])),
        schema.encode_error(1, "busy", "no"),
    ],
}
