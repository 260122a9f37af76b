import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.traffic.transport.pluggable.options import Options


def test_commands_are_read_by_name() -> None:
    options = Options(
        client=(
            "obfs4,meek_lite = /usr/bin/obfs4proxy -enableLogging",
            "snowflake = snowflake-client -url 'a b'",
        ),
        server_options=("obfs4 = iat-mode=1;x=y",),
        plugin_options=("mine = k=v",),
    )
    commands = options.client_commands()
    assert commands["obfs4"] == commands["meek_lite"] == ("/usr/bin/obfs4proxy", "-enableLogging")
    assert commands["snowflake"] == ("snowflake-client", "-url", "a b")
    assert options.server_commands() == {}
    assert options.server_arguments() == {"obfs4": {"iat-mode": "1", "x": "y"}}
    assert options.plugin_arguments() == {"mine": {"k": "v"}}


@pytest.mark.parametrize(
    "settings",
    [
        {"client": ("obfs4proxy",)},
        {"client": ("obfs4 =",)},
        {"client": ("4obfs = x",)},
        {"server": ("obfs4 = 'x",)},
        {"server_options": ("obfs4 = x",)},
        {"plugin_options": ("obfs4",)},
        {"listen": ("127.0.0.1:1",)},
        {"advertise": ("obfs4=",)},
        {"plugins": ("a b",)},
        {"start_timeout_s": 0.0},
    ],
)
def test_settings_that_cannot_be_read_are_named(settings: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings))):
        Options(**settings)  # type: ignore[arg-type]
