import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.routing.operators.options import Options


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"urls": ("ftp://x",)}, "urls"),
        ({"urls": ("http://x",) * 9}, "urls"),
        ({"countries": ("x",)}, "countries"),
        ({"ttl_s": 0.0}, "ttl_s"),
        ({"heartbeat_s": 4000.0}, "heartbeat_s"),
        ({"prune_s": 0.0}, "prune_s"),
        ({"query_s": 0.5}, "query_s"),
        ({"rate_per_minute": -1}, "rate_per_minute"),
        ({"admin_token": "short"}, "admin_token"),
    ],
)
def test_wrong_settings_are_named(change: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        Options(**change)  # type: ignore[arg-type]


def test_defaults_are_those_of_the_api() -> None:
    options = Options()
    assert (options.ttl_s, options.prune_s, options.heartbeat_s, options.rate_per_minute) == (
        120,
        60,
        30,
        100,
    )
