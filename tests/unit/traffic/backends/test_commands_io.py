"""Programs of the system: missing ones, refusals, and lines by family."""

import pytest

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends import commands_io


def test_a_missing_program_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands_io, "PROGRAM_FOLDERS", "/nonexistent")
    with pytest.raises(EnvironmentRefusedError, match="install nftables"):
        commands_io.run(["nft", "-v"])
    with pytest.raises(EnvironmentRefusedError, match="install iproute2"):
        commands_io.run(["ip", "-V"])


def test_a_refusal_of_a_program_is_repeated_in_its_words() -> None:
    with pytest.raises(EnvironmentRefusedError, match="false: refused: no reason given"):
        commands_io.run(["false"])
    assert commands_io.run(["echo", "said"]) == "said\n"


def test_lines_are_run_by_family(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        commands_io, "run", lambda command, text: said.append(f"{' '.join(command)} < {text}")
    )
    commands_io.ip_batch(["link set x up", "-4 rule add a", "-6 rule add b"])
    assert said == [
        "ip -batch - < link set x up\n", "ip -4 -batch - < rule add a\n", "ip -6 -batch - < rule add b\n",
    ]  # fmt: skip
