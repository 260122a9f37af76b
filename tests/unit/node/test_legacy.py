"""Old names that still have a meaning."""

import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.node.legacy import from_environment


def keys(**environment: str) -> dict[str, str]:
    return {dotted: text for dotted, text, _ in from_environment(environment)[0]}


@pytest.mark.parametrize(
    ("mode", "relay", "is_exit"),
    [
        ("client", "false", "false"),
        ("relay", "true", "false"),
        ("bootstrap", "true", "false"),
        ("Exit", "true", "true"),
        ("super", "true", "true"),
    ],
)
def test_helper_modes_are_roles(mode: str, relay: str, is_exit: str) -> None:
    assert keys(STEALTH_MODE=mode) == {"relay.enabled": relay, "exit.enabled": is_exit}


def test_the_newer_old_name_wins() -> None:
    assert keys(QNET_MODE="exit", STEALTH_MODE="client")["exit.enabled"] == "false"


def test_a_mode_that_never_was_one_is_refused_in_the_old_words() -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_environment({"STEALTH_MODE": "boss"})
    assert str(caught.value) == (
        "Invalid helper mode: 'boss'. Valid modes: client, relay, bootstrap, exit, super"
    )


def test_connection_modes_and_names_without_meaning_are_told() -> None:
    environment = {
        "STEALTH_MODE": "masked",
        "QNET_EXPECTED_PEER_IP": "1",
        "QNET_KEYPAIR_PATH": "x",
        "PATH": "/bin",
    }
    assignments, warnings = from_environment(environment)
    assert assignments == []
    assert warnings == [
        "environment QNET_EXPECTED_PEER_IP: has no effect in this version",
        "environment STEALTH_MODE: the connection mode 'masked' has no effect in this version",
        "environment QNET_KEYPAIR_PATH: not read; import the key once: vigilnet keys import FILE",
    ]


def test_a_directory_is_not_run_and_it_is_said() -> None:
    assert "runs no directory" in from_environment({"STEALTH_MODE": "super"})[1][0]


def test_the_old_proxy_address_is_read() -> None:
    assert keys(QNET_SOCKS_BIND="127.0.0.2", STEALTH_SOCKS_PORT="9050") == {
        "ingress.socks_host": "127.0.0.2",
        "ingress.socks_port": "9050",
    }


def test_the_old_switch_against_mdns_is_read() -> None:
    assert keys(QNET_NO_MDNS="1") == {"discovery.without": "mdns"}
    assert keys(QNET_NO_MDNS="0") == {}


def test_old_exit_limits_are_read() -> None:
    assert keys(EXIT_MAX_CONNECTIONS="5", EXIT_ALLOWED_PORTS="80, 443") == {
        "exit.max_streams": "5",
        "exit.rules": "accept *:80, accept *:443",
        "exit.policy": "none",
    }
