"""Which servers a machine asks in the end, for each way of naming them."""

from pathlib import Path

import pytest

from vigilnet.traffic.device.resolver_io import system_servers

STUB = "# made by systemd-resolved\nnameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n"
BEHIND = "nameserver 192.0.2.1\nnameserver 2001:db8::1\n"


@pytest.mark.parametrize(
    ("file", "stub", "servers"),
    [
        ("nameserver 192.0.2.53\n", "", ["192.0.2.53"]),  # plain, or NetworkManager without a stub
        (STUB, BEHIND, ["192.0.2.1", "2001:db8::1"]),  # systemd-resolved
        ("nameserver 127.0.1.1\n", BEHIND, ["192.0.2.1", "2001:db8::1"]),  # NetworkManager with dnsmasq
        ("nameserver 127.0.0.1\n", "nameserver 127.0.0.1\n", ["127.0.0.1"]),  # a resolver of one's own
        ("nameserver\nnameserver one.example\nnameserver 192.0.2.1 # x\n", "", ["192.0.2.1"]),
        ("", "", []),
    ],
)
def test_behind_a_stub_are_the_servers_that_it_asks(
    tmp_path: Path, file: str, stub: str, servers: list[str]
) -> None:
    (tmp_path / "resolv.conf").write_text(file)
    (tmp_path / "stub.conf").write_text(stub)
    found = system_servers(tmp_path / "resolv.conf", [tmp_path / "none", tmp_path / "stub.conf"])
    assert found == servers


def test_a_machine_without_the_file_has_none(tmp_path: Path) -> None:
    assert system_servers(tmp_path / "none", []) == []
