"""qnet's four scenarios of a local super peer, and two operators: real processes, real HTTP, on loopback.

Times of the directory are shortened by its settings; VIGILNET_TEST_TRUE_TIMES=1 leaves them as they are
(120 s to live, pruned each 60 s, a heartbeat each 30 s), and takes some minutes.
"""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.bench.bench_soak import GROWTH_BAR_MB, soak
from tests.support.figures import note
from tests.support.helper_nodes import (
    CONSENT,
    PAGE,
    HelperNode,
    exit_settings,
    failing_directory,
    web_server,
)
from tests.support.waiting import pause, wait_until
from vigilnet.base.version import program_version
from vigilnet.node.modes import EXIT_NOTICE
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.schema import ControlError

pytestmark = pytest.mark.slow  # each starts several processes

IS_TRUE_TIME = bool(os.environ.get("VIGILNET_TEST_TRUE_TIMES"))
TTL_S, HEARTBEAT_S = (120.0, 30.0) if IS_TRUE_TIME else (4.0, 0.3)
PATIENCE_S = 240.0 if IS_TRUE_TIME else 60.0
QUICK = (
    {}
    if IS_TRUE_TIME
    else {"operators.ttl_s": "4", "operators.prune_s": "0.2", "operators.heartbeat_s": "0.3"}
)
NOTICE = ("--accept-exit-notice",)


def _super(
    folder: Path, *ports: int, arguments: tuple[str, ...] = (), settings: Mapping[str, str] | None = None
) -> HelperNode:
    given = exit_settings(*ports) | dict(settings or {})
    return HelperNode(folder, "super", (*NOTICE, *arguments), given, CONSENT)


def _old_relay(**changes: object) -> dict[str, object]:
    """What an old client sends, with a time of 130 s ago."""
    then = int(time.time()) - 130
    return {
        "peer_id": "12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5",
        "addrs": ["/ip4/1.2.3.4/tcp/4001"],
        "country": "US",
        "capabilities": ["relay"],
        "last_seen": then,
        "first_seen": then,
        **changes,
    }


def test_scenario_1_a_super_peer_alone(tmp_path: Path) -> None:
    with (
        web_server() as plain,
        web_server() as other,
        web_server() as blocked,
        _super(tmp_path / "super", plain, other, arguments=("--compat",)) as node,
    ):
        assert node.ready["mode"] == "super"
        told = "relays for others, exit to the Internet, directory, registers with operators, asks operators"
        assert f"node is up version={program_version()} mode=super does='{told}'" in node.log
        assert f"warning vigilnet.node.relay_side: {EXIT_NOTICE}" in node.log
        assert node.ready["peer_id"].startswith("12D3KooW")
        assert node.ask("/api/relays/by-country") == (200, {})
        assert node.ask("/api/relay/register", _old_relay()) == (
            200,
            {"registered": True, "is_new": True},
        )
        assert node.ask("/api/relay/register", _old_relay()) == (
            200,
            {"registered": True, "is_new": False},
        )
        [relay] = node.ask("/api/relays/by-country?country=US&ts=1")[1]["US"]
        assert relay["peer_id"] == _old_relay()["peer_id"]
        assert abs(relay["last_seen"] - time.time()) < 60  # its own clock counts
        assert node.ask("/api/relays/prune") == (
            200, {"pruned": 0, "active_peers": 1, "total_peers": 1},
        )  # fmt: skip
        assert [node.fetch(plain), node.fetch(other), node.fetch(blocked)] == [PAGE, PAGE, b""]
        stats = node.status()["exit_stats"]
        assert (stats["requests_total"], stats["requests_success"], stats["requests_blocked"]) == (
            3,
            2,
            1,
        )
        assert stats["bandwidth_bytes"] > 2 * len(PAGE)


def test_scenario_2_a_client_finds_and_uses_the_super_peer(tmp_path: Path) -> None:
    with web_server() as target, _super(tmp_path / "super", target) as peer:
        arguments = ("--operators", peer.url)
        with HelperNode(tmp_path / "client", "client", arguments, {"circuits.hops": "1"}) as client:
            started = time.monotonic()
            client.wait_state("connected")
            assert "mode=client does='asks operators'" in client.log
            assert EXIT_NOTICE not in client.log
            note("ready to first circuit, by a directory", time.monotonic() - started, "s")
            assert client.ready["peer_id"] == ""
            assert client.fetch(target) == PAGE
            status = client.status()
            assert (status["helper_mode"], status["mesh_peer_count"], status["bootstrap_connected"]) == (
                "client", 1, True,
            )  # fmt: skip
            assert "exit_stats" not in status
            assert peer.status()["exit_stats"]["requests_success"] == 1
            assert peer.listed() == {}  # a client registers nowhere
            assert client.ask("/api/relays/by-country") == (
                404, {"error": "directory service not available in this mode", "mode": "Client"},
            )  # fmt: skip


def test_scenario_3_a_silent_relay_is_pruned(tmp_path: Path) -> None:
    with _super(tmp_path / "super", 1, arguments=("--compat",), settings=QUICK) as node:
        node.ask("/api/relay/register", _old_relay())
        assert list(node.listed()) == [_old_relay()["peer_id"]]
        registered = time.monotonic()
        wait_until(lambda: not node.listed(), "it is hidden", PATIENCE_S, 0.05)
        assert time.monotonic() - registered > TTL_S - 1.0
        wait_until(
            lambda: node.ask("/api/relays/prune")[1]["total_peers"] == 0, "it is forgotten", PATIENCE_S, 0.05
        )
        assert node.ask("/api/relay/register", _old_relay(last_seen=int(time.time())))[1]["is_new"] is True
        for _ in range(5):
            pause(HEARTBEAT_S)
            assert node.ask("/api/relay/register", _old_relay())[1]["is_new"] is False
        assert list(node.listed()) == [_old_relay()["peer_id"]]


def test_scenario_4_a_relay_registers_again_and_again(tmp_path: Path) -> None:
    with _super(tmp_path / "super", 1, settings=QUICK) as peer:
        with HelperNode(tmp_path / "relay", "relay", ("--operators", peer.url), QUICK) as relay:
            own = relay.ready["peer_id"]
            first = wait_until(lambda: peer.listed().get(own), "it is listed", every=0.05)
            assert first is not None
            assert first["addrs"] == [f"/ip4/127.0.0.1/tcp/{relay.ready['listen'][0].rpartition(':')[2]}"]
            again = wait_until(
                lambda: (
                    (found := peer.listed().get(own))
                    and found["last_seen"] > first["last_seen"] + TTL_S
                    and found
                ),
                "it is heard of for longer than its time to live",
                PATIENCE_S,
                0.1,
            )
            assert again
            assert again["first_seen"] == first["first_seen"]
            assert list(peer.listed()) == [own]
            assert relay.ask("/api/relay/register", _old_relay())[1]["mode"] == "Relay"
        wait_until(lambda: not peer.listed(), "it is gone after its end", PATIENCE_S, 0.05)
        wait_until(
            lambda: peer.ask("/api/relays/prune")[1]["total_peers"] == 0, "it is forgotten", PATIENCE_S, 0.05
        )


def test_two_operators_gossip_and_losing_one_loses_nothing(tmp_path: Path) -> None:
    with web_server() as target, _super(tmp_path / "first", target, settings=QUICK) as first:
        with ControlClient(first.folder) as control:
            invite = control.invite().uri
        with (
            _super(tmp_path / "second", target, arguments=("--invite", invite), settings=QUICK) as second,
            HelperNode(tmp_path / "relay", "relay", ("--operators", first.url), QUICK) as relay,
        ):
            own = relay.ready["peer_id"]
            wait_until(lambda: own in first.listed(), "the first lists it")
            wait_until(lambda: own in second.listed(), "the second has heard of it", PATIENCE_S)
            first.kill()
            arguments = ("--operators", f"{first.url},{second.url}")
            with HelperNode(tmp_path / "client", "client", arguments, {"circuits.hops": "2"}) as client:
                wait_until(lambda: client.status()["qnet_peers"] >= 2, "it has found both", PATIENCE_S)
                client.wait_state("connected", PATIENCE_S)
                assert client.fetch(target) == PAGE


def test_where_all_directories_fail_the_configured_exit_serves(tmp_path: Path) -> None:
    """And `STEALTH_OPERATORS` alone says who is asked, whatever the file has."""
    with (
        web_server() as target,
        failing_directory() as first,
        failing_directory() as second,
        failing_directory() as unasked,
        _super(tmp_path / "exit", target) as node,
    ):
        with ControlClient(node.folder) as control:
            invite = control.invite().uri
        config = tmp_path / "client.toml"
        config.write_text(f'[operators]\nurls = ["{unasked.url}"]\n')
        arguments = ("--config", str(config), "--invite", invite)
        environment = {"STEALTH_OPERATORS": f"{first.url},{second.url}"}
        settings = {"circuits.hops": "1"}
        with HelperNode(tmp_path / "client", "client", arguments, settings, environment) as client:
            wait_until(lambda: first.asked and second.asked, "both were asked")
            client.wait_state("connected")
            assert client.fetch(target) == PAGE
        assert unasked.asked == 0


def test_directory_survives_a_kill(tmp_path: Path) -> None:
    node = _super(tmp_path / "super", 1, arguments=("--compat",))
    with node:
        assert node.ask("/api/relay/register", _old_relay())[0] == 200
        node.kill()  # right after the answer
        node.start()
        assert list(node.listed()) == [_old_relay()["peer_id"]]


def test_mode_is_switched_while_it_runs_and_exits_only_with_consent(tmp_path: Path) -> None:
    with web_server() as target, _super(tmp_path / "super", target, settings=QUICK) as peer:
        arguments = ("--operators", peer.url)
        settings = QUICK | exit_settings(target) | {"circuits.hops": "1"}
        with HelperNode(tmp_path / "node", "client", arguments, settings) as node:
            with ControlClient(node.folder) as control:
                control.call("set-mode", {"mode": "relay"})
                assert node.status()["helper_mode"] == "relay"
                wait_until(lambda: len(peer.listed()) == 1, "the new relay registers")
                with pytest.raises(ControlError, match="warning was not accepted"):
                    control.call("set-mode", {"mode": "super"})
                with pytest.raises(ControlError, match="complaints"):
                    control.call("set-mode", {"mode": "super", "accept_exit": True})
                with pytest.raises(ControlError, match="Valid modes"):
                    control.call("set-mode", {"mode": "boss"})
                assert node.status()["helper_mode"] == "relay"
                consent = {"accept_exit": True, "abuse_contact": "abuse@lab.example"}
                control.call("set-mode", {"mode": "super", **consent})
                assert "exit_stats" in node.status()
                assert node.ask("/api/relays/by-country")[0] == 200
                control.call("set-mode", {"mode": "client"})
            assert node.status()["helper_mode"] == "client"
            assert node.ask("/api/relays/by-country")[1]["mode"] == "Client"
            node.wait_state("connected")
            assert node.fetch(target) == PAGE


@pytest.mark.parametrize("arguments", [(), NOTICE])
def test_no_exit_starts_without_consent(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    node = HelperNode(tmp_path / "exit", "exit", arguments, exit_settings(1))
    with pytest.raises(AssertionError, match="did not come up"):
        node.start()
    assert node.process is not None
    assert node.process.wait(60) == 2
    assert "exit-notice.md" in node.log
    node.stop()


def test_bad_input_is_refused_with_json_and_leaves_nothing(tmp_path: Path) -> None:
    settings = {"operators.rate_per_minute": "50"}
    with _super(tmp_path / "super", 1, settings=settings) as node:
        assert node.ask("/api/relay/register", bytes(10_000_000))[0] == 413
        assert node.ask("/api/relay/register", b"{")[1]["error"] == "invalid JSON body"
        assert node.ask("/api/relay/register", _old_relay())[0] == 403  # unsigned
        assert node.ask("/api/relays/by-country?country=1")[0] == 400
        assert node.ask("/api/nix") == (404, {"error": "not found"})
        codes = {node.ask("/api/relay/register", _old_relay(country=None))[0] for _ in range(60)}
        assert codes == {400, 429}
        assert node.ask("/api/relays/prune")[0] == 429
        assert node.ask("/status", Host="evil.example")[0] == 403
        assert node.ask("/terminate", b"", Authorization="Bearer x")[0] == 401
        token = (node.folder / "status.token").read_text()
        assert "this is a bug" not in node.log
        assert json.dumps(token) not in node.log
        assert node.ask("/terminate", b"", Authorization=f"Bearer {token}") == (200, {"terminating": True})
        assert node.process is not None
        assert node.process.wait(60) == 0


def test_a_super_peer_stays_up_and_as_small_as_it_was(tmp_path: Path) -> None:
    """An hour of it: `python -m tests.bench.bench_soak`."""
    seen = soak(tmp_path, 30, lambda _: None)
    assert (seen.fetched, seen.failed, seen.listed_wrong) == (30, 0, 0)
    assert seen.growth_mb < GROWTH_BAR_MB
