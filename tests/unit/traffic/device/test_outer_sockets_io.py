"""Which sockets are bound to the interface that leads out, by what the interpreter tells of them."""

import socket
import sys
from typing import Any

import pytest

from vigilnet.traffic.device.outer_sockets_io import OuterSockets


class Bound(socket.socket):
    """Remembers options instead of setting them."""

    def __init__(self, family: int) -> None:
        super().__init__(family, socket.SOCK_DGRAM)
        self.options: list[tuple[Any, ...]] = []

    def setsockopt(self, *words: Any) -> None:  # noqa: ANN401
        self.options.append(words)


@pytest.mark.parametrize(
    ("platform", "family", "host", "option"),
    [
        ("darwin", socket.AF_INET, "192.0.2.1", (socket.IPPROTO_IP, 25, 7)),
        ("darwin", socket.AF_INET6, "fe80::1%en0", (socket.IPPROTO_IPV6, 125, 7)),
        ("win32", socket.AF_INET, "192.0.2.1", (socket.IPPROTO_IP, 31, b"\0\0\0\x07")),
        ("win32", socket.AF_INET6, "2001:db8::1", (socket.IPPROTO_IPV6, 31, 7)),
    ],
)
def test_what_leads_out_is_bound(platform: str, family: int, host: str, option: tuple[object, ...]) -> None:
    outer = OuterSockets(platform)
    with Bound(family) as sock:
        outer.hear("socket.connect", (sock, (host, 443)))
        assert sock.options == []  # no interface is named
        outer.index = 7
        for event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            outer.hear(event, (sock, (host, 443)))
        assert sock.options == [option] * 3


@pytest.mark.parametrize(
    ("event", "address"),
    [
        ("socket.connect", ("127.0.0.1", 1)),
        ("socket.connect", ("198.18.86.1", 1)),
        ("socket.connect", ("a.name", 1)),
        ("socket.connect", "/run/a.sock"),
        ("socket.sendmsg", None),
        ("socket.bind", ("192.0.2.1", 1)),
        ("open", ("x",)),
    ],
)
def test_what_stays_here_is_not_and_nothing_is_ever_forbidden(event: str, address: object) -> None:
    outer = OuterSockets("darwin")
    outer.index = 7
    with Bound(socket.AF_INET) as sock:
        outer.hear(event, (sock, address))
        assert sock.options == []
    outer.hear("socket.connect", ())


def test_the_interpreter_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hooks: list[object] = []
    monkeypatch.setattr(sys, "addaudithook", hooks.append)
    outer = OuterSockets()
    for index in (0, 3, 4, 0):
        outer.follow(index)
        assert outer.index == index
    assert hooks == [outer.hear]
