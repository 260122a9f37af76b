import os
import socket
import sys

import pytest

from vigilnet.surface.control.auth import may_be_trusted, may_control, peer_uid


def test_credentials_of_the_other_end_are_the_systems_word() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_uid(ours) == os.getuid()


def test_only_the_same_user_and_root_may_control(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert [may_control(uid) for uid in (1000, 0, None, 1001, 65534)] == [True, True, True, False, False]
    assert not may_be_trusted(1001)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert not may_control(1000)
    assert may_be_trusted(1000)


def test_system_without_credentials_leaves_it_to_the_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "freebsd13")
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_uid(ours) is None
