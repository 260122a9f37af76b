import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_node import FakeHost, FakeNode
from vigilnet.node.modes import Mode
from vigilnet.node.options import load_options, with_mode
from vigilnet.node.status import ClientFacts
from vigilnet.surface.control.operations import OPERATIONS, Role
from vigilnet.surface.control.schema import ControlError, plain, read
from vigilnet.surface.control.steering import Steering

ASKED: dict[str, dict[str, Any]] = {
    "new-path": {"circuit": 1},
    "keep-path": {"circuit": 1},
    "close-circuit": {"circuit": 1},
    "set-hops": {"hops": 5},
    "set-exit": {"country": "se"},
    "set-mode": {"mode": "relay"},
    "set-option": {"key": "circuits.idle_s", "value": "90"},
    "reset-option": {"key": "circuits.idle_s"},
    "add-invite": {"uri": "vigilnet:AAAA"},
    "exits": {"port": 443},
    "find-peer": {"peer_id": "12D3KooWstranger"},
    "device": {"action": "status"},
}


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    return FakeHost(FakeNode(), tmp_path / "vigilnet.toml")


def do(host: FakeHost, name: str, caller: Role = Role.FULL, **params: Any) -> Any:  # noqa: ANN401 JSON
    return plain(asyncio.run(Steering(host, "0.1.0").do(name, params, caller)))


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_answer_is_of_the_model_that_is_declared(host: FakeHost, name: str) -> None:
    result = do(host, name, **ASKED.get(name, {}))
    read(OPERATIONS[name].result, result, name)  # type: ignore[arg-type]  # a model, or a tuple of it


@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if operation.needs_full])
def test_read_only_callers_change_and_learn_nothing_secret(host: FakeHost, name: str) -> None:
    with pytest.raises(ControlError) as caught:
        do(host, name, Role.READ_ONLY, **ASKED.get(name, {}))
    assert caught.value.code == "forbidden"
    assert (host.changes, host.restarts, host.node.asked, host.is_on) == ([], 0, 0, True)


def test_read_only_callers_get_no_targets_logins_addresses_or_log_texts(host: FakeHost) -> None:
    assert do(host, "streams", Role.READ_ONLY)[0]["target"] == ""
    assert do(host, "streams")[0]["target"] == "example.org:443"
    path = do(host, "paths", Role.READ_ONLY)[0]
    assert path["label"] == ""
    assert path["hops"][0]["address"] == ""
    assert path["hops"][0]["peer_id"] == "12D3KooWguard"
    assert do(host, "paths")[0]["label"] == "firefox"
    assert do(host, "peers", Role.READ_ONLY)[0]["addresses"] == []
    assert {one["value"] for one in do(host, "settings", Role.READ_ONLY)["settings"]} == {""}
    assert do(host, "doctor", Role.READ_ONLY)["findings"][0]["evidence"] == []


def test_read_only_callers_may_look_for_faults_but_not_repair(host: FakeHost) -> None:
    with pytest.raises(ControlError, match="full role"):
        do(host, "doctor", Role.READ_ONLY, repair=True)
    assert do(host, "doctor", repair=True)["repaired"] == ["removed a stale lock"]


@pytest.mark.parametrize(
    ("name", "params"),
    [("set-hops", {}), ("set-hops", {"hops": "3"}), ("set-hops", {"hops": True}),
     ("new-path", {"circuit": 1.5}), ("set-mode", {"mode": "king"}),
     ("open-session", {"role": "root"}), ("add-invite", {"uri": 7})],
)  # fmt: skip
def test_wrong_parameters_are_refused(host: FakeHost, name: str, params: dict[str, Any]) -> None:
    with pytest.raises(ControlError) as caught:
        do(host, name, **params)
    assert caught.value.code == "bad-request"


def test_unknown_method(host: FakeHost) -> None:
    with pytest.raises(ControlError) as caught:
        do(host, "make-coffee")
    assert caught.value.code == "unknown-method"


def test_wrong_value_of_an_option_names_it(host: FakeHost) -> None:
    with pytest.raises(ControlError) as caught:
        do(host, "set-hops", hops=11)
    assert caught.value.code == "option.invalid"
    assert "circuits.hops" in str(caught.value)


def test_exit_mode_asks_before(host: FakeHost) -> None:
    with pytest.raises(ControlError) as caught:
        do(host, "set-mode", mode="exit")
    assert caught.value.code == "mode.warning"
    assert "from your address" in caught.value.why
    with pytest.raises(ControlError) as caught:
        do(host, "set-option", key="exit.enabled", value="true")
    assert caught.value.code == "mode.warning"
    for key, value in (("exit.accept_notice", "1"), ("node.mode", "Exit-Node")):
        with pytest.raises(ControlError, match="by its own command"):
            do(host, "set-option", key=key, value=value)
    assert host.changes == []
    with pytest.raises(ControlError) as caught:
        do(host, "set-mode", mode="exit", accept_exit=True)
    assert "complaints" in str(caught.value)
    consent: dict[str, Any] = {"accept_exit": True, "abuse_contact": "abuse@lab.example"}
    assert "an exit" in do(host, "set-mode", mode="exit", **consent)["message"]
    given = {"exit.accept_notice": "true", "exit.abuse_contact": "abuse@lab.example"}
    assert host.changes == [({"node.mode": "exit", **given}, True)]
    assert host.restarts == 1


def test_mode_of_the_command_line_is_changed_until_the_process_ends(host: FakeHost) -> None:
    host.loaded = load_options(None, {}, [("node.mode", "client")])
    assert "a relay" in do(host, "set-mode", mode="relay")["message"]
    assert host.changes == [({"node.mode": "relay"}, False)]


def test_exit_choice_is_refused_where_none_is_known(host: FakeHost) -> None:
    with pytest.raises(ControlError) as caught:
        do(host, "set-exit", country="BR")
    assert caught.value.code == "exit.none"
    assert do(host, "set-exit", country="jp", keep=False)["changed"]
    assert host.changes == [({"circuits.exit_country": "JP", "circuits.exit_peer": ""}, False)]
    assert do(host, "set-exit")["message"] == "new paths leave through any exit"


def test_no_exit_for_a_port_says_what_there_is(host: FakeHost) -> None:
    with pytest.raises(ControlError) as caught:
        do(host, "exits", country="JP", port=6667)
    error = caught.value
    assert (error.code, str(error)) == ("exit.none", "no exit in Japan allows port 6667")
    assert error.why == "known in Japan: 1 exit, for 80,443"
    assert error.next == "vigilnet exits --port 6667"


def test_options_that_are_not_live_wait_for_a_restart(host: FakeHost) -> None:
    assert not do(host, "set-option", key="circuits.idle_s", value="90")["restart_needed"]
    assert do(host, "set-option", key="ingress.socks_port", value="1099")["restart_needed"]
    assert "ingress.socks_port" in do(host, "status")["restart_needed"]
    with pytest.raises(ControlError) as caught:
        do(host, "set-option", key="no.such", value="1")
    assert caught.value.code == "option.unknown"


def test_circuit_that_is_not_there(host: FakeHost) -> None:
    for name in ("new-path", "keep-path", "close-circuit"):
        with pytest.raises(ControlError) as caught:
            do(host, name, circuit=99)
        assert caught.value.code == "not-found"


def test_connect_and_disconnect(host: FakeHost) -> None:
    assert do(host, "disconnect") == {"changed": True, "message": "off: apps are served no more",
                                      "restart_needed": False}  # fmt: skip
    host.node.facts = None
    assert do(host, "status")["protection"]["id"] == "offline"
    assert not do(host, "disconnect")["changed"]
    assert do(host, "connect")["changed"]


def test_session_tokens_open_what_they_say(host: FakeHost) -> None:
    session = do(host, "open-session", role="read-only")
    assert host.sessions.role_of(session["token"], host.clock.now()) is Role.READ_ONLY
    assert session["url"] == f"http://127.0.0.1:8088/#token={session['token']}"
    host.dashboard = ""
    with pytest.raises(ControlError) as caught:
        do(host, "open-session")
    assert caught.value.code == "off"


def test_relay_without_a_client_s_side_has_no_state_in_words(host: FakeHost) -> None:
    host.node.facts = None
    host.is_on = False
    host.options = with_mode(replace(host.options, node=replace(host.options.node, mode=Mode.RELAY)))
    status = do(host, "status")
    assert status["protection"] is None
    assert status["mode"] == "relay"


def test_busy_states_list_their_steps(host: FakeHost) -> None:
    steering = Steering(host, "0")
    host.node.facts = ClientFacts(3)
    assert [step.is_done for step in steering.showing.facts().steps] == [False, False, False]
    host.clock.at += 2
    host.node.facts = ClientFacts(3, relays=9, enough_relays=True, hop=2)
    steps = {step.id: step for step in steering.showing.facts().steps}
    assert (steps["relays"].after_ms, steps["entry"].after_ms, steps["path"].is_done) == (2000, 2000, False)
    host.node.facts = ClientFacts(3, has_path=True, had_path=True, relays=9, enough_relays=True)
    host.clock.at += 1
    facts = steering.showing.facts()
    assert (facts.steps, facts.since_s) == ((), 0)
    host.clock.at += 5
    assert steering.showing.facts().since_s == 5


def test_traffic_is_sampled_each_second(host: FakeHost) -> None:
    steering = Steering(host, "0")
    assert steering.showing.sample().in_bps == 0  # what was before is not of this second
    host.clock.at += 1
    host.node.octets = (127_000, 26_000)
    sample = steering.showing.sample()
    assert (sample.in_bps, sample.out_bps) == (1_000_000, 200_000)
    for _ in range(100):
        host.clock.at += 1
        steering.showing.sample()
    assert len(steering.showing.history().samples) == 60
    assert steering.showing.history().total.in_octets == 127_000


@pytest.mark.parametrize(
    "why_id",
    ["dialled", "dialled-us", "dialled-back", "punched", "on-path", "on-path-entry", "no-answer",
     "not-needed", "behind-router"],
)  # fmt: skip
def test_each_way_to_know_a_relay_has_its_sentence(host: FakeHost, why_id: str) -> None:
    peer = replace(host.node.peers()[0], why_id=why_id)
    host.node.peers = lambda: [peer]  # type: ignore[method-assign]
    assert do(host, "peers")[0]["why"].endswith(".")
