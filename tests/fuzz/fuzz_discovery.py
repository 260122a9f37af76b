"""Fuzz targets of the discovery room: texts and octets from strangers parse, or blame who wrote them."""

from collections.abc import Callable

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.peer.identity import Identity
from vigilnet.routing.discovery.invite import format_invite, parse_invite
from vigilnet.routing.discovery.welcome import format_welcome, parse_welcome


def _swallow(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        try:
            target(data)
        except RemoteProtocolError:
            return

    return run


def _invite(data: bytes) -> None:
    text = data.decode("latin-1")
    if format_invite(parse_invite(text))[9:] != text.strip()[9:]:
        raise AssertionError("one record, two invites")


def _welcome(data: bytes) -> None:
    parse_welcome(data)


TARGETS: dict[str, Callable[[bytes], None]] = {
    name: _swallow(target) for name, target in (("invite", _invite), ("welcome", _welcome))
}

SEEDS: dict[str, list[bytes]] = {
    "invite": [format_invite(b"record").encode()],
    "welcome": [
        format_welcome([b"one", b"two"], remark="a list").encode(),
        format_welcome([b"one"], Identity.from_seed(bytes(32))).encode(),
    ],
}
