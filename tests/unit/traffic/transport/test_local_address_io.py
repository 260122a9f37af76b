"""Our preferred addresses are asked for without sending anything."""

import socket

import pytest

from vigilnet.traffic.transport import local_address_io
from vigilnet.traffic.transport.local_address_io import preferred_addresses


def test_there_is_one_text_per_family_and_it_is_stable() -> None:
    assert preferred_addresses() == preferred_addresses()
    assert len(preferred_addresses()) == 2


def test_the_source_towards_an_address_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_address_io, "_ANYWHERE", ((socket.AF_INET, "127.0.0.1"),) * 2)
    assert preferred_addresses() == ("127.0.0.1", "127.0.0.1")


def test_no_route_is_empty_text(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket, "socket", refuse)
    assert preferred_addresses() == ("", "")
