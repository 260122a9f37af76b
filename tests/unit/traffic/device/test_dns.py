"""DNS as applications speak it; answers are checked by dnspython, which read the RFCs, too."""

from contextlib import suppress

import dns.flags
import dns.message
import dns.rdatatype
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.device import dns as ours
from vigilnet.traffic.stream.messages import ResourceRecord

# RFC 1035 4.1 by hand: id 0x1234, RD, one question www.example.org A IN.
GOLDEN = bytes.fromhex("12340100000100000000000003777777076578616d706c65036f72670000010001")


def query(name: str, kind: str = "A", **more: object) -> bytes:
    return dns.message.make_query(name, kind, **more).to_wire()  # type: ignore[arg-type]


def test_a_plain_query_is_read() -> None:
    question = ours.Question.decode(GOLDEN)
    assert (question.identifier, question.name, question.kind) == (0x1234, "www.example.org", ours.A)
    assert (question.has_edns, question.max_udp) == (False, 512)


@pytest.mark.parametrize(("asked", "granted"), [(100, 512), (512, 512), (1232, 1232), (4096, 1232)])
def test_edns_says_how_much_the_asker_takes_within_our_bounds(asked: int, granted: int) -> None:
    question = ours.Question.decode(query("example.org", use_edns=0, payload=asked))
    assert (question.has_edns, question.max_udp) == (True, granted)


@pytest.mark.parametrize("kind", ["A", "AAAA", "MX", "TXT", "HTTPS", "PTR"])
def test_an_answer_is_what_the_asker_expects(kind: str) -> None:
    texts = {
        "A": "192.0.2.1", "AAAA": "2001:db8::1", "MX": "10 mail.example.org.", "TXT": '"hello"',
        "HTTPS": '1 . alpn="h2"', "PTR": "host.example.org.",
    }  # fmt: skip
    asked = dns.message.make_query("Example.org", kind)
    rdata = dns.rdata.from_text("IN", kind, texts[kind])
    record = ResourceRecord(int(rdata.rdtype), 300, rdata.to_wire() or b"")
    said = ours.reply(ours.Question.decode(asked.to_wire()), 0, (record,), limit=1232)
    answer = dns.message.from_wire(said)
    assert asked.is_response(answer)
    assert answer.answer[0].to_text() == f"Example.org. 300 IN {kind} {texts[kind]}"
    assert answer.flags & dns.flags.RA


def test_what_does_not_fit_into_a_datagram_is_left_out_and_said_so() -> None:
    question = ours.Question.decode(GOLDEN)
    records = tuple(ResourceRecord(ours.A, 60, bytes([192, 0, 2, number])) for number in range(200))
    answer = dns.message.from_wire(ours.reply(question, 0, records, limit=512))
    assert answer.flags & dns.flags.TC
    assert len(ours.reply(question, 0, records, limit=512)) <= 512
    whole = dns.message.from_wire(ours.reply(question, 0, records, limit=65_535))
    assert not whole.flags & dns.flags.TC
    assert len(whole.answer[0]) == 200


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        GOLDEN[:11],
        GOLDEN[:-1],
        GOLDEN[:2] + b"\x81" + GOLDEN[3:],  # an answer
        GOLDEN[:5] + b"\x02" + GOLDEN[6:],  # two questions
        GOLDEN[:12] + b"\xc0\x0c" + GOLDEN[-4:],  # a name that points to itself
        GOLDEN[:-2] + b"\x00\x03",  # class CHAOS
        GOLDEN + bytes(ours.MAX_QUESTION),
    ],
)
def test_what_is_no_plain_question_is_refused(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        ours.Question.decode(octets)


def test_a_refusal_repeats_the_number_and_nothing_else() -> None:
    assert ours.refusal(GOLDEN, ours.FORMERR) == bytes.fromhex("123480810000000000000000")
    assert ours.refusal(GOLDEN[:5], ours.FORMERR) == b""
    assert ours.refusal(GOLDEN[:2] + b"\x80" + GOLDEN[3:], ours.FORMERR) == b""  # never to an answer


@pytest.mark.parametrize(
    ("name", "rcode"),
    [("localhost", 0), ("a.localhost", 0), ("printer", 3), ("printer.local", 3), ("x.onion", 3)],
)
def test_names_of_this_machine_and_network_never_leave(name: str, rcode: int) -> None:
    here = ours.local_answer(ours.Question.decode(query(name)))
    assert here is not None
    assert here[0] == rcode


def test_other_names_are_not_answered_here() -> None:
    assert ours.local_answer(ours.Question.decode(query("example.org"))) is None


def test_addresses_of_an_answer_are_found_behind_an_alias() -> None:
    message = dns.message.make_response(dns.message.make_query("www.example.org", "A"))
    message.answer.append(dns.rrset.from_text("www.example.org.", 300, "IN", "CNAME", "host.example.net."))
    message.answer.append(dns.rrset.from_text("host.example.net.", 60, "IN", "A", "192.0.2.1", "192.0.2.2"))
    name, addresses, ttl = ours.answered_addresses(message.to_wire())
    assert (name, sorted(addresses), ttl) == ("www.example.org", ["192.0.2.1", "192.0.2.2"], 60)


def test_a_name_is_known_by_its_address_while_the_answer_lives() -> None:
    memory = ours.NameMemory()
    memory.learn("example.org", ["192.0.2.1"], until=10.0)
    assert memory.name_of("192.0.2.1", 9.0) == "example.org"
    assert memory.name_of("192.0.2.1", 10.0) == ""
    assert memory.name_of("192.0.2.2", 9.0) == ""


def test_an_address_of_two_names_stands_for_neither() -> None:
    memory = ours.NameMemory()
    memory.learn("example.org", ["192.0.2.1"], until=10.0)
    memory.learn("example.net", ["192.0.2.1"], until=10.0)
    assert memory.name_of("192.0.2.1", 1.0) == ""


def test_memory_of_names_is_bounded() -> None:
    memory = ours.NameMemory()
    for number in range(ours.MAX_NAMES + 1):
        memory.learn("example.org", [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"], until=10.0)
    assert memory.name_of("10.0.0.0", 1.0) == ""
    assert memory.name_of("10.0.0.1", 1.0) == "example.org"


@given(st.binary(max_size=120) | st.binary(max_size=60).map(lambda tail: GOLDEN + tail))
def test_any_octets_are_read_or_blamed_on_their_sender(octets: bytes) -> None:
    for decode in (ours.Question.decode, ours.answered_addresses):
        with suppress(RemoteProtocolError):
            decode(octets)
