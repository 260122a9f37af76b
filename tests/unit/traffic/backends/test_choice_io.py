"""Which backend is chosen, by the system and what it has."""

import sys
from pathlib import Path

import pytest

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends import commands_io
from vigilnet.traffic.backends.choice_io import choose_backend
from vigilnet.traffic.device.backend import Capture


@pytest.mark.skipif(sys.platform != "linux", reason="chooses among those of Linux")
def test_linux_redirects_where_there_is_nftables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(command: list[str], text: str = "") -> str:
        if "nft" in refused:
            raise EnvironmentRefusedError("nft: not installed here")
        return ""

    refused: set[str] = set()
    monkeypatch.setattr(commands_io, "run", run)
    assert choose_backend(tmp_path, tmp_path, "x").capture is Capture.REDIRECT
    refused.add("nft")
    assert choose_backend(tmp_path, tmp_path, "x").capture is Capture.INTERFACE
    assert choose_backend(tmp_path, tmp_path, "x", Capture.REDIRECT).capture is Capture.REDIRECT


def test_a_system_without_a_backend_is_told_what_works(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "platform", "plan9")
    with pytest.raises(EnvironmentRefusedError, match="SOCKS proxy"):
        choose_backend(tmp_path, tmp_path, "x")


@pytest.mark.parametrize(("platform", "name"), [("darwin", "Mac"), ("win32", "Windows")])
def test_other_systems_have_a_backend_of_their_own_that_touches_nothing_yet(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str, name: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    backend = choose_backend(tmp_path / "run", tmp_path / "keep", "x")
    assert type(backend).__name__ == name
    assert (backend.is_up, backend.is_locked, backend.capture) == (False, False, Capture.INTERFACE)
    assert not (tmp_path / "run").exists()
