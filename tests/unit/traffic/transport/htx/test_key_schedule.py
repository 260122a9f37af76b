import pytest

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.transport.htx.key_schedule import (
    SUITES,
    KeySchedule,
    RecordProtection,
    expand_label,
    finished,
    is_finished,
)
from vigilnet.traffic.transport.htx.wire import MAX_FRAGMENT, Record, RecordReader

SHA256 = SUITES[0x1301]


def test_keys_from_a_secret_are_those_of_rfc_8448() -> None:
    """Section 3, the server's handshake keys; the secrets themselves are proven against OpenSSL and nginx."""
    secret = bytes.fromhex("b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38")
    assert expand_label(SHA256, secret, b"key", b"", 16).hex() == "3fce516009c21727d0f2e4e86ee403bc"
    assert expand_label(SHA256, secret, b"iv", b"", 12).hex() == "5d313eb2671276ee13000b30"


def test_secrets_depend_on_all_they_should() -> None:
    schedules = [KeySchedule(SHA256, shared) for shared in (b"a" * 32, b"b" * 32)]
    secrets = {
        s.traffic_secret(label, digest * 32)
        for s in schedules
        for label in (b"c", b"s")
        for digest in (b"x", b"y")
    }
    schedules[0].advance()
    assert len(secrets | {schedules[0].traffic_secret(b"c", b"x" * 32)}) == 9


@pytest.mark.parametrize("suite", SUITES.values())
def test_records_open_once_in_their_order(suite: object) -> None:
    assert suite in SUITES.values()
    for number in SUITES:
        chosen = SUITES[number]
        sealer, opener = (RecordProtection(chosen, b"s" * chosen.hash_size) for _ in range(2))
        for _ in range(2):
            for data, padding in ((b"", 0), (b"x", 7), (bytes(MAX_FRAGMENT), 0)):
                (record,) = RecordReader().feed(sealer.seal(23, data, padding))
                assert opener.open(record) == (23, data)
            sealer.update()
            opener.update()
        with pytest.raises(RemoteProtocolError):
            opener.open(record)


def test_what_is_no_protected_record_is_refused() -> None:
    protection = RecordProtection(SHA256, bytes(32))
    for record in (
        Record(22, b"\x16\3\3\0\x20", bytes(32)),
        Record(23, b"\x17\3\3\0\x10", bytes(16)),
        Record(23, b"\x17\3\3\0\x20", bytes(32)),
    ):
        with pytest.raises(RemoteProtocolError):
            protection.open(record)
    with pytest.raises(LocalProtocolError):
        protection.seal(23, bytes(MAX_FRAGMENT), 1)


def test_a_finished_is_for_one_transcript() -> None:
    data = finished(SHA256, b"s" * 32, b"t" * 32)
    assert is_finished(SHA256, b"s" * 32, b"t" * 32, data)
    assert not is_finished(SHA256, b"s" * 32, b"u" * 32, data)
