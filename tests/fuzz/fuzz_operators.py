"""Fuzz targets of operator directories: registrations, listings, multiaddrs, and a whole directory."""

import contextlib
import json
from collections.abc import Callable

from tests.support.operators import HOST, DirectoryLab, Relay
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.base.http.messages import Request, parse_json
from vigilnet.routing.operators.wire import (
    decode_listing,
    decode_operator,
    decode_registration,
    encode_registration,
    host_of_multiaddr,
    to_base64,
)


def _registration(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        said = decode_registration(parse_json(data))
        assert decode_registration(encode_registration(said)) == said


def _listing(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert len(decode_listing(parse_json(data), 5)) <= 5
    with contextlib.suppress(RemoteProtocolError):
        decode_operator(parse_json(data))


def _multiaddr(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert host_of_multiaddr(data.decode(errors="replace"))


_LAB = DirectoryLab(compat=True)


def _directory(data: bytes) -> None:
    _LAB.directory.judge(Request("POST", "/", peer=HOST, body=data), _LAB.wall, _LAB.now)
    assert len(_LAB.directory.registry) <= 4


_SIGNED = json.dumps(encode_registration(Relay("one").registration())).encode()
_UNSIGNED = json.dumps(Relay("one").unsigned()).encode()
_RECORD = to_base64(Relay("one").record().encoded)

TARGETS: dict[str, Callable[[bytes], None]] = {
    "registration": _registration,
    "listing": _listing,
    "multiaddr": _multiaddr,
    "directory": _directory,
}
SEEDS: dict[str, list[bytes]] = {
    "registration": [_SIGNED, _UNSIGNED],
    "listing": [json.dumps({"DE": [{"record": _RECORD}]}).encode(), json.dumps({"record": _RECORD}).encode()],
    "multiaddr": [b"/ip4/192.0.2.1/tcp/4001", b"/ip6/2001:db8::1/udp/443/quic-v1", b"/dns4/a.example/tcp/1"],
    "directory": [_SIGNED, _UNSIGNED],
}
