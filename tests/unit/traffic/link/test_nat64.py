"""Addresses of a network's NAT64, with the examples of RFC 6052 section 2.4."""

from ipaddress import IPv4Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.traffic.link.nat64 import embed, find_prefix

EXAMPLES = {
    "2001:db8::/32": "2001:db8:c000:221::",
    "2001:db8:100::/40": "2001:db8:1c0:2:21::",
    "2001:db8:122::/48": "2001:db8:122:c000:2:2100::",
    "2001:db8:122:300::/56": "2001:db8:122:3c0:0:221::",
    "2001:db8:122:344::/64": "2001:db8:122:344:c0:2:2100:0",
    "2001:db8:122:344::/96": "2001:db8:122:344::c000:221",
}


@pytest.mark.parametrize("prefix", EXAMPLES)
def test_the_examples_of_the_standard(prefix: str) -> None:
    expected = EXAMPLES[prefix]
    assert IPv6Network(embed(IPv6Network(prefix), "192.0.2.33")) == IPv6Network(expected)


@given(
    st.sampled_from(sorted(EXAMPLES)), st.sampled_from(["192.0.0.170", "192.0.0.171"]), st.ip_addresses(v=4)
)
def test_the_prefix_is_found_in_what_it_makes_of_the_known_addresses(
    text: str, known: str, host: IPv4Address
) -> None:
    prefix = IPv6Network(text)
    found = find_prefix(["2001:db8:ffff::1", embed(prefix, known)])
    assert found == prefix
    assert embed(found, str(host)) == embed(prefix, str(host))


@pytest.mark.parametrize("answers", [[], ["2001:db8::1"], ["192.0.0.170"]])
def test_no_prefix_in_other_answers(answers: list[str]) -> None:
    assert find_prefix(answers) is None


@pytest.mark.parametrize("host", ["relay.example", "2001:db8::1", ""])
def test_only_ipv4_addresses_are_embedded(host: str) -> None:
    with pytest.raises(ValueError, match=r"Expected|Address"):
        embed(IPv6Network("64:ff9b::/96"), host)
