"""The four states and their history, as scripts."""

import pytest

from vigilnet.surface.status.facts import Facts, History, State, state_of

SCRIPT = [
    (Facts(is_on=False), State.OFFLINE),
    (Facts(), State.OFFLINE),  # nobody known, and nothing that could tell of anybody
    (Facts(has_sources=True), State.CALIBRATING),
    (Facts(has_sources=True, relays=1), State.CONNECTING),
    (Facts(has_sources=True, relays=1, links=1), State.CONNECTING),
    (Facts(has_sources=True, relays=1, links=1, circuits=1), State.CONNECTED),
    (Facts(has_sources=True, relays=1, links=0), State.CONNECTING),
    (Facts(has_sources=True, relays=1, links=1, circuits=2), State.CONNECTED),
    (Facts(is_on=False, relays=1, circuits=2), State.OFFLINE),
]


def test_a_client_goes_through_all_states() -> None:
    assert [state_of(facts) for facts, _ in SCRIPT] == [state for _, state in SCRIPT]


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (Facts(is_relay=True, links=1), State.CONNECTED),
        (Facts(is_relay=True, relays=2), State.CONNECTING),
        (Facts(is_relay=True), State.OFFLINE),
    ],
)
def test_a_relay_is_connected_by_a_link(facts: Facts, state: State) -> None:
    assert state_of(facts) is state


def test_history_tells_how_long_and_how_often() -> None:
    history = History()
    for second, (facts, _) in enumerate(SCRIPT):
        history.note(state_of(facts), float(second))
    assert history.connected_at == 7.0
    assert (history.reconnections, history.reconnected_at) == (1, 7.0)
    assert history.checked_at == 8.0
