"""The matrix of modes, their names of before, and an exit's consent."""

import json
from pathlib import Path

import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.node.modes import InvalidModeError, Mode, check_consent, mode_of, parse_mode

MATRIX = json.loads((Path(__file__).parents[2] / "vectors" / "operators" / "modes.json").read_text())
FEATURES = ("runs_directory", "sends_heartbeat", "supports_relay", "supports_exit")


def test_modes_are_those_of_the_matrix() -> None:
    assert [mode.value for mode in Mode] == MATRIX["modes"]
    for feature in FEATURES:
        assert [mode.value for mode in Mode if getattr(mode, feature)] == MATRIX[feature], feature


def test_super_asks_other_operators_too_and_bootstrap_nobody() -> None:
    asking = [mode.value for mode in Mode if mode.queries_directory]
    assert asking == MATRIX["queries_directory_upstream_code"]


def test_client_does_not_relay_for_strangers() -> None:
    assert not Mode.CLIENT.supports_relay
    assert Mode.CLIENT.features == ("asks operators",)
    assert len(Mode.SUPER.features) == 5


@pytest.mark.parametrize(
    ("text", "mode"),
    [("client", Mode.CLIENT), (" Relay ", Mode.RELAY), ("SUPER", Mode.SUPER), ("relay-only", Mode.RELAY),
     ("exit-node", Mode.EXIT), ("bootstrap", Mode.BOOTSTRAP)],
)  # fmt: skip
def test_names_and_aliases(text: str, mode: Mode) -> None:
    assert parse_mode(text) is mode


@pytest.mark.parametrize("text", ["", "boss", "client,relay"])
def test_other_names_are_refused_in_the_old_words(text: str) -> None:
    with pytest.raises(InvalidModeError) as caught:
        parse_mode(text)
    assert str(caught.value) == (
        f"Invalid helper mode: '{text}'. Valid modes: client, relay, bootstrap, exit, super"
    )


def test_settings_without_a_mode_amount_to_one() -> None:
    assert mode_of(is_relay=False, is_exit=True) is Mode.CLIENT
    assert mode_of(is_relay=True, is_exit=False) is Mode.RELAY
    assert mode_of(is_relay=True, is_exit=True) is Mode.EXIT


def test_exit_wants_consent_and_a_contact_and_says_what_is_missing() -> None:
    check_consent(has_accepted=True, abuse_contact="a@b")
    for accepted, contact, named in (
        (False, "a@b", "--accept-exit-notice"),
        (True, "", "EXIT_ABUSE_EMAIL"),
        (False, "", "EXIT_ABUSE_EMAIL"),
    ):
        with pytest.raises(ConfigurationError, match=r"exit-notice\.md") as caught:
            check_consent(has_accepted=accepted, abuse_contact=contact)
        assert named in str(caught.value)
