import os

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.hellos import template_of
from vigilnet.traffic.transport.htx.authenticator import (
    Authenticator,
    Stamp,
    binding_of,
    seal_session_id,
    switch_keys,
)
from vigilnet.traffic.transport.htx.hello import BuiltHello, build
from vigilnet.traffic.transport.htx.relay_session import MAX_TRIES, RelaySession, SessionState
from vigilnet.traffic.transport.htx.switch import SwitchKey
from vigilnet.traffic.transport.htx.wire import RETRY_RANDOM, encode_message, encode_record

RELAY = X25519PrivateKey.from_private_bytes(b"r" * 32)
WALL = 1.8e9
SERVER_HELLO = encode_message(2, b"\3\3" + bytes(32) + b"\0\x13\1\0\0\x0f\0\x2b\0\2\3\4\0\x33\0\5\0\x1d\0\1x")
RETRY = encode_message(2, b"\3\3" + RETRY_RANDOM + b"\0\x13\1\0\0\x0c\0\x2b\0\2\3\4\0\x33\0\2\0\x18")
SECOND = encode_message(1, b"what the client says then")
ALIEN = encode_record(23, bytes(40))


def client(name: str = "chromium") -> tuple[BuiltHello, bytes]:
    built = build(template_of(name), "www.example.test", os.urandom)
    shared = built.keys.authenticating.exchange(RELAY.public_key())
    stamp = Stamp(int(WALL), bytes(8)).encode()
    sealed = seal_session_id(shared, built.hello.random, built.hello.encode(), stamp)
    return built.with_session_id(sealed), shared


def session() -> RelaySession:
    return RelaySession(Authenticator(lambda: (RELAY,)))


def say(one: RelaySession, data: bytes) -> None:
    """Give octets of the client, as the listener does."""
    one.client_data(data)
    one.judge(WALL, 0.0)


def watched() -> tuple[RelaySession, SwitchKey]:
    """A session whose hellos have passed, and the client's key."""
    built, shared = client()
    hello, one = built.hello.encode(), session()
    say(one, encode_record(22, hello))
    assert one.state is SessionState.WATCHING
    one.origin_data(encode_record(22, SERVER_HELLO))
    one.to_origin.clear()
    one.to_client.clear()
    return one, SwitchKey(switch_keys(shared, binding_of(hello, SERVER_HELLO))[0])


def test_a_client_of_ours_switches_at_its_first_record_that_opens() -> None:
    one, key = watched()
    say(one, encode_record(20, b"\1") + ALIEN)
    assert bytes(one.to_origin) == encode_record(20, b"\1") + ALIEN
    first, rest = key.seal(b"packet"), ALIEN + b"\x17\3"
    say(one, first[:7])
    say(one, first[7:] + rest)
    assert one.is_switched
    assert one.first.octets == b"packet"
    assert [record.header + record.fragment for record in one.rest] == [ALIEN]
    assert one.leftover == b"\x17\3"
    assert bytes(one.to_origin) == encode_record(20, b"\1") + ALIEN


def test_a_hello_in_many_records_is_one_all_the_same() -> None:
    built, _ = client()
    hello, one = built.hello.encode(), session()
    stream = b"".join(encode_record(22, hello[at : at + 300]) for at in range(0, len(hello), 300))
    for at in range(0, len(stream), 77):
        say(one, stream[at : at + 77])
    assert one.state is SessionState.WATCHING
    assert bytes(one.to_origin) == stream


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_what_is_no_hello_of_ours_goes_on_octet_for_octet(pieces: list[bytes]) -> None:
    one = session()
    for piece in pieces:
        say(one, piece)
        one.origin_data(piece)
    assert bytes(one.to_origin) == b"".join(pieces) == bytes(one.to_client)


@settings(max_examples=30)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=8), st.integers(0, 3))
def test_a_watched_connection_that_does_not_switch_loses_nothing(steps: list[int], records: int) -> None:
    one, _ = watched()
    stream = ALIEN * records + encode_record(20, b"\1") + ALIEN * 3 + b"\x16\3\3\0\5abc"
    at = 0
    for step in [*steps, len(stream)]:
        say(one, stream[at : at + step])
        one.origin_data(stream[at : at + step])
        at += step
    one.client_ended()
    assert one.state is SessionState.PLAIN
    assert bytes(one.to_origin) == stream == bytes(one.to_client)


def test_only_so_many_records_are_tried() -> None:
    one, key = watched()
    say(one, ALIEN * (MAX_TRIES - 1))
    say(one, key.seal(b"in time"))
    assert one.is_switched
    one, key = watched()
    say(one, ALIEN * MAX_TRIES + key.seal(b"too late"))
    assert one.state is SessionState.PLAIN


@pytest.mark.parametrize(
    "answer",
    [
        encode_record(21, b"\2\x28"),
        encode_record(22, encode_message(2, b"\3\3" + bytes(32) + b"\0\xc0\x2f\0")),
        encode_record(22, encode_message(2, b"nonsense")),
        encode_record(22, encode_message(11, b"\0")),
        encode_record(23, b"x"),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
def test_any_other_answer_of_the_origin_makes_it_a_splice_for_ever(answer: bytes) -> None:
    built, _ = client()
    one = session()
    say(one, encode_record(22, built.hello.encode()))
    one.origin_data(answer + b"more")
    assert one.state is SessionState.PLAIN
    assert bytes(one.to_client) == answer + b"more"
    say(one, b"any octets")
    assert bytes(one.to_origin).endswith(b"any octets")


def retried() -> tuple[RelaySession, bytes, bytes]:
    """A session whose origin has asked for another hello: with the hello and the secret."""
    built, shared = client()
    hello, one = built.hello.encode(), session()
    say(one, encode_record(22, hello))
    one.origin_data(encode_record(22, RETRY) + encode_record(20, b"\1"))
    assert one.state is SessionState.WATCHING
    return one, hello, shared


def test_the_switch_is_bound_to_both_hellos_and_what_asked_for_the_second() -> None:
    one, hello, shared = retried()
    say(one, encode_record(20, b"\1") + encode_record(22, SECOND[:9]) + encode_record(22, SECOND[9:]))
    one.origin_data(encode_record(22, SERVER_HELLO))
    bound = binding_of(hello + RETRY + SECOND, SERVER_HELLO)
    assert one.binding == bound
    say(one, ALIEN + SwitchKey(switch_keys(shared, bound)[0]).seal(b"packet"))
    assert one.is_switched
    assert one.first.octets == b"packet"
    stream = encode_record(22, hello) + encode_record(20, b"\1") + encode_record(22, SECOND[:9])
    assert bytes(one.to_origin) == stream + encode_record(22, SECOND[9:]) + ALIEN


@pytest.mark.parametrize(
    "said",
    [
        ALIEN,
        encode_record(21, b"\2\x28"),
        encode_record(22, encode_message(20, bytes(32))),
        encode_record(22, encode_message(1, b"x") + b"\1"),
        encode_record(22, b"\1\xff\xff\xff"),
    ],
)
def test_whatever_comes_in_place_of_the_second_hello_goes_on(said: bytes) -> None:
    one, hello, _ = retried()
    say(one, said + ALIEN + b"\x17\3")
    assert one.state is SessionState.PLAIN
    assert bytes(one.to_origin) == encode_record(22, hello) + said + ALIEN + b"\x17\3"


def test_an_origin_that_asks_twice_or_does_not_wait_is_spliced() -> None:
    one, _, _ = retried()
    one.origin_data(encode_record(22, SERVER_HELLO))
    assert one.state is SessionState.PLAIN
    one, _, _ = retried()
    say(one, encode_record(22, SECOND))
    one.origin_data(encode_record(22, RETRY))
    assert one.state is SessionState.PLAIN


def test_octets_behind_the_hello_that_are_no_record_yet_spoil_it() -> None:
    """They went to the origin already: a switch could fall inside that record."""
    built, _ = client()
    one = session()
    say(one, encode_record(22, built.hello.encode()) + b"\x14\3")
    assert one.state is SessionState.PLAIN


def test_a_record_of_ours_that_is_malformed_switches_to_say_no() -> None:
    one, key = watched()
    header = b"\x17\3\3\0\x13"
    say(one, header + key._aead.encrypt(bytes(12), b"\4\0\0", header))
    assert one.is_switched
    assert one.is_faulty


def test_the_origin_s_records_are_counted_behind_the_switch() -> None:
    one, key = watched()
    say(one, key.seal(b""))
    assert one.origin_data(ALIEN * 2 + ALIEN[:9]) == 2
    assert bytes(one.to_client) == ALIEN * 2
    assert one.origin_data(ALIEN[9:]) == 1


def test_what_the_origin_sends_between_finished_and_the_switch_is_counted_too() -> None:
    """Else a relay learns that the origin sends nothing, and cuts it off the next time."""
    one, key = watched()
    assert one.origin_data(ALIEN) == 0
    say(one, ALIEN)  # Finished
    assert one.origin_data(ALIEN * 3) == 3
    say(one, key.seal(b""))
    assert one.is_switched
