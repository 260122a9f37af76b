import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_node import FakeNode, served
from vigilnet.surface.cli.main import main


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[str]:
    with served(tmp_path):
        yield str(tmp_path)


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:  # noqa: ANN401 JSON
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_status_for_people(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--state-folder", folder]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "state          connected",
        "running        12s, process 4711, version 0.1.0",
        "roles          client",
        "network        lab",
        "SOCKS5 proxy   127.0.0.1:1080",
        "listening      127.0.0.1:4001",
        "peers known    3",
        "links          1",
        "circuits       2",
        "streams        1",
        "first circuit  after 18 ms",
    ]


def test_status_for_programs(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = as_json(capsys, "status", "--state-folder", folder)
    assert status["state"] == "connected"
    assert status["first_circuit_ms"] == 18.5
    assert status["listen"] == ["127.0.0.1:4001"]


def test_circuits(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = as_json(capsys, "circuits", "--state-folder", folder)
    assert [hop["peer_id"] for hop in first["hops"]] == ["12D3KooWguard", "12D3KooWmiddle", "12D3KooWexit"]
    assert second["state"] == "building"
    main(["circuits", "--state-folder", folder])
    assert capsys.readouterr().out.splitlines() == [
        "ID  STATE     AGE  STREAMS  PATH",
        "1   open      3s   1        guard > middle > exit",
        "2   building  0s   0        -",
    ]


def test_streams(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, "streams", "--state-folder", folder)[0]["target"] == "example.org:443"
    main(["streams", "--state-folder", folder])
    assert "5   1        open   2s   100 B  20.0 kB   example.org:443" in capsys.readouterr().out


def test_nothing_to_show_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Idle(FakeNode):
        def circuits(self) -> tuple[()]:
            return ()

        def streams(self) -> list[Any]:
            return []

    with served(tmp_path, Idle()):
        main(["circuits", "--state-folder", str(tmp_path)])
        main(["streams", "--state-folder", str(tmp_path)])
    assert capsys.readouterr().out == "no circuits\nno streams\n"


def test_new_identity(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, "new-identity", "--state-folder", folder) == {"retired": 2}
    main(["new-identity", "--state-folder", folder])
    assert capsys.readouterr().out == "new streams take new circuits; 2 retired\n"


@pytest.mark.parametrize(("more", "text"), [([], "stopping\n"), (["--json"], '{"stopping":true}\n')])
def test_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], text: str) -> None:
    with served(tmp_path) as stopped:
        assert main(["stop", "--state-folder", str(tmp_path), *more]) == 0
        assert stopped.wait(10)
    assert capsys.readouterr().out == text


def test_state_folder_is_read_from_the_settings_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "vigilnet.toml"
    (tmp_path / "state").mkdir()
    config.write_text(f'[node]\nstate_folder = "{tmp_path}/state"\n')
    with served(tmp_path / "state"):
        assert as_json(capsys, "status", "--config", str(config))["pid"] == 4711


@pytest.mark.parametrize("command", ["status", "circuits", "streams", "new-identity", "stop"])
def test_no_node_is_one_line_and_exit_code_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert main([command, "--state-folder", str(tmp_path)]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"vigilnet: no node runs with state folder {tmp_path}; start one: vigilnet run\n"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(as_json(capsys, "version")) == {"version", "python", "system"}
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("vigilnet ")


def test_peers_for_people_say_which_source_found_them(
    folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["peers", "--state-folder", folder]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "PEER      ROLES         FOUND BY         DIALLED  GOOD UNTIL",
        "guardian  relay, guard  invites, gossip  linked   2026-09-21 14:13 UTC",
        "stranger  relay, exit   mdns             -        2026-09-21 14:13 UTC",
    ]


def test_peers_for_programs(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = as_json(capsys, "peers", "--state-folder", folder)
    assert (first["found_by"], first["is_linked"]) == (["invites", "gossip"], True)
    assert (second["roles"], second["is_reached"]) == (["relay", "exit"], False)


def test_one_relay_is_looked_for(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["peers", "--state-folder", folder, "--find", "12D3KooWstranger"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("stranger  relay, exit  mdns ")
    assert main(["peers", "--state-folder", folder, "--find", "12D3KooWnobody"]) == 0
    assert capsys.readouterr().out == "not found\n"
