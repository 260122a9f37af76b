import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.traffic.transport.htx.options import Options


def test_weights_are_read_by_name() -> None:
    assert Options(weights=("chromium=2", " curl = 0.5")).weights_by_name() == {"chromium": 2.0, "curl": 0.5}


@pytest.mark.parametrize("text", ["chromium", "curl=", "curl=x", "curl=-1", "curl=inf"])
def test_a_weight_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="weights"):
        Options(weights=(text,))


@pytest.mark.parametrize("name", ["max_spliced", "max_spliced_per_prefix"])
def test_limits_are_at_least_one(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Options(**{name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["off", "light", "replay", "constant", "small", "webby", "bursty"])
def test_profiles_are_known_by_their_names_and_by_old_ones(name: str) -> None:
    options = Options(shaping=name, relay_shaping=name)
    assert (options.shaping, options.relay_shaping) == (name, name)


@pytest.mark.parametrize("name", ["shaping", "relay_shaping"])
def test_a_profile_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}: got 'heavy'"):
        Options(**{name: "heavy"})  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [1023, 125_000_001])
def test_a_constant_rate_has_limits(rate: int) -> None:
    with pytest.raises(ConfigurationError, match="constant_octets_s"):
        Options(constant_octets_s=rate)
