"""Both ends of a Shadowsocks stream in memory."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.deterministic import counted_bytes
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.transport.shadowsocks import stream
from vigilnet.traffic.transport.shadowsocks.methods import METHODS, Secret, new_password, secret_from
from vigilnet.traffic.transport.shadowsocks.stream import (
    MAX_SKEW_S,
    ClientStream,
    SeenSalts,
    ServerStream,
    decode_target,
    encode_target,
)

ROOT = Path(__file__).parents[5]
VECTORS: list[dict[str, Any]] = json.loads((ROOT / "tests/vectors/shadowsocks/streams.json").read_text())[
    "vectors"
]
NOW = 1.8e9
TARGET = ("a.example", 443)
FIRST, SECOND, ANSWER = b"first octets", b"x" * 300, b"the answer"


def secret_of(name: str) -> Secret:
    return secret_from(name, new_password(name, lambda size: bytes(range(size))))


def pair(name: str, salts: SeenSalts | None = None) -> tuple[ClientStream, ServerStream]:
    secret = secret_of(name)
    client = ClientStream(secret, TARGET, counted_bytes())
    return client, ServerStream(secret, salts or SeenSalts(), counted_bytes("1"))


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["method"])
def test_streams_are_those_of_the_protocol(vector: dict[str, Any]) -> None:
    secret = secret_from(vector["method"], vector["password"])
    size = secret.method.key_size
    client = ClientStream(secret, TARGET, lambda count: bytes(range(count)))
    sent = client.send(FIRST, NOW) + client.send(SECOND, NOW)
    assert sent.hex() == vector["client"]
    server = ServerStream(secret, SeenSalts(), lambda count: bytes(range(100, 100 + count)))
    assert b"".join(server.receive(sent, NOW)) == FIRST + SECOND
    assert server.target == TARGET
    answered = server.send(ANSWER, NOW) + server.send(SECOND, NOW)
    assert answered.hex() == vector["server"]
    assert b"".join(client.receive(answered, NOW)) == ANSWER + SECOND
    assert size in (16, 32)


@pytest.mark.parametrize("name", METHODS)
@settings(deadline=None, max_examples=15)
@given(
    up=st.lists(st.integers(0, 70_000), min_size=1, max_size=4),
    down=st.lists(st.integers(0, 70_000), max_size=4),
    piece=st.integers(1, 9_000),
)
def test_octets_come_out_as_they_went_in(name: str, up: list[int], down: list[int], piece: int) -> None:
    client, server = pair(name)
    out = [bytes((n % 251,)) * size for n, size in enumerate(up)]
    back = [bytes((n % 249,)) * size for n, size in enumerate(down)]
    wire = b"".join(client.send(data, NOW) for data in out)
    got = [plain for at in range(0, len(wire), piece) for plain in server.receive(wire[at : at + piece], NOW)]
    assert b"".join(got) == b"".join(out)
    assert server.target == TARGET
    wire = b"".join(server.send(data, NOW) for data in back)
    got = [plain for at in range(0, len(wire), piece) for plain in client.receive(wire[at : at + piece], NOW)]
    assert b"".join(got) == b"".join(back)


@pytest.mark.parametrize("name", METHODS)
def test_any_flipped_octet_is_blamed_on_the_other_end(name: str) -> None:
    client, _ = pair(name)
    wire = client.send(b"hello", NOW)
    for at in range(0, len(wire), 5):
        _, server = pair(name)
        broken = bytearray(wire)
        broken[at] ^= 1
        with pytest.raises(RemoteProtocolError):
            server.receive(bytes(broken), NOW)
        with pytest.raises(RemoteProtocolError, match="behind a fault"):
            server.receive(b"x", NOW)


@pytest.mark.parametrize("name", METHODS)
def test_a_recorded_beginning_is_not_taken_again(name: str) -> None:
    salts = SeenSalts()
    client, server = pair(name, salts)
    wire = client.send(b"hello", NOW)
    server.receive(wire, NOW)
    _, again = pair(name, salts)
    with pytest.raises(RemoteProtocolError, match="seen before"):
        again.receive(wire, NOW)


def test_beginnings_of_2022_are_taken_only_at_their_time() -> None:
    for shift, is_good in ((MAX_SKEW_S, True), (-MAX_SKEW_S, True), (31, False), (-31, False)):
        client, server = pair("2022-blake3-aes-256-gcm")
        wire = client.send(b"hello", NOW)
        if is_good:
            assert server.receive(wire, NOW + shift) == [b"hello"]
        else:
            with pytest.raises(RemoteProtocolError, match="clocks differ"):
                server.receive(wire, NOW + shift)


def test_an_answer_to_another_connection_is_refused() -> None:
    first, server = pair("2022-blake3-aes-256-gcm")
    server.receive(first.send(b"hello", NOW), NOW)
    other = ClientStream(secret_of("2022-blake3-aes-256-gcm"), TARGET, counted_bytes("9"))
    other.send(b"hello", NOW)
    with pytest.raises(RemoteProtocolError, match="somebody else"):
        other.receive(server.send(b"hi", NOW), NOW)


def test_a_client_that_says_nothing_at_first_sends_padding() -> None:
    client, server = pair("2022-blake3-aes-128-gcm")
    assert server.receive(client.send(b"", NOW), NOW) == []
    assert server.target == TARGET
    assert server.receive(client.send(b"later", NOW), NOW) == [b"later"]


def test_a_server_does_not_answer_before_it_knows_the_client() -> None:
    _, server = pair("aes-256-gcm")
    with pytest.raises(LocalProtocolError):
        server.send(b"x", NOW)


def test_salts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_SALTS", 3)
    timed = SeenSalts()
    assert all(timed.add(bytes((n,)), NOW, is_timed=True) for n in range(3))
    assert not timed.add(b"new", NOW + 60, is_timed=True)  # fails closed
    assert timed.add(b"new", NOW + 61, is_timed=True)
    untimed = SeenSalts()
    assert all(untimed.add(bytes((n,)), NOW, is_timed=False) for n in range(4))
    assert untimed.add(b"\0", NOW, is_timed=False)  # forgotten
    assert not untimed.add(b"\3", NOW, is_timed=False)


@pytest.mark.parametrize(
    ("host", "port"), [("192.0.2.1", 1), ("2001:db8::1", 65_535), ("a.example", 80), ("x" * 255, 9)]
)
def test_targets_come_back(host: str, port: int) -> None:
    encoded = encode_target(host, port)
    assert decode_target(encoded + b"rest") == ((host, port), len(encoded))
    assert all(decode_target(encoded[:size]) is None for size in range(len(encoded)))


@pytest.mark.parametrize(("host", "port"), [("", 1), ("x" * 256, 1), ("a.example", 0), ("a.example", 65_536)])
def test_what_is_no_target_is_our_own_bug(host: str, port: int) -> None:
    with pytest.raises(LocalProtocolError):
        encode_target(host, port)


@given(st.binary(max_size=40))
def test_any_octets_are_a_target_or_blamed(data: bytes) -> None:
    try:
        found = decode_target(data)
    except RemoteProtocolError:
        return
    assert found is None or found[1] <= len(data)
