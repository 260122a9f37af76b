import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.needs import needs_programs
from vigilnet.surface.cli.testnet import Plan
from vigilnet.surface.control.client import ControlClient

pytestmark = pytest.mark.slow  # real sockets or processes: in all, seconds

ROOT = Path(__file__).parents[4]
PROGRAM = (
    "import sys; from vigilnet.surface.cli import processes, main;"
    "processes.DAEMON_MODULE = 'tests.support.fake_daemon'; sys.exit(main.main(sys.argv[1:]))"
)


def environment(fake: str = "") -> dict[str, str]:
    paths = [str(ROOT), str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "VIGILNET_TEST_FAKE": fake}


def run(*arguments: str, fake: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, "testnet", *arguments],
        env=environment(fake), cwd=ROOT, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "testnet", *arguments],
        env=environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as net:  # fmt: skip
        assert net.stdout is not None
        try:
            yield net, json.loads(net.stdout.readline())
        finally:
            net.kill()


def pids(facts: dict[str, Any]) -> list[int]:
    return [facts["pids"]["client"], *facts["pids"]["relays"].values()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def all_gone(processes: list[int]) -> bool:
    give_up = time.monotonic() + 60
    while any(map(is_alive, processes)) and time.monotonic() < give_up:
        time.sleep(0.02)
    return not any(map(is_alive, processes))


def plan(**changes: Any) -> Plan:  # noqa: ANN401
    values: dict[str, Any] = {
        "folder": Path("/f"), "network": "testnet-1", "relays": 3, "exits": 2, "hops": 3, "socks_port": 0,
        "http_port": 8080, "allow_private_targets": False,
    }  # fmt: skip
    return Plan(**values | changes)


def test_relays_over_htx_have_the_site_behind_them_and_no_plain_address() -> None:
    made = plan(transport="htx", site=(8443, Path("/f/site/root.pem")))
    relay, client = (tomllib.loads(made.config_of(name)) for name in ("relay1", "client"))
    assert relay["relay"] == {"enabled": True, "listen": [], "listen_htx": ["127.0.0.1:0"]}
    assert relay["htx"]["origin"] == "127.0.0.1:8443"
    assert relay["htx"] == client["htx"]


def test_relays_say_in_turn_where_they_stand() -> None:
    made = plan(countries=("DE", "SE"))
    tables = [tomllib.loads(made.config_of(f"relay{number}"))["relay"] for number in (1, 2, 3)]
    assert [table["country"] for table in tables] == ["DE", "SE", "DE"]
    assert "country" not in tomllib.loads(plan().config_of("relay1"))["relay"]


def test_relays_over_shadowsocks_have_no_plain_address() -> None:
    made = plan(transport="shadowsocks")
    relay = tomllib.loads(made.config_of("relay1"))
    assert relay["relay"]["listen"] == []
    assert relay["shadowsocks"] == {"listen": ["127.0.0.1:0"]}
    assert "shadowsocks" not in tomllib.loads(made.config_of("client"))


def test_relays_over_quic_are_dialled_over_nothing_else() -> None:
    made = plan(transport="quic")
    relay, client = (tomllib.loads(made.config_of(name)) for name in ("relay1", "client"))
    assert relay["quic"] == {"listen": ["127.0.0.1:0"]}
    assert relay["relay"]["listen"] == []
    assert client["link"]["transports"] == ["quic"]


def test_relays_over_obfs4_have_no_plain_address_and_clients_dial_it() -> None:
    made = plan(transport="obfs4")
    relay, client = (tomllib.loads(made.config_of(name)) for name in ("relay1", "client"))
    assert relay["relay"]["listen"] == []
    assert relay["pluggable"]["listen"] == ["obfs4 = 127.0.0.1:0"]
    assert client["pluggable"] == {"client": ["obfs4 = obfs4proxy"]}


def test_exits_are_the_last_relays() -> None:
    ours = plan(relays=4, exits=2)
    assert [ours.is_exit(name) for name in ours.relay_names()] == [False, False, True, True]


def test_settings_of_each_role() -> None:
    client = tomllib.loads(plan().config_of("client"))
    assert client["node"]["network"] == "testnet-1"
    assert client["node"]["work_bits"] == 0
    assert client["circuits"]["hops"] == 3
    assert client["ingress"] == {"socks_port": 0, "http_port": 8080}
    assert "relay" not in client
    middle = tomllib.loads(plan().config_of("relay1"))
    assert middle["relay"]["enabled"] is True
    assert "exit" not in middle
    exit_relay = tomllib.loads(plan(allow_private_targets=True).config_of("relay3"))
    assert exit_relay["exit"]["allow_private_targets"] is True
    assert exit_relay["link"]["allow_private_addresses"] is True


@pytest.mark.slow
def test_one_object_is_printed_and_written_and_everything_ends(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    with running("--ready-file", str(ready), "--dir", str(tmp_path / "net"), "--json") as (net, facts):
        assert json.loads(ready.read_text()) == facts
        assert set(facts) == {"socks", "http_proxy", "dir", "pids", "first_circuit_ms"}
        assert facts["socks"] == "127.0.0.1:2"
        assert facts["http_proxy"] == "127.0.0.1:3"
        assert facts["first_circuit_ms"] == 12.5
        assert facts["dir"] == str(tmp_path / "net")
        assert set(facts["pids"]["relays"]) == {"relay1", "relay2", "relay3"}
        assert all(map(is_alive, pids(facts)))
        net.send_signal(signal.SIGINT)
        assert net.wait(60) == 0
        assert not any(map(is_alive, pids(facts)))
        assert net.stderr is not None
        assert net.stderr.read() == ""


@pytest.mark.slow
def test_more_relays_are_started_where_hops_needs_them() -> None:
    with running("--relays", "1", "--hops", "4", "--exits", "1") as (net, facts):
        assert len(facts["pids"]["relays"]) == 4
        net.send_signal(signal.SIGTERM)
        assert net.wait(60) == 0
        assert all_gone(pids(facts))


@pytest.mark.slow
def test_killed_testnet_leaves_no_process_behind() -> None:
    with running("--relays", "2", "--hops", "1") as (net, facts):
        net.kill()
        net.wait(60)
        assert all_gone(pids(facts))
        assert Path(facts["dir"]).exists()  # nobody was left to remove it
    assert run("--relays", "1", "--hops", "1", "--exits", "1", "--duration", "0.01").returncode == 0
    assert not Path(facts["dir"]).exists()  # so the next one does


@pytest.mark.slow
def test_duration_ends_it_and_the_passing_folder_is_removed() -> None:
    done = run("--relays", "1", "--hops", "1", "--exits", "1", "--duration", "0.2")
    assert done.returncode == 0
    facts = json.loads(done.stdout)
    assert not Path(facts["dir"]).exists()
    assert all_gone(pids(facts))
    assert "starting 1 relays" in done.stderr  # progress, for people


@pytest.mark.slow
def test_process_that_fails_at_the_start_ends_all_with_its_reason(tmp_path: Path) -> None:
    done = run("--relays", "2", "--hops", "1", "--json", "--dir", str(tmp_path / "net"), fake="relay2:fail")
    assert done.returncode == 1
    reason = "testnet: relay2 ended: vigilnetd: port 4001 is in use, choose another"
    assert json.loads(done.stdout)["error"]["message"] == reason
    assert done.stderr == ""


@pytest.mark.slow
def test_relay_that_dies_is_reported_and_a_client_that_dies_ends_all() -> None:
    with running("--relays", "2", "--hops", "1", "--json") as (net, facts):
        assert net.stderr is not None
        os.kill(facts["pids"]["relays"]["relay1"], signal.SIGKILL)
        assert net.stderr.readline().startswith("vigilnet: testnet: relay1 ended")
        assert net.poll() is None
        os.kill(facts["pids"]["client"], signal.SIGKILL)
        assert net.wait(60) == 1
        assert all_gone(pids(facts))


@pytest.mark.slow
def test_told_to_end_while_it_starts(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "testnet", "--hops", "1", "--dir", str(tmp_path / "net")],
        env=environment("relay1:mute"), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as net:  # fmt: skip
        assert net.stderr is not None
        net.stderr.readline()
        net.send_signal(signal.SIGTERM)
        assert net.wait(60) == 0
        assert net.stdout is not None
        assert net.stdout.read() == ""


@pytest.mark.slow
def test_named_folder_is_used_again_but_never_another_ones(tmp_path: Path) -> None:
    arguments = ("--relays", "1", "--hops", "1", "--exits", "1", "--duration", "0.1", "--dir")
    for _ in range(2):
        assert run(*arguments, str(tmp_path / "net")).returncode == 0
        assert (tmp_path / "net" / "client.log").exists()
    home = tmp_path / "home"
    home.mkdir()
    (home / "diary.txt").write_text("dear diary")
    done = run(*arguments, str(home))
    assert done.returncode == 2
    assert "holds other files" in done.stderr
    assert (home / "diary.txt").read_text() == "dear diary"


@pytest.mark.parametrize(
    "arguments",
    [("--relays", "0"), ("--hops", "0"), ("--hops", "11"), ("--transport", "pigeon"),
     ("--socks-port", "65536"), ("--duration", "0"), ("--duration", "nan"), ("--relays", "201")],
)  # fmt: skip
def test_arguments_out_of_range_are_usage_errors(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("--dir", str(tmp_path / "file" / "net"))
    assert done.returncode == 1
    assert f"{tmp_path}/file/net" in done.stderr
    done = run(
        "--relays",
        "1",
        "--hops",
        "1",
        "--exits",
        "1",
        "--json",
        "--ready-file",
        str(tmp_path / "no" / "file"),
    )
    assert done.returncode == 1
    assert "cannot be written" in done.stdout


@contextmanager
def real(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    with subprocess.Popen(
        [sys.executable, "-m", "vigilnet.surface.cli.main", "testnet", "--json", *arguments],
        env=environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as net:  # fmt: skip
        assert net.stdout is not None
        assert net.stderr is not None
        try:
            line = net.stdout.readline()
            assert line, net.stderr.read()
            yield net, json.loads(line)
        finally:
            net.kill()


@contextmanager
def site(page: bytes) -> Iterator[str]:
    """A small web site on this machine; gives its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def fetch(proxy: str, url: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": f"http://{proxy}"}))
    with opener.open(url, timeout=60) as response:
        octets: bytes = response.read()
    return octets


@pytest.mark.slow
def test_real_network_carries_a_page_over_its_hops_and_dies_with_its_parent(tmp_path: Path) -> None:
    page = os.urandom(300_000)
    with site(page) as url, real("--dir", str(tmp_path / "net"), "--allow-private-targets") as (net, facts):
        assert fetch(facts["http_proxy"], url) == page
        relays = set()
        for name in facts["pids"]["relays"]:
            with ControlClient(tmp_path / "net" / name) as control:
                status = control.status()
            relays.add(status.peer_id)
            assert status.pid == facts["pids"]["relays"][name]
            assert ("exit" in status.roles) == (name != "relay1")
        with ControlClient(tmp_path / "net" / "client") as control:
            used = [circuit for circuit in control.circuits() if circuit.state == "open"]
            assert control.new_identity().retired >= 1
        assert used
        for circuit in used:
            path = [hop.peer_id for hop in circuit.hops]
            assert len(set(path)) == 3
            assert set(path) <= relays
        second = run("--dir", str(tmp_path / "net"))
        assert second.returncode == 1
        assert "another testnet is running" in second.stderr
        assert fetch(facts["http_proxy"], url) == page  # nothing lost
        net.kill()
        assert all_gone(pids(facts))


@pytest.mark.slow
@needs_programs("nginx")
def test_real_network_over_htx_carries_a_page_and_dies_with_its_parent(tmp_path: Path) -> None:
    page = os.urandom(300_000)
    arguments = ("--dir", str(tmp_path / "net"), "--allow-private-targets", "--transport", "htx")
    with site(page) as url, real(*arguments) as (net, facts):
        assert fetch(facts["http_proxy"], url) == page
        nginx = int((tmp_path / "net" / "site" / "nginx.pid").read_text())
        assert is_alive(nginx)
        net.kill()
        assert all_gone([*pids(facts), nginx])


@pytest.mark.slow
@pytest.mark.parametrize(
    "transport", ["shadowsocks", "quic", pytest.param("obfs4", marks=needs_programs("obfs4proxy"))]
)
def test_real_network_over_other_transports_carries_a_page(transport: str, tmp_path: Path) -> None:
    page = os.urandom(300_000)
    arguments = ("--dir", str(tmp_path / "net"), "--allow-private-targets", "--transport", transport)
    with site(page) as url, real(*arguments) as (_, facts):
        assert fetch(facts["http_proxy"], url) == page


@pytest.mark.slow
def test_real_exits_refuse_this_machine_unless_told_otherwise() -> None:
    with site(b"private") as url, real("--hops", "1", "--relays", "1", "--exits", "1") as (net, facts):
        with pytest.raises(urllib.error.HTTPError) as caught:
            fetch(facts["http_proxy"], url)
        caught.value.close()
        assert caught.value.code == 403
        net.send_signal(signal.SIGTERM)
        assert net.wait(60) == 0
        assert all_gone(pids(facts))
