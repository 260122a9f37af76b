import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hellos import NAMES, captured
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.transport.htx.client_hello import (
    ClientHello,
    decode_client_hello,
    encode_key_shares,
    is_grease,
)
from vigilnet.traffic.transport.htx.wire import MAX_HELLO, encode_message

EXTENSIONS = st.lists(
    st.tuples(st.integers(0, 65_535), st.binary(max_size=40)), max_size=10, unique_by=lambda pair: pair[0]
)
HELLOS = st.builds(
    ClientHello,
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=32),
    st.lists(st.integers(0, 65_535), min_size=1, max_size=20).map(tuple),
    st.binary(min_size=1, max_size=3),
    EXTENSIONS.map(tuple),
)


@pytest.mark.parametrize("name", NAMES)
def test_real_hellos_are_read_and_written_back(name: str) -> None:
    for _, hello in captured(name):
        assert decode_client_hello(hello.encode()) == hello
        assert hello.server_name in ("www.example.test", "localhost")


@given(HELLOS)
def test_hellos_survive_a_round_trip(hello: ClientHello) -> None:
    assert decode_client_hello(hello.encode()) == hello


@given(st.binary(max_size=300))
def test_any_octets_are_a_hello_or_blame_the_peer(data: bytes) -> None:
    for octets in (data, encode_message(1, data), encode_message(1, b"\3\3" + data)):
        try:
            hello = decode_client_hello(octets)
            assert hello.key_shares is not None
            assert hello.server_name != ""
        except RemoteProtocolError:
            pass


def test_a_hello_may_be_so_long_and_no_longer() -> None:
    def sized(size: int) -> bytes:
        hello = ClientHello(bytes(32), b"", (1,), b"\0", ((1, b""),))
        return ClientHello(bytes(32), b"", (1,), b"\0", ((1, bytes(size - len(hello.encode()))),)).encode()

    assert len(sized(MAX_HELLO)) == MAX_HELLO
    decode_client_hello(sized(MAX_HELLO))
    with pytest.raises(RemoteProtocolError):
        decode_client_hello(sized(MAX_HELLO + 1))


def test_extensions_and_groups_come_once() -> None:
    with pytest.raises(RemoteProtocolError):
        decode_client_hello(ClientHello(bytes(32), b"", (1,), b"\0", ((1, b""), (1, b""))).encode())
    data = encode_key_shares({29: b"a"})
    twice = (2 * len(data) - 4).to_bytes(2, "big") + 2 * data[2:]
    with pytest.raises(RemoteProtocolError):
        assert ClientHello(bytes(32), b"", (1,), b"\0", ((51, twice),)).key_shares


def test_there_are_sixteen_grease_values() -> None:
    assert [value for value in range(1 << 16) if is_grease(value)] == [0x0A0A + 0x1010 * n for n in range(16)]
