from dataclasses import replace

import pytest

from vigilnet.surface.control.models import Status
from vigilnet.surface.control.states import STATE_IDS, Facts, coverage_of, protection_of
from vigilnet.surface.tray.menu import LANGUAGES, Picture, picture_of, words

STATUS = Status("0.1.0", 1, "connected", 5.0)


def of(facts: Facts) -> Status:
    return replace(STATUS, protection=protection_of(facts), coverage=coverage_of(facts))


def actions(picture: Picture) -> list[str]:
    return [entry.action for entry in picture.entries if entry.action]


ON = Facts(is_on=True, has_path=True)


def test_connected_node_can_be_disconnected_and_renewed() -> None:
    picture = picture_of(of(ON), "en")
    assert picture.tone == "warn"
    assert picture.title == "Only some apps are protected"
    assert actions(picture) == ["open", "disconnect", "new-identity", "lockdown-on", "hide", "quit"]


def test_node_that_is_off_can_be_connected() -> None:
    assert "connect" in actions(picture_of(of(Facts()), "en"))
    assert "new-identity" not in actions(picture_of(of(Facts()), "en"))


def test_lockdown_is_a_switch_that_shows_how_it_is() -> None:
    picture = picture_of(of(Facts(lockdown=True)), "en")
    assert (picture.tone, picture.title) == ("hold", "Blocked by lockdown")
    assert [entry.is_checked for entry in picture.entries if entry.action == "lockdown-off"] == [True]


def test_node_that_does_not_answer_is_not_called_protected() -> None:
    picture = picture_of(None, "en")
    assert picture.tone == "bad"
    assert actions(picture) == ["hide"]


def test_relay_without_apps_serves_others() -> None:
    assert actions(picture_of(STATUS, "en")) == ["open", "hide", "quit"]


def test_trouble_is_told_below_the_state() -> None:
    assert [entry.label for entry in picture_of(of(ON), "en", "no helper").entries[:2]] == [
        "Only some apps are protected",
        "no helper",
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_is_there_in_every_language(language: str) -> None:
    assert all(entry[language] for entry in words().values())
    assert picture_of(of(ON), language).title
    assert STATE_IDS
