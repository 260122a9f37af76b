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
