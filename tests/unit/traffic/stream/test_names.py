from ipaddress import AddressValueError, IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.traffic.stream.names import check_host, check_name, ipv4_text, pack_ipv4


@pytest.mark.parametrize(
    "name",
    ["localhost", "example.org", "EXAMPLE.org", "_sip._tcp.example.org", "xn--bcher-kva.example", "a-b.c",
     "4.3.2.1.in-addr.arpa", "a" * 63 + ".org", ("a" * 49 + ".") * 5 + "abc", "0x7g.example", "1a"],
)  # fmt: skip
def test_names_that_pass(name: str) -> None:
    assert check_name(name) == ""
    assert check_host(name) == ""


@pytest.mark.parametrize(
    "name",
    ["", ".", "a..b", "a.", ".a", "a b", "a\0b", "bücher.example", "a" * 64, ("a" * 49 + ".") * 5 + "abcd",
     "-a.org", "a-.org", "127.1", "1", "0x7f.1", "host.0x1F", "a/b", "user@host", "host:80", "a\n", "[::1]"],
)  # fmt: skip
def test_names_that_do_not_pass_and_are_not_repeated(name: str) -> None:
    wrong = check_name(name)
    assert wrong
    assert len(name) < 6 or name not in wrong


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "::1", "2001:db8::1", "fe80::1"])  # noqa: S104
def test_addresses_in_canonical_form_pass(host: str) -> None:
    assert check_host(host) == ""


@pytest.mark.parametrize(
    "host",
    ["::ffff:192.0.2.1", "0::1", "2001:DB8::1", "fe80::1%eth0", "::ffff:1.2.3.4.5", "01.2.3.4", "1.2.3"],
)
def test_addresses_in_other_forms_do_not_pass(host: str) -> None:
    assert check_host(host)


@given(st.text(max_size=300))
def test_every_text_gets_an_answer(text: str) -> None:
    if not check_host(text):
        assert text.isascii()
        assert text.isprintable()
        assert 0 < len(text) <= 253


@given(st.integers(0, 0xFFFF_FFFF))
def test_ipv4_addresses_are_written_and_read_as_the_library_does(value: int) -> None:
    address = IPv4Address(value)
    assert ipv4_text(address.packed) == str(address)
    assert pack_ipv4(str(address)) == address.packed
    assert check_host(str(address)) == ""


@given(
    st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,4}){2,4}\n?", fullmatch=True)
    | st.text(alphabet="0123456789.\u0663", max_size=16)
)
def test_what_the_library_takes_for_no_ipv4_address_is_none(text: str) -> None:
    try:
        packed = IPv4Address(text).packed
    except AddressValueError:
        packed = None
    assert pack_ipv4(text) == packed
