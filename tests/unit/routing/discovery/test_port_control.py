"""PCP and NAT-PMP, octet by octet: the forms of the RFCs, and answers that are wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.routing.discovery.port_control import (
    Given,
    RefusedError,
    UnsupportedError,
    pcp_answer,
    pcp_request,
    pmp_address,
    pmp_address_request,
    pmp_answer,
    pmp_request,
)

NONCE = bytes(range(12))
OURS = "00000000000000000000ffffc0a80102"
OUTER = "00000000000000000000ffff05010002"


def pcp(
    *, version: int = 2, code: int = 129, result: int = 0, lifetime: int = 3600, nonce: bytes = NONCE,
    protocol: int = 6, port: int = 4001, outer: int = 40_001, address: str = OUTER,
) -> bytes:  # fmt: skip
    return (
        bytes((version, code, 0, result)) + lifetime.to_bytes(4, "big") + (77).to_bytes(4, "big") + bytes(12)
        + nonce + bytes((protocol, 0, 0, 0)) + port.to_bytes(2, "big") + outer.to_bytes(2, "big")
        + bytes.fromhex(address)
    )  # fmt: skip


def test_a_request_of_pcp_has_the_form_of_the_rfc() -> None:
    anywhere = "00000000000000000000ffff00000000"
    assert pcp_request(NONCE, "192.168.1.2", 4001, 4001, 3600).hex() == (
        "02010000" + "00000e10" + OURS + NONCE.hex() + "06000000" + "0fa1" + "0fa1" + anywhere
    )


def test_requests_of_nat_pmp_have_the_form_of_the_rfc() -> None:
    assert pmp_address_request() == b"\0\0"
    assert pmp_request(4001, 4001, 3600).hex() == "00020000" + "0fa1" + "0fa1" + "00000e10"


def test_what_the_router_gives_is_read() -> None:
    assert pcp_answer(pcp(), NONCE, 4001) == Given("5.1.0.2", 40_001, 3600)
    assert pcp_answer(pcp() + bytes(8), NONCE, 4001) == Given("5.1.0.2", 40_001, 3600)  # with an option
    assert pmp_address(bytes.fromhex("00800000" + "0000004d" + "05010002")) == "5.1.0.2"
    assert pmp_answer(bytes.fromhex("00820000" + "0000004d" + "0fa1" + "9c41" + "00000e10"), 4001) == (
        40_001,
        3600,
    )


@pytest.mark.parametrize(
    "octets", [pcp(nonce=bytes(12)), pcp(port=4002), pcp(protocol=17), pcp(nonce=bytes(12), result=8)]
)
def test_answers_to_others_are_passed_over(octets: bytes) -> None:
    assert pcp_answer(octets, NONCE, 4001) is None


def test_late_answers_of_nat_pmp_to_another_question_are_passed_over() -> None:
    address = bytes.fromhex("00800000" + "0000004d" + "05010002")
    mapped = bytes.fromhex("00820000" + "0000004d" + "0fa2" + "9c41" + "00000e10")
    assert pmp_answer(address, 4001) is None
    assert pmp_answer(mapped, 4001) is None
    assert pmp_address(mapped) is None


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        (b"", RemoteProtocolError),
        (pcp()[:-1], RemoteProtocolError),
        (pcp() + bytes(1100), RemoteProtocolError),
        (pcp(code=1), RemoteProtocolError),
        (pcp(version=3), RemoteProtocolError),
        (pcp(result=8), RefusedError),
        (pcp(result=1), UnsupportedError),
        (bytes.fromhex("0081000100000001"), UnsupportedError),  # of a router that speaks NAT-PMP alone
        (pcp(address="20010db8000000000000000000000001"), RemoteProtocolError),
        (pcp(outer=0), RemoteProtocolError),
    ],
)
def test_wrong_answers_of_pcp(octets: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        pcp_answer(octets, NONCE, 4001)


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        ("00820000", RemoteProtocolError),
        ("00820000" + "0000004d" + "0fa1" + "9c41" + "00000e", RemoteProtocolError),
        ("00820000" + "0000004d" + "0fa1" + "0000" + "00000e10", RemoteProtocolError),
        ("02820000" + "0000004d", UnsupportedError),
        ("00020000" + "0000004d", UnsupportedError),
        ("00820001" + "0000004d", UnsupportedError),
        ("00820002" + "0000004d" + "0fa1" + "0000" + "00000000", RefusedError),
    ],
)
def test_wrong_answers_of_nat_pmp(octets: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        pmp_answer(bytes.fromhex(octets), 4001)


@given(st.binary(max_size=70) | st.binary(max_size=58).map(lambda rest: b"\2\x81" + rest))
def test_any_octets_are_an_answer_or_blame_the_router(octets: bytes) -> None:
    for read in (
        lambda: pcp_answer(octets, NONCE, 4001),
        lambda: pmp_address(octets),
        lambda: pmp_answer(octets, 4001),
    ):
        try:
            read()
        except RemoteProtocolError:
            continue
