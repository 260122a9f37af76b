import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.ingress.hosts import canonical_host
from vigilnet.traffic.stream.messages import Target


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("example.com", "example.com"),
        ("Example.com.", "Example.com"),
        ("93.184.216.34", "93.184.216.34"),
        ("2001:DB8:0:0::0:1", "2001:db8::1"),
        ("::ffff:93.184.216.34", "93.184.216.34"),
    ],
)
def test_hosts_become_canonical(text: str, host: str) -> None:
    assert canonical_host(text) == host


@pytest.mark.parametrize(
    "text",
    ["", ".", "127.1", "0x7f.0.0.1", "2130706433", "fe80::1%eth0", "a b", "é.example", "[::1]", "a..b"],
)
def test_what_is_neither_name_nor_address_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError) as refusal:
        canonical_host(text)
    assert len(text) < 2 or text not in str(refusal.value)


@given(st.text(max_size=260) | st.ip_addresses().map(str))
def test_every_canonical_host_fits_a_begin(text: str) -> None:
    try:
        host = canonical_host(text)
    except RemoteProtocolError:
        return
    assert Target.decode(Target(host, 80).encode()).host == host
