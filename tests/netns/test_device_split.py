"""What goes around the tunnel, or alone through it: by program, user, network and name; the local network.

    client ─┬─ switch ─┬─ relay1, relay2, exit
   (sniffer)┘          └─ target: web, DNS, octets

What was excluded is seen by the sniffer at the target, and nothing else is.
"""

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.device import ProtectedDevice, Sniffer, name_server_of_its_own, start_device
from tests.support.needs import needs_programs
from tests.support.netns import Lab, Namespace, wait_for_port
from tests.support.nodes import OCTETS_PORT
from tests.support.waiting import pause, wait_until

pytestmark = [pytest.mark.netns, pytest.mark.slow, needs_programs("nft", "curl", "dig")]

NOBODY = 65_534


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProtectedDevice]:
    with Lab() as lab, contextlib.ExitStack() as ends:
        made = start_device(
            lab,
            tmp_path_factory.mktemp("device"),
            exits=2,
            before_nodes=name_server_of_its_own(ends),
            tables={"exit": {"relay": {"country": "SE"}}, "exit2": {"relay": {"country": "DE"}}},
        )
        made.start_helper()
        yield made


@pytest.fixture
def up(device: ProtectedDevice) -> Iterator[ProtectedDevice]:
    device.ask("up")
    yield device
    fields: dict[str, list[str]] = {
        "outside_networks": [],
        "outside_domains": [],
        "outside_users": [],
        "inside_networks": [],
    }
    device.ask("change", fields={**fields, "inside_users": [], "scope": "all", "allow_lan": False})
    device.ask("change", fields={"dns": "local"})
    device.ask("down")


def url_of(device: ProtectedDevice, family: str = "v4") -> str:
    target = device.network.target
    return f"http://{target.v4 if family == 'v4' else f'[{target.v6}]'}/page.txt"


def went_directly(sniffer: Sniffer, port: int = 80) -> bool:
    """Whether packets to this port of the target were seen, and no others that are not ours."""
    assert all(leak.endswith(f":{port}") for leak in sniffer.leaks), sniffer.leaks
    return bool(sniffer.leaks)


def vigilnet_exec(device: ProtectedDevice, where: str, *words: object) -> list[object]:
    return [
        sys.executable, "-m", "vigilnet.surface.cli.main", "exec", f"--{where}",
        "--state-folder", device.network.user.state, "--", *words,
    ]  # fmt: skip


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_an_excluded_program_and_its_children_go_around(up: ProtectedDevice, family: str) -> None:
    url = url_of(up, family)
    with up.sniff() as sniffer:
        words = vigilnet_exec(up, "outside", "sh", "-c", f"true; sh -c 'curl -sS -m 10 {url}'; true")
        assert up.host.run(*words).stdout == "found\n"
    assert went_directly(sniffer)
    with up.sniff() as sniffer:
        assert up.network.curl(url) == "found\n"
    assert not sniffer.leaks


def test_an_excluded_program_keeps_the_systems_name_servers(up: ProtectedDevice) -> None:
    up.ask("change", fields={"dns": "overlay"})
    with up.sniff() as sniffer:
        words = vigilnet_exec(up, "outside", "dig", "+short", f"@{up.network.target.v4}", "site.test")
        assert up.host.run(*words).stdout.strip() == up.network.target.v4
    assert went_directly(sniffer, 53)


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_an_excluded_network_is_reached_directly(up: ProtectedDevice, family: str) -> None:
    address = up.network.target.v4 if family == "v4" else up.network.target.v6
    up.ask("change", fields={"outside_networks": [address]})
    with up.sniff() as sniffer:
        assert up.network.curl(url_of(up, family)) == "found\n"
    assert went_directly(sniffer)
    with up.sniff() as sniffer:
        assert up.network.curl(url_of(up, "v6" if family == "v4" else "v4")) == "found\n"
    assert not sniffer.leaks


def test_an_excluded_user_goes_around_and_others_do_not(up: ProtectedDevice) -> None:
    up.ask("change", fields={"outside_users": [NOBODY]})
    with up.sniff() as sniffer:
        as_nobody = ("setpriv", f"--reuid={NOBODY}", "--clear-groups", "curl", "-sS", "-m", "10", url_of(up))
        assert up.host.run(*as_nobody).stdout == "found\n"
    assert went_directly(sniffer)
    with up.sniff() as sniffer:
        assert up.network.curl(url_of(up)) == "found\n"
    assert not sniffer.leaks


@pytest.mark.parametrize("mode", ["overlay", "custom"])
def test_an_excluded_name_is_reached_directly_once_it_was_resolved(up: ProtectedDevice, mode: str) -> None:
    up.ask(
        "change",
        fields={"dns": mode, "dns_server": up.network.target.v4, "outside_domains": ["site.test"]}
        if mode == "custom"
        else {"dns": mode, "outside_domains": ["site.test"]},
    )
    with up.sniff() as sniffer:
        assert up.network.curl(url_of(up)) == "found\n"
    assert not sniffer.leaks
    with up.sniff() as sniffer:  # no exit says where it is
        tcp = ("+tcp",) if mode == "custom" else ()
        said = up.host.run("dig", "+short", *tcp, "@192.0.2.53", "site.test", check=False).stdout
        assert said.strip() == up.network.target.v4
    assert went_directly(sniffer, 53)
    with up.sniff() as sniffer:
        said = up.host.run("dig", "+short", *tcp, "@192.0.2.53", "who.test", "TXT", check=False).stdout
        assert said.strip()
    assert not sniffer.leaks
    with up.sniff() as sniffer:
        assert up.network.curl(url_of(up)) == "found\n"
    assert went_directly(sniffer)


def test_with_inclusion_only_what_was_included_goes_through(up: ProtectedDevice) -> None:
    up.ask("change", fields={"scope": "included"})
    with up.sniff() as sniffer:
        assert up.network.curl(url_of(up)) == "found\n"
        pause(0.3)  # for the last packets of that connection
    assert went_directly(sniffer)
    for family in ("v4", "v6"):
        with up.sniff() as sniffer:
            words = vigilnet_exec(up, "inside", "curl", "-sS", "-m", "10", url_of(up, family))
            assert up.host.run(*words).stdout == "found\n"
        assert not sniffer.leaks


@pytest.mark.parametrize("kind", ["network", "user"])
def test_inclusion_by_network_and_by_user(up: ProtectedDevice, kind: str) -> None:
    fields = (
        {"inside_networks": [f"{up.network.target.v4}/32"]}
        if kind == "network"
        else {"inside_users": [NOBODY]}
    )
    up.ask("change", fields={"scope": "included", **fields})
    as_user = ("setpriv", f"--reuid={NOBODY}", "--clear-groups") if kind == "user" else ()
    with up.sniff() as sniffer:
        assert up.host.run(*as_user, "curl", "-sS", "-m", "10", url_of(up)).stdout == "found\n"
    assert not sniffer.leaks


def test_the_local_network_is_reached_when_allowed(up: ProtectedDevice) -> None:
    up.ask("change", fields={"allow_lan": True})
    with up.sniff() as sniffer:
        assert up.network.curl(url_of(up)) == "found\n"
    assert went_directly(sniffer)


def test_a_connection_of_an_excluded_program_outlives_changes_of_the_tunnel(up: ProtectedDevice) -> None:
    script = (
        "import socket,sys\n"
        f"s=socket.create_connection(('{up.network.target.v4}',{OCTETS_PORT}),timeout=10)\n"
        "s.sendall(b'ECHO\\n')\n"
        "for line in sys.stdin:\n s.sendall(b'x'); assert s.recv(1)==b'x'; print('back',flush=True)\n"
    )
    words = vigilnet_exec(up, "outside", sys.executable, "-u", "-c", script)
    process = _start_talking(up, words)
    assert process.stdin is not None
    assert process.stdout is not None

    def talk() -> bool:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        return process.stdout.readline() == b"back\n"

    with contextlib.ExitStack() as ends:
        ends.callback(process.wait)
        ends.callback(process.kill)
        ends.callback(process.stdin.close)
        assert talk()
        up.ask("down")
        assert talk()
        up.ask("up")
        assert talk()
        up.ask("change", fields={"dns": "overlay"})
        assert talk()
        up.network.user.kill()
        assert talk()
        up.network.user.start()
        wait_until(lambda: up.network.user.status() is not None, "the client answers")
        up.ask("up")
        assert talk()


def _start_talking(device: ProtectedDevice, words: list[object]) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        device.host.command(*words), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    device.lab.processes.append(process)
    return process


WHO_ASKS = """
import socket, threading
def family():
    s = socket.socket(socket.AF_INET6, kind); s.setsockopt(41, 26, 0); s.bind(("::", 7100)); return s
kind = socket.SOCK_DGRAM; by_udp = family()
kind = socket.SOCK_STREAM; by_tcp = family(); by_tcp.listen()
def answer():
    while True:
        _, asker = by_udp.recvfrom(100); by_udp.sendto(asker[0].encode(), asker)
threading.Thread(target=answer, daemon=True).start()
while True:
    connection, asker = by_tcp.accept(); connection.sendall(asker[0].encode()); connection.close()
"""
ASK_BY_UDP = """
import socket, sys
for _ in range(5):
    asking = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
    asking.settimeout(3)
    asking.sendto(b"who", (sys.argv[1], 7100))
    try:
        print(asking.recv(100).decode())
        break
    except TimeoutError:
        pass
"""


@pytest.fixture(scope="module")
def who_asks(device: ProtectedDevice) -> None:
    """The target tells whoever asks from where that came."""
    target = device.network.target
    target.start(sys.executable, "-c", WHO_ASKS)
    wait_for_port(target, target.v4, 7100)


def exits_of(device: ProtectedDevice, by: str) -> dict[str, Namespace]:
    """The hosts of both exits, by what a program may be bound to."""
    nodes = device.network.nodes
    if by == "country":
        return {"SE": nodes["exit"].host, "DE": nodes["exit2"].host}
    found = {}
    for name in ("exit", "exit2"):
        status = nodes[name].status()
        assert status is not None
        found[status.peer_id] = nodes[name].host
    return found


def bound_to(device: ProtectedDevice, exit_: str, *words: object) -> str:
    """Run a program that is bound to an exit; what it says."""
    command = vigilnet_exec(device, "exit", *words)
    command[4] = f"--exit={exit_}"
    return device.host.run(*command, stdin="").stdout


def answer_to(device: ProtectedDevice, exit_: str, *words: object) -> str:
    """What a bound program is answered once its exit is reached, which may take longer than a question."""
    said: list[str] = []

    def is_answered() -> bool:
        said.append(bound_to(device, exit_, *words).strip())
        return bool(said[-1])

    wait_until(is_answered, "an answer", timeout=60)
    return said[-1]


@pytest.mark.usefixtures("who_asks")
@pytest.mark.parametrize("by", ["peer", "country"])
def test_a_program_is_bound_to_an_exit_and_others_are_not(up: ProtectedDevice, by: str) -> None:
    target = up.network.target
    asks = (
        (("curl", "-sS", "-m", "15", f"telnet://{target.v4}:7100"), "v4"),
        ((sys.executable, "-c", ASK_BY_UDP, target.v4), "v4"),
        ((sys.executable, "-c", ASK_BY_UDP, target.v6), "v6"),
        (("ping", "-c1", "-W5", target.v4), ""),
    )
    for exit_, host in exits_of(up, by).items():
        for words, family in asks * 2:
            with up.sniff() as sniffer:
                said = bound_to(up, exit_, *words)
            assert (getattr(host, family) if family else "1 received") in said
            assert not sniffer.leaks


@pytest.mark.parametrize("mode", ["local", "overlay"])
@pytest.mark.parametrize("server", ["192.0.2.53", "127.0.0.53"], ids=["afar", "stub"])
def test_names_of_a_bound_program_are_resolved_at_its_exit(
    up: ProtectedDevice, mode: str, server: str
) -> None:
    """Whatever resolves everybody's; also if the program asks a stub on loopback."""
    up.ask("change", fields={"dns": mode})
    with up.sniff() as sniffer:
        for exit_, host in exits_of(up, "country").items():
            for option in ("+notcp", "+tcp"):
                words = ("dig", "+short", "+time=8", option, f"@{server}", "who.test", "TXT")
                assert answer_to(up, exit_, *words) == f'"{host.v4}"'
    assert not sniffer.leaks


@pytest.mark.usefixtures("who_asks")
def test_a_program_bound_to_a_country_that_no_exit_is_in_reaches_nothing(up: ProtectedDevice) -> None:
    target = up.network.target
    with up.sniff() as sniffer:
        by_tcp = f"curl -sS -m 12 telnet://{target.v4}:7100 2>&1"
        by_name = "dig +short +time=9 +tries=1 @192.0.2.53 who.test TXT"
        said = bound_to(up, "FR", "sh", "-c", f"{by_tcp}; echo; {by_name}; true")
    assert not [host for host in exits_of(up, "country").values() if host.v4 in said], said
    assert not sniffer.leaks
