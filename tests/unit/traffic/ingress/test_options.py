from typing import Any

import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.traffic.ingress.options import Options


def test_defaults_stay_on_this_machine() -> None:
    options = Options()
    assert (options.socks_host, options.socks_port) == ("127.0.0.1", 1088)
    assert (options.http_host, options.http_port) == ("127.0.0.1", 8118)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_is_fine(host: str) -> None:
    assert Options(socks_host=host, http_host=host).socks_host == host


def test_other_machines_must_be_let_in_on_purpose() -> None:
    with pytest.raises(ConfigurationError, match=r"socks_host: got 0\.0\.0\.0, expected 127.0.0.1 or ::1"):
        Options(socks_host="0.0.0.0")  # noqa: S104 - refused
    with pytest.raises(ConfigurationError, match=r"http_host: got 192\.168\.1\.1"):
        Options(http_host="192.168.1.1")
    assert Options(socks_host="192.168.1.1", allow_remote=True).allow_remote


@pytest.mark.parametrize(
    "wrong",
    [
        {"socks_host": "localhost"},
        {"socks_port": -1},
        {"http_port": 65536},
        {"max_connections": 0},
        {"handshake_timeout_s": 0},
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Options(**wrong)
