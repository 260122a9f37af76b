import json
from dataclasses import replace
from importlib.resources import files

import pytest

from vigilnet.surface.control.states import (
    RESERVATIONS,
    STATE_IDS,
    Facts,
    coverage_of,
    protection_of,
    reservations,
    state_of,
    words,
)

GREEN = Facts(
    is_on=True, has_path=True, had_path=True, enough_relays=True, relays=9, country="SE",
    proxy="127.0.0.1:1088", whole_device=True, names="exit", is_held=True,
)  # fmt: skip


def facts(**changes: object) -> Facts:
    return replace(GREEN, **changes)  # type: ignore[arg-type]  # a test's shorthand


EACH = [
    (GREEN, "connected"),
    (facts(names="local"), "names-visible"),
    (facts(names="custom"), "names-visible"),
    (facts(hops=1), "one-hop"),
    (facts(whole_device=False), "apps-only"),
    (facts(has_path=False, enough_relays=False, nearby=4), "mesh"),
    (facts(has_path=False, enough_relays=False), "calibrating"),
    (facts(has_path=False, portal=True), "portal"),
    (facts(has_path=False, had_path=False), "connecting"),
    (facts(has_path=False), "reconnecting"),
    (facts(is_on=False, lockdown=True), "blocked"),
    (facts(is_on=False), "offline"),
]


@pytest.mark.parametrize(
    ("given", "state"), EACH, ids=[f"{number} {state}" for number, (_, state) in enumerate(EACH)]
)
def test_each_state_follows_from_facts_and_has_its_words(given: Facts, state: str) -> None:
    assert state_of(given) == state
    protection = protection_of(given)
    assert protection.id == state
    assert protection.title == words()["states"][state]["title"]["en"]
    assert protection.sentence
    assert "{" not in protection.sentence
    assert protection.buttons
    assert len(coverage_of(given)) == 5


def test_every_state_but_the_missing_daemon_is_reached_above() -> None:
    assert {state for _, state in EACH} | {"no-daemon"} == set(STATE_IDS) == set(words()["states"])


def test_words_of_the_green_state() -> None:
    protection = protection_of(GREEN)
    assert (protection.tone, protection.title) == ("ok", "Protected")
    assert protection.sentence == (
        "Your traffic takes 3 hops. Sites see an address in Sweden. "
        "No single relay knows both who you are and where you go."
    )
    assert [button.action for button in protection.buttons] == ["disconnect", "new-path"]


def test_country_that_nobody_declared_is_not_made_up() -> None:
    assert "Sites see the address of the exit." in protection_of(facts(country="")).sentence


def test_gravest_reservation_is_the_title_and_the_others_follow() -> None:
    given = facts(hops=1, whole_device=False)
    assert reservations(given) == ("one-hop", "apps-only")
    protection = protection_of(given)
    assert protection.id == "one-hop"
    assert protection.sentence.endswith(
        "Only apps set to use the proxy 127.0.0.1:1088 go through VigilNet; "
        "everything else goes out directly."
    )
    assert RESERVATIONS == ("one-hop", "apps-only", "names-visible")


@pytest.mark.parametrize("change", [{}, {"had_path": False}, {"enough_relays": False}])
def test_waiting_is_only_said_where_nothing_gets_out(change: dict[str, object]) -> None:
    held = protection_of(facts(has_path=False, **change))
    assert held.tone == "busy"
    assert "waits" in held.sentence
    assert "directly" not in held.sentence
    leaking = protection_of(facts(has_path=False, is_held=False, **change))
    assert leaking.tone == "bad"
    assert "goes out directly meanwhile" in leaking.sentence


def test_broken_station_is_named() -> None:
    assert "middle relay" in protection_of(facts(has_path=False, broken="middle")).sentence


def test_slow_start_says_why() -> None:
    early = protection_of(facts(has_path=False, had_path=False, reason="hop 2 refused", since_s=9))
    late = protection_of(facts(has_path=False, had_path=False, reason="hop 2 refused", since_s=10))
    assert "Taking longer" not in early.sentence
    assert late.sentence.endswith("Taking longer than usual: hop 2 refused.")


def test_node_that_knows_nobody_asks_for_an_invite() -> None:
    given = facts(has_path=False, had_path=False, enough_relays=False, relays=0)
    assert "give this device an invite" in protection_of(given).sentence


def test_every_text_has_english_and_honest_words() -> None:
    content = json.loads(files("vigilnet.surface.control").joinpath("states.json").read_text("utf-8"))
    texts: list[str] = []

    def collect(value: object) -> None:
        if isinstance(value, dict):
            if "en" in value:
                assert all(isinstance(text, str) and text for text in value.values())
                texts.append(value["en"])
            else:
                for item in value.values():
                    collect(item)
        elif isinstance(value, list):
            for item in value:
                collect(item)

    collect(content)
    assert len(texts) > 60
    told = " ".join(texts).lower().replace("not anonymous", "")
    for word in ("anonymous", "100 %", "secure", "military", "circuit", "descriptor", "tunnel", "guard"):
        assert word not in told
