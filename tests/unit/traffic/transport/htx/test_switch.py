import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.vectors import protocol_vectors
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.transport.htx.switch import (
    LAST_OF_CLIENT,
    MAX_PACKET,
    MAX_PLAIN,
    PLAIN_HEAD,
    PacketCounter,
    SwitchKey,
    goodbye,
)
from vigilnet.traffic.transport.htx.wire import Record, RecordReader

KEY = b"k" * 32


def one(data: bytes) -> Record:
    (record,) = RecordReader().feed(data)
    return record


def test_the_first_record_is_that_of_the_vectors() -> None:
    vector = protocol_vectors("htx")[0]
    plain = bytes.fromhex(vector["first_record_plain"])
    octets = plain[PLAIN_HEAD : PLAIN_HEAD + int.from_bytes(plain[1:PLAIN_HEAD], "big")]
    key = bytes.fromhex(vector["switch_key_client_to_server"])
    sealed = SwitchKey(key).seal(octets, len(plain))
    assert sealed.hex() == vector["first_record"]
    assert SwitchKey(key).open(one(sealed)) == (0, octets, b"")


@given(st.lists(st.tuples(st.binary(max_size=200), st.integers(0, 300)), max_size=5))
def test_records_open_in_their_order(pieces: list[tuple[bytes, int]]) -> None:
    sealer, opener = SwitchKey(KEY), SwitchKey(KEY)
    for octets, size in pieces:
        record = one(sealer.seal(octets, size))
        assert len(record.fragment) == max(size, len(octets) + PLAIN_HEAD) + 16
        assert opener.open(record) == (0, octets, b"")


def test_a_foreign_record_changes_nothing() -> None:
    sealer, opener = SwitchKey(KEY), SwitchKey(KEY)
    assert opener.open(one(b"\x17\3\3\0\x20" + bytes(32))) is None
    assert opener.open(one(sealer.seal(b"a"))) == (0, b"a", b"")


@pytest.mark.parametrize("plain", [b"", b"\0\0", b"\4\0\0", b"\0\0\2a", b"\0\0\1ab"])
def test_a_plaintext_not_of_its_form_is_the_other_end_s_fault(plain: bytes) -> None:
    sealer = SwitchKey(KEY)
    header = b"\x17\3\3" + (len(plain) + 16).to_bytes(2, "big")
    sealed = header + sealer._aead.encrypt(bytes(12), plain, header)
    with pytest.raises(RemoteProtocolError):
        SwitchKey(KEY).open(one(sealed))


def test_a_record_holds_so_much_and_no_more() -> None:
    one(SwitchKey(KEY).seal(bytes(MAX_PLAIN - PLAIN_HEAD)))
    with pytest.raises(LocalProtocolError):
        SwitchKey(KEY).seal(bytes(MAX_PLAIN - PLAIN_HEAD + 1))


@given(st.integers(1, 40))
def test_the_last_packet_is_seen_however_it_is_cut(step: int) -> None:
    stream = b"\0\5\1abcd" + b"\0\1\2" + b"\0\3\4xy"
    counter = PacketCounter(LAST_OF_CLIENT)
    for at in range(0, len(stream), step):
        assert not counter.is_done
        counter.feed(stream[at : at + step])
    assert counter.is_done
    counter.feed(b"")
    with pytest.raises(RemoteProtocolError):
        counter.feed(b"x")


@pytest.mark.parametrize("size", [0, MAX_PACKET + 1])
def test_a_packet_has_its_bounds(size: int) -> None:
    with pytest.raises(RemoteProtocolError):
        PacketCounter(4).feed(size.to_bytes(2, "big") + b"\1")
    counter = PacketCounter(4)
    counter.feed(MAX_PACKET.to_bytes(2, "big") + b"\4" + bytes(MAX_PACKET - 1))
    assert counter.is_done


def test_a_goodbye_has_a_close_notify_s_size() -> None:
    assert len(goodbye(bytes(19))) == 24
    assert one(goodbye(bytes(19))).kind == 23
