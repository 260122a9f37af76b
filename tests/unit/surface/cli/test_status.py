from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fake_node import FakeHost, FakeNode, served
from vigilnet.node.modes import Mode
from vigilnet.node.options import with_mode
from vigilnet.node.status import ClientFacts
from vigilnet.surface.cli.main import main
from vigilnet.surface.control.host import DeviceFacts

GREEN = DeviceFacts(whole_device=True, names="exit", is_held=True)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[FakeHost]:
    around = FakeHost(FakeNode(), tmp_path / "vigilnet.toml")
    with served(tmp_path, host=around):
        yield around


def test_status_for_people(host: FakeHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host.facts = GREEN
    assert main(["status", "--state-folder", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "● Protected                                                     0s",
        (
            "  Your traffic takes 3 hops. Sites see an address in Sweden. "
            "No single relay knows both who you are and where you go."
        ),
        "  Path       you > DE guard 18 ms > NL middle > SE exit",
        "  Covered    all apps, names at the exit, IPv6",
        "  Proxies    127.0.0.1:1080",
        "  Listening  127.0.0.1:4001",
        "  Traffic    0.0 Mbit/s in, 0.0 Mbit/s out; 3.0 kB since start",
        "  Peers      3 known: 1 direct, 0 relayed",
        "  Running    12s, process 4711, version 0.1.0",
    ]


@pytest.mark.parametrize(
    ("facts", "is_on", "client", "code"),
    [
        (GREEN, True, ClientFacts(3, has_path=True), 0),
        (replace(GREEN, names="local"), True, ClientFacts(3, has_path=True), 5),
        (GREEN, True, ClientFacts(1, has_path=True), 5),
        (DeviceFacts(), True, ClientFacts(3, has_path=True), 5),
        (GREEN, True, ClientFacts(3, enough_relays=True), 4),
        (GREEN, True, ClientFacts(3), 4),
        (DeviceFacts(), False, None, 3),
        (DeviceFacts(lockdown=True), False, None, 6),
    ],
)
def test_exit_code_says_the_state(
    host: FakeHost, tmp_path: Path, facts: DeviceFacts, is_on: bool, client: ClientFacts | None, code: int
) -> None:
    host.facts, host.is_on, host.node.facts = facts, is_on, client
    assert main(["status", "--state-folder", str(tmp_path)]) == code
    assert main(["status", "--json", "--state-folder", str(tmp_path)]) == code


@pytest.mark.parametrize(
    ("facts", "is_on", "client", "line"),
    [
        (DeviceFacts(), True, ClientFacts(3, has_path=True), "sudo vigilnet up"),
        (DeviceFacts(lockdown=True), False, None, "vigilnet connect, or: vigilnet lockdown off"),
        (DeviceFacts(), False, None, "vigilnet connect"),
        (GREEN, True, ClientFacts(3, has_path=True), ""),
    ],
)
def test_state_that_asks_for_something_names_the_command(
    host: FakeHost, tmp_path: Path, capsys: pytest.CaptureFixture[str], facts: DeviceFacts, is_on: bool,
    client: ClientFacts | None, line: str,
) -> None:  # fmt: skip
    host.facts, host.is_on, host.node.facts = facts, is_on, client
    main(["status", "--state-folder", str(tmp_path)])
    said = [text.split(maxsplit=1)[1] for text in capsys.readouterr().out.splitlines() if "Next" in text]
    assert said == ([line] if line else [])


def test_relay_s_status(host: FakeHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host.is_on, host.node.facts = False, None
    host.options = with_mode(replace(host.options, node=replace(host.options.node, mode=Mode.RELAY)))
    assert main(["status", "--state-folder", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("● Serving others\n")


def test_busy_status_lists_its_steps(
    host: FakeHost, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host.node.facts = ClientFacts(3, relays=5, enough_relays=True, hop=2)
    main(["status", "--state-folder", str(tmp_path)])
    assert "Steps      Relays known: 5 (0 ms); Reach the entry" in capsys.readouterr().out


def test_status_says_what_the_shape_of_links_costs(
    host: FakeHost, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    guard, stranger = host.node.peers()
    shaped = replace(guard, out_octets=4000, padding_octets=1000, held_ms=350.4, shape="light")
    other = replace(guard, out_octets=8000, padding_octets=7000, held_ms=2000.0, shape="replay")
    monkeypatch.setattr(host.node, "peers", lambda: [shaped, other, stranger])
    main(["status", "--state-folder", str(tmp_path)])
    shown = (
        "Shaping    light 1.0 kB of 4.0 kB sent; 350 ms is the longest that something waited, "
        "replay 7.0 kB of 8.0 kB sent; 2000 ms is the longest that something waited"
    )
    assert shown in capsys.readouterr().out
