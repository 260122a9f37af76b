"""vigilnetd as a real process: what it says about bad input, and how it ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from vigilnet.node.modes import Mode
from vigilnet.node.options import load_options
from vigilnet.surface import keys, wipe
from vigilnet.surface.control.client import ControlClient, NotRunningError
from vigilnet.surface.daemon import _assignments, new_parser

pytestmark = pytest.mark.slow  # each starts a process or two

ROOT = Path(__file__).parents[3]
RELAY = "[node]\nnetwork = 'lab'\nwork_bits = 0\n"
RELAY += "state_folder = '{folder}/state'\npeers_folder = '{folder}/records'\n"
RELAY += "[relay]\nenabled = true\nlisten = ['127.0.0.1:{port}']\n"
RELAY += "[ingress]\nsocks_enabled = false\nhttp_enabled = false\n[status]\nport = 0\n"


def environment() -> dict[str, str]:
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("VIGILNET_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}


def daemon(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vigilnet.surface.daemon", *arguments],
        env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def refused(*arguments: str) -> tuple[int, str]:
    """Start a daemon that must not come up; give its exit code and the one line it said."""
    with daemon(*arguments) as process:
        _, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    assert err.count("\n") == 1, err
    return process.returncode, err


def config_of(folder: Path, port: int = 0) -> Path:
    config = folder / "vigilnet.toml"
    config.write_text(RELAY.format(folder=folder, port=port))
    return config


@contextmanager
def running(folder: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    with daemon("--config", str(config_of(folder)), *more) as process:
        try:
            give_up = time.monotonic() + 60
            while time.monotonic() < give_up:
                with suppress(NotRunningError), ControlClient(folder / "state") as control:
                    assert control.status().pid == process.pid
                    break
                assert process.poll() is None, process.stderr
                time.sleep(0.02)
            yield process
        finally:
            process.kill()


def test_relay_comes_up_and_ends_by_sigterm(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        with ControlClient(tmp_path / "state") as control:
            status = control.status()
        assert status.roles == ("relay",)
        assert status.state == "serving"
        assert status.peer_id.startswith("12D3KooW")
        assert status.listen[0].startswith("127.0.0.1:")
        assert (
            "Max core file size        0                    0"
            in Path(f"/proc/{process.pid}/limits").read_text()
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not (tmp_path / "state" / "control.sock").exists()


def test_control_socket_ends_it(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        with ControlClient(tmp_path / "state") as control:
            control.stop()
        assert process.wait(60) == 0


def test_guarded_daemon_ends_when_its_pipe_closes(tmp_path: Path) -> None:
    with running(tmp_path, "--guarded") as process:
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0


def test_second_instance_is_told_so_and_the_first_loses_nothing(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        code, line = refused("--config", str(config_of(tmp_path)))
        assert code == 1
        assert f"in use by process {process.pid}" in line
        with ControlClient(tmp_path / "state") as control:
            assert control.status().pid == process.pid


def test_identity_survives_a_restart(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        with running(tmp_path) as process:
            with ControlClient(tmp_path / "state") as control:
                seen.append(control.status().peer_id)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
    assert seen[0] == seen[1]


def test_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, line = refused("--config", str(config_of(tmp_path, port)))
    assert code == 1
    assert f"127.0.0.1:{port}" in line


@pytest.mark.parametrize(
    ("content", "names"),
    [(b"[node\n", "line 1"), (b"[log]\nlevel = 'loud'\n", "log.level"),
     (b"[relay]\nenabled = 'maybe'\n", "relay.enabled"),
     (b"\xff\xfe", "not UTF-8"), (b"[relay]\nenabled = true\nlisten = ['nowhere']\n", "relay.listen")],
)  # fmt: skip
def test_malformed_settings_are_named(tmp_path: Path, content: bytes, names: str) -> None:
    config = tmp_path / "vigilnet.toml"
    config.write_bytes(content)
    code, line = refused("--config", str(config), "--state-folder", str(tmp_path / "state"))
    assert code == 2
    assert names in line


def test_missing_settings_file_is_named(tmp_path: Path) -> None:
    code, line = refused("--config", str(tmp_path / "none.toml"))
    assert code == 2
    assert "none.toml: no such file" in line


@pytest.mark.parametrize("arguments", [("--set", "log.level"), ("--odd",), ("--set", "log.loudness=1")])
def test_wrong_arguments_are_one_line(arguments: tuple[str, ...]) -> None:
    assert refused(*arguments)[0] == 2


def test_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, line = refused("--set", "relay.enabled=true", "--state-folder", str(tmp_path / "file" / "state"))
    assert code == 1
    assert f"{tmp_path}/file/state" in line


def test_folder_with_other_things_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("dear diary")
    code, line = refused("--state-folder", str(tmp_path))
    assert code == 1
    assert "holds other files" in line
    assert [path.name for path in tmp_path.iterdir()] == ["diary.txt"]


def test_log_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    code, line = refused("--set", f"log.file={tmp_path}/none/log", "--state-folder", str(tmp_path / "state"))
    assert code == 1
    assert f"log.file {tmp_path}/none/log" in line


def test_damaged_key_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    file = tmp_path / "state" / "keys"
    file.write_bytes(file.read_bytes()[:-1])
    before = file.read_bytes()
    code, line = refused("--config", str(config_of(tmp_path)))
    assert code == 2
    assert "state file keys: damaged" in line
    assert file.read_bytes() == before


def test_unknown_key_in_the_file_is_a_warning_and_settings_go_to_the_log_file(tmp_path: Path) -> None:
    config_of(tmp_path)
    config = tmp_path / "more.toml"
    config.write_text(
        (tmp_path / "vigilnet.toml").read_text() + f"[log]\nfile = '{tmp_path}/log'\nlouder = 1\n"
    )
    with daemon("--config", str(config), "--guarded") as process:
        give_up = time.monotonic() + 60
        log = tmp_path / "log"
        while not (log.exists() and "node is up" in log.read_text()) and time.monotonic() < give_up:
            time.sleep(0.02)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert "warning" in (said := process.stderr.read())
        assert "louder" in said
    assert oct(log.stat().st_mode & 0o777) == "0o600"
    assert json.dumps(str(tmp_path)) not in log.read_text()


def test_wipe_stops_the_node_and_destroys_its_state(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        assert wipe.main(["--state-folder", str(tmp_path / "state"), "--yes"]) == 0
        assert process.wait(60) == 0
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["vigilnet.lock"]


def test_sealed_state_needs_its_passphrase_and_keeps_the_identity(tmp_path: Path) -> None:
    file, wrong = tmp_path / "passphrase", tmp_path / "wrong"
    file.write_text("correct horse\n")
    wrong.write_text("battery staple\n")
    folder = ["--state-folder", str(tmp_path / "state")]
    assert keys.main(["generate", *folder]) == 0
    assert keys.main(["protect", *folder, "--new-passphrase-file", str(file)]) == 0
    config = str(config_of(tmp_path))
    assert refused("--config", config) == (
        2, f"vigilnetd: state folder {tmp_path}/state: is sealed, a passphrase is needed\n"
    )  # fmt: skip
    assert "wrong passphrase" in refused("--config", config, "--passphrase-file", str(wrong))[1]
    with running(tmp_path, "--passphrase-file", str(file)), ControlClient(tmp_path / "state") as control:
        assert control.status().roles == ("relay",)


def client_config(folder: Path) -> Path:
    folder.mkdir()
    config = folder / "client.toml"
    config.write_text(
        f"[node]\nnetwork = 'lab'\nwork_bits = 0\nstate_folder = '{folder}/state'\n"
        "[link]\nallow_private_addresses = true\n[circuits]\nhops = 1\n"
        "[ingress]\nsocks_port = 0\nhttp_port = 0\n[status]\nport = 0\n"
    )
    return config


def first_circuit_of(process: subprocess.Popen[str], folder: Path) -> float:
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        with suppress(NotRunningError), ControlClient(folder / "state") as control:
            first = control.status().first_circuit_ms
            if first is not None:
                return first
        assert process.poll() is None, process.stderr
        time.sleep(0.02)
    raise TimeoutError("no circuit")


def test_a_client_gets_in_by_an_invite_alone_and_again_from_its_cache(tmp_path: Path) -> None:
    with config_of(tmp_path).open("a") as config:
        config.write("[exit]\nenabled = true\naccept_notice = true\nabuse_contact = 'a@lab'\n")
    relay = daemon("--config", str(tmp_path / "vigilnet.toml"))
    with relay:
        try:
            invite = ""
            give_up = time.monotonic() + 60
            while not invite and time.monotonic() < give_up:
                with suppress(NotRunningError), ControlClient(tmp_path / "state") as control:
                    invite = control.invite().uri
                time.sleep(0.02)
            client = client_config(tmp_path / "client")
            for arguments in (["--invite", invite], []):
                with daemon("--config", str(client), *arguments) as process:
                    try:
                        assert first_circuit_of(process, client.parent) < 5000
                        with ControlClient(client.parent / "state") as control:
                            assert control.invite(control.circuits()[0].hops[0].peer_id).uri == invite
                            control.stop()
                        assert process.wait(60) == 0
                    finally:
                        process.kill()
        finally:
            relay.kill()


COMMAND_LINES = [
    ([], {}),
    (["--helper-mode", "relay"], {"node.mode": "relay"}),
    (["--helper-mode=super"], {"node.mode": "super"}),
    (["--helper-mode=Exit-Node"], {"node.mode": "exit"}),
    (["--relay-only"], {"node.mode": "relay"}),
    (["--exit-node"], {"node.mode": "exit"}),
    (["--relay-only", "--helper-mode", "client"], {"node.mode": "client"}),
    (["--bootstrap", "--mode", "direct"], {}),
    (["--no-mesh"], {"discovery.without": "gossip,mdns,beacon"}),
    (["--dir", "/d"], {"node.state_folder": "/d"}),
    (["--state-folder=/d"], {"node.state_folder": "/d"}),
    (["--socks-port", "9", "--status-port=10"], {"ingress.socks_port": "9", "status.port": "10"}),
    (["--operators", "http://a,http://b"], {"operators.urls": "http://a,http://b"}),
    (["--compat", "--accept-exit-notice"], {"node.compat": "true", "exit.accept_notice": "true"}),
    (["--set", "log.level=debug", "--log-level", "error"], {"log.level": "error"}),
]


@pytest.mark.parametrize(("line", "expected"), COMMAND_LINES)
def test_command_line_becomes_settings(line: list[str], expected: dict[str, str]) -> None:
    assert dict(_assignments(new_parser().parse_args(line))) == expected


WAYS = [  # the file's node.mode, QNET_MODE, STEALTH_MODE, VIGILNET_NODE_MODE, command line; what comes of it
    ("", "", "", "", "", "client"),
    ("relay", "", "", "", "", "relay"),
    ("", "bootstrap", "", "", "", "bootstrap"),
    ("", "", "exit", "", "", "exit"),
    ("", "", "", "super", "", "super"),
    ("", "", "", "", "--helper-mode relay", "relay"),
    ("", "", "", "", "--helper-mode=bootstrap", "bootstrap"),
    ("", "", "", "", "--helper-mode EXIT", "exit"),
    ("", "", "", "", "--helper-mode=relay-only", "relay"),
    ("", "", "", "", "--helper-mode exit-node", "exit"),
    ("", "", "", "", "--relay-only", "relay"),
    ("", "", "", "", "--exit-node", "exit"),
    ("", "", "relay-only", "", "", "relay"),
    ("", "", "Exit-Node", "", "", "exit"),
    ("relay", "super", "", "", "", "super"),
    ("relay", "super", "exit", "", "", "exit"),
    ("relay", "", "exit", "bootstrap", "", "bootstrap"),
    ("", "", "super", "", "--helper-mode client", "client"),
    ("relay", "exit", "super", "bootstrap", "--helper-mode=client", "client"),
    ("", "", "exit", "", "--relay-only", "relay"),
    ("", "", "", "", "--exit-node --helper-mode relay", "relay"),
    ("", "", "masked", "", "", "client"),
    ("super", "", "masked", "", "", "super"),
]


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
def test_every_way_to_name_a_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: tuple[str, ...]
) -> None:
    file, *variables, line, mode = way
    config = tmp_path / "vigilnet.toml"
    config.write_text(f"[node]\nmode = '{file}'\n")
    for name, value in zip(("QNET_MODE", "STEALTH_MODE", "VIGILNET_NODE_MODE"), variables, strict=True):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    loaded = load_options(config, assignments=_assignments(new_parser().parse_args(line.split())))
    assert loaded.options.node.mode is Mode(mode)
    assert any("QNET_MODE: old name" in text for text in loaded.warnings) == bool(variables[0])


def test_mode_that_never_was_one_ends_with_the_old_words_and_code(tmp_path: Path) -> None:
    for arguments in (["--helper-mode", "boss"], ["--set", "node.state_folder=x", "--helper-mode=boss"]):
        code, said = refused("--dir", str(tmp_path), *arguments)
        assert (code, said) == (
            1, "vigilnetd: Invalid helper mode: 'boss'. Valid modes: client, relay, bootstrap, exit, super\n",
        )  # fmt: skip


def test_status_port_that_is_taken_ends_the_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        settings = ("--socks-port", "0", "--set", "ingress.http_port=0", "--set", "discovery.profile=quiet")
        with daemon("--dir", str(tmp_path / "state"), "--status-port", port, *settings) as process:
            _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"status.port {port}: cannot listen" in said


def test_old_name_makes_a_key_file(tmp_path: Path) -> None:
    with daemon("--generate-keypair", str(tmp_path / "key"), "--json") as process:
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert (tmp_path / "key").stat().st_size == 68
