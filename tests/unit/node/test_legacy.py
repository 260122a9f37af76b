"""Old names that still have a meaning."""

import pytest

from vigilnet.base.errors import ConfigurationError
from vigilnet.node.legacy import from_environment


def keys(**environment: str) -> dict[str, str]:
    return {dotted: text for dotted, text, _ in from_environment(environment)[0]}


@pytest.mark.parametrize(
    ("text", "mode"), [("client", "client"), ("Exit", "exit"), ("super", "super"), ("relay-only", "relay")]
)
def test_helper_modes_are_modes(text: str, mode: str) -> None:
    assert keys(STEALTH_MODE=text) == {"node.mode": mode}


def test_the_newer_old_name_wins() -> None:
    assignments, warnings = from_environment({"QNET_MODE": "exit", "STEALTH_MODE": "client"})
    assert [text for _, text, _ in assignments][-1] == "client"
    assert "QNET_MODE: old name" in warnings[0]


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("192.0.2.1", "192.0.2.1", None), ("127.0.0.2:9", "127.0.0.2", "9"), ("[::1]:9", "::1", "9"),
     ("::1", "::1", None)],
)  # fmt: skip
def test_old_place_of_the_status_interface(text: str, host: str, port: str | None) -> None:
    expected = {"status.host": host} | ({"status.port": port} if port else {})
    assert keys(QNET_STATUS_BIND=text) == expected


def test_old_names_of_ports_operators_and_the_mesh() -> None:
    assert keys(STEALTH_STATUS_PORT="1", STEALTH_OPERATORS="http://a,http://b", EXIT_ABUSE_EMAIL="a@b") == {
        "status.port": "1",
        "operators.urls": "http://a,http://b",
        "exit.abuse_contact": "a@b",
    }
    assert keys(QNET_KEYPAIR_PATH="/k") == {"node.key_file": "/k"}
    assert keys(QNET_MESH_ENABLED="0") == {"discovery.without": "gossip,mdns,beacon"}
    assert keys(QNET_MESH_ENABLED="1") == {}


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
        "PATH": "/bin",
    }
    assignments, warnings = from_environment(environment)
    assert assignments == []
    assert warnings == [
        "environment QNET_EXPECTED_PEER_IP: has no effect in this version",
        "environment STEALTH_MODE: the connection mode 'masked' has no effect in this version",
    ]


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


def test_the_edge_gateway_is_an_exit_over_htx_with_its_own_certificate() -> None:
    given = {"HTX_TLS_CERT": "/c.pem", "HTX_TLS_KEY": "/k.pem", "HTX_TRUST_PEM": "/r.pem"}
    assert keys(**given) == {
        "relay.enabled": "true",
        "exit.enabled": "true",
        "relay.listen": "",
        "relay.listen_htx": "0.0.0.0:4443",
        "htx.certificate": "/c.pem",
        "htx.certificate_key": "/k.pem",
        "htx.trust_anchors": "/r.pem",
    }
    assert keys(**given, BIND="127.0.0.1:8443")["relay.listen_htx"] == "127.0.0.1:8443"
    assert keys(BIND="127.0.0.1:8443") == {}


@pytest.mark.parametrize("name", ["HTX_TLS_CERT", "HTX_TLS_KEY"])
def test_half_an_edge_gateway_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="needs the other"):
        from_environment({name: "/x.pem"})
