"""Which sources are used."""

import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.routing.discovery.options import SOURCES, Options, Profile


def test_by_default_every_source_is_used() -> None:
    assert all(Options().uses(source) for source in SOURCES)


def test_profiles_leave_out_what_they_say() -> None:
    assert not Options(profile=Profile.VIGIL).uses("directories")
    assert not any(Options(profile=Profile.QNET).uses(source) for source in ("dht", "beacon"))
    quiet = Options(profile=Profile.QUIET)
    assert [source for source in SOURCES if quiet.uses(source)] == [
        "cache", "invites", "welcome", "gossip", "circuits",
    ]  # fmt: skip


def test_named_sources_count_instead_of_the_profile_and_some_may_be_left_out() -> None:
    options = Options(sources=("invites", "gossip"))
    assert [source for source in SOURCES if options.uses(source)] == ["invites", "gossip"]
    options = Options(without=("mdns",))
    assert [source for source in SOURCES if not options.uses(source)] == ["mdns"]


@pytest.mark.parametrize("name", ["sources", "without"])
def test_sources_that_are_none_are_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}: got 'kademlia', expected some of cache"):
        Options(**{name: ("kademlia",)})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"cache_s": 0.0}, {"cache_s": 86_401.0}, {"neighbours": 0}, {"neighbours": 33}]
)
def test_limits(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Options(**wrong)  # type: ignore[arg-type]
