import contextlib
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.forbidden_targets import FORBIDDEN_HOSTS
from vigilnet.traffic.exit.policy import ExitPolicy, parse_rules
from vigilnet.traffic.exit.targets import TargetRefusedError, is_local_name, parse_host, parse_name
from vigilnet.traffic.stream.wire import EndReason

EVERYTHING = ExitPolicy(parse_rules(["accept *:*"]))


def test_the_table_has_at_least_120_spellings() -> None:
    assert len(set(FORBIDDEN_HOSTS)) == len(FORBIDDEN_HOSTS) >= 120


@pytest.mark.parametrize("host", FORBIDDEN_HOSTS)
def test_forbidden_spellings_are_refused_before_anything_is_resolved(host: str) -> None:
    address: object = None
    with contextlib.suppress(TargetRefusedError):
        address = parse_host(host)
    assert not isinstance(address, str), "a name that would reach the resolver"
    assert address is None or not EVERYTHING.allows(ip_address(str(address)), 80)


@pytest.mark.parametrize("host", ["0x7f.1", "10.1", "printer.local", "fe80::1%lo", "a..example", "ü.example"])
def test_refusals_may_be_logged(host: str) -> None:
    with pytest.raises(TargetRefusedError) as refusal:
        parse_host(host)
    assert host not in str(refusal.value)
    assert refusal.value.reason in (EndReason.POLICY, EndReason.RESOLVE_FAILED)


@pytest.mark.parametrize("text", ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
def test_public_addresses_pass(text: str) -> None:
    assert parse_host(text) == ip_address(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("example.com", "example.com"),
        ("Example.COM.", "example.com"),
        ("xn--bcher-kva.example.com", "xn--bcher-kva.example.com"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("1.example.com", "1.example.com"),
        ("127.0.0.1.nip.io", "127.0.0.1.nip.io"),  # what it resolves to is judged later
        ("localhost.example.com", "localhost.example.com"),
        ("a" * 63 + ".com", "a" * 63 + ".com"),
    ],
)
def test_public_names_pass_in_lower_case(text: str, name: str) -> None:
    assert parse_host(text) == name


@pytest.mark.parametrize("text", ["localhost", "router.lan", "a.localhost"])
def test_local_names_pass_only_where_they_are_allowed(text: str) -> None:
    assert parse_host(text, allow_local_names=True) == text
    with pytest.raises(TargetRefusedError) as refusal:
        parse_host(text)
    assert refusal.value.reason is EndReason.POLICY


def test_odd_spellings_stay_refused_where_local_names_are_allowed() -> None:
    for text in ("0x7f.1", "127.1", "2130706433"):
        with pytest.raises(TargetRefusedError):
            parse_host(text, allow_local_names=True)


def test_name_length_limit() -> None:
    longest = ".".join(["a" * 61] * 4) + ".abcde"
    assert len(longest) == 253
    assert parse_name(longest) == longest
    with pytest.raises(TargetRefusedError):
        parse_name(longest + "f")


@given(st.text(max_size=300))
def test_any_text_is_an_address_a_plain_name_or_refused(text: str) -> None:
    try:
        host = parse_host(text)
    except TargetRefusedError:
        return
    if isinstance(host, str):
        assert host.isascii()
        assert not is_local_name(host)
        assert not host.rpartition(".")[2].isdigit()
