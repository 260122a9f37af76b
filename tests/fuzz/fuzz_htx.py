"""Fuzz targets of HTX: records, hellos, the authenticator, what servers say, templates."""

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.ech import fixed_keys, fixed_offer
from tests.support.hellos import FOLDER, NAMES, captured, template_of
from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.traffic.transport.htx import wire
from vigilnet.traffic.transport.htx.acme_visits import is_acme_visit
from vigilnet.traffic.transport.htx.authenticator import Authenticator, Stamp, decode_stamp, seal_session_id
from vigilnet.traffic.transport.htx.client_hello import decode_client_hello
from vigilnet.traffic.transport.htx.ech import decode_configs
from vigilnet.traffic.transport.htx.fingerprint import ja4
from vigilnet.traffic.transport.htx.hello import build, build_retry
from vigilnet.traffic.transport.htx.page import PageFetch
from vigilnet.traffic.transport.htx.relay_session import RelaySession
from vigilnet.traffic.transport.htx.schedule import Step, decode_plan, encode_plan
from vigilnet.traffic.transport.htx.shaping import Profile, Shaper
from vigilnet.traffic.transport.htx.switch import PacketCounter, SwitchKey
from vigilnet.traffic.transport.htx.templates import format_template, parse_template
from vigilnet.traffic.transport.htx.tls13 import TlsClient

KEY = bytes(range(32))
RELAY = X25519PrivateKey.from_private_bytes(b"r" * 32)
AUTHENTICATOR = Authenticator(lambda: (RELAY,))
FIRST = build(template_of("chromium"), "www.example.test", os.urandom)


def _records(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        reader = wire.RecordReader()
        found = reader.feed(data)
        assert b"".join(r.header + r.fragment for r in found) + reader.leftover == data


def _messages(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        reader = wire.MessageReader()
        reader.feed(data)
        while reader.next() is not None:
            pass


def _hello(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        hello = decode_client_hello(data)
        assert hello.encode() == data
        _ = hello.key_shares, hello.server_name, ja4(hello)


def _authenticator(data: bytes) -> None:
    AUTHENTICATOR.judge(data, 1e9, 0.0)


def _stamp(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        assert decode_stamp(data).encode() == data


def _page(data: bytes) -> None:
    for alpn in (b"h2", b""):
        with contextlib.suppress(RemoteProtocolError):
            page = PageFetch("www.example.test", alpn, "chromium", "")
            page.receive(data)
            page.data_to_send()


def _server_hello(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        hello = wire.decode_server_hello(data)
        if hello.is_retry:
            build_retry(FIRST, hello.share_group, hello.cookie)


def _server_says(data: bytes) -> None:
    decoders: tuple[Callable[[bytes], object], ...] = (
        wire.decode_encrypted_extensions,
        wire.decode_alpn,
        wire.decode_certificate,
        wire.decode_compressed_certificate,
        wire.decode_certificate_verify,
        wire.check_new_session_ticket,
        wire.decode_key_update,
        wire.decode_alert,
    )
    with contextlib.suppress(RemoteProtocolError):
        decoders[data[0] % len(decoders) if data else 0](data[1:])


def _template(data: bytes) -> None:
    with contextlib.suppress(ConfigurationError):
        parse_template(data.decode("latin-1"), "fuzz")


def _stamped() -> bytes:
    shared = FIRST.keys.authenticating.exchange(RELAY.public_key())
    sealed = seal_session_id(
        shared, FIRST.hello.random, FIRST.hello.encode(), Stamp(10**9, bytes(8)).encode()
    )
    return FIRST.with_session_id(sealed).hello.encode()


def _switch(data: bytes) -> None:
    """What whoever holds the switch key may put inside, and what others send."""
    with contextlib.suppress(RemoteProtocolError):
        sealer, opener, counter = SwitchKey(KEY), SwitchKey(KEY), PacketCounter(4)
        plain = data[:16_000]
        header = b"\x17\3\3" + (len(plain) + 16).to_bytes(2, "big")
        sealed = sealer._aead.encrypt(bytes(12), plain, header)
        opened = opener.open(wire.Record(23, header, sealed))
        assert opened is not None
        counter.feed(opened.octets)
    assert SwitchKey(KEY).open(wire.Record(23, data[:5], data[5:])) is None


def _plan(data: bytes) -> None:
    """What a relay tells its client to send, whole and in pieces."""
    with contextlib.suppress(RemoteProtocolError):
        steps, size, goes_on = decode_plan(data)
        assert encode_plan(steps, goes_on=goes_on) == data[:size]
    shaper = Shaper(Profile.REPLAY, bytes, 0.0, is_client=True)
    with contextlib.suppress(RemoteProtocolError):
        for at in range(0, len(data), 50):
            shaper.plan_received(data[at : at + 50])
    shaper.received(3, 0.0)
    for _ in range(10):
        assert 0 <= shaper.next_record(1.0, 100) <= 16_401


def _said(who: int, octets: bytes) -> bytes:
    """One piece of a session: by the client (0) or the origin (1)."""
    return bytes((who,)) + len(octets).to_bytes(2, "big") + octets


def _session(data: bytes) -> None:
    """A relay's connection, in pieces as `_said` writes them."""
    session = RelaySession(Authenticator(lambda: (RELAY,)))  # one of its own: a seed is no replay
    client, origin = bytearray(), bytearray()
    at = 0
    while at + 3 <= len(data):
        piece = data[at + 3 : at + 3 + int.from_bytes(data[at + 1 : at + 3], "big")]
        if data[at] % 2:
            session.origin_data(piece)
            origin += piece
        else:
            session.client_data(piece)
            session.judge(1e9, 0.0)
            client += piece
        at += 3 + len(piece)
    session.client_ended()
    assert session.to_origin == client
    assert session.to_client == origin


def _tls_client(data: bytes) -> None:
    """What an origin may answer to our hello."""
    client = TlsClient(FIRST, lambda _: None)
    with contextlib.suppress(RemoteProtocolError):
        client.receive(data)
    client.data_to_send()


def _tls_client_ech(data: bytes) -> None:
    """What an origin may answer to a hello with another one inside; also asked for once more."""
    with fixed_keys():
        client = TlsClient(_ECH_OFFER[0], lambda _: None, _ECH_OFFER[1])
        with contextlib.suppress(RemoteProtocolError):
            client.receive(data)
        client.data_to_send()


def _acme_visit(data: bytes) -> None:
    if data:
        assert is_acme_visit(data) in (True, False, None)


def _ech_configs(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        for config in decode_configs(data):
            assert len(config.public_key) == 32
            assert config.aeads


TARGETS: dict[str, Callable[[bytes], None]] = {
    "records": _records,
    "messages": _messages,
    "hello": _hello,
    "ech_configs": _ech_configs,
    "authenticator": _authenticator,
    "stamp": _stamp,
    "server_hello": _server_hello,
    "server_says": _server_says,
    "template": _template,
    "switch": _switch,
    "plan": _plan,
    "session": _session,
    "tls_client": _tls_client,
    "tls_client_ech": _tls_client_ech,
    "acme_visit": _acme_visit,
    "page": _page,
}

_HELLOS = [hello.encode() for name in NAMES for _, hello in captured(name)[:1]]
_SERVER = b"\3\3%s\0\x13\1\0\0\x14\0\x2b\0\2\3\4\0\x33\0\2\0\x17\0\x2c\0\4\0\2ab"

_STAMPED_RECORD = wire.encode_record(22, _stamped())
_ANSWER = wire.encode_record(22, wire.encode_message(2, _SERVER % bytes(32)))
_SHARE = b"\3\3" + bytes(33) + b"\x13\1\0\0\x2e\0\x2b\0\2\3\4\0\x33\0\x24\0\x1d\0\x20" + bytes(32)
_GOOD_ANSWER = wire.encode_record(22, wire.encode_message(2, _SHARE))
_ANOTHER_PLEASE = wire.encode_record(22, wire.encode_message(2, _SERVER % wire.RETRY_RANDOM))

_ECH_VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ech" / "handshakes.json").read_text())[
    "vectors"
]
_ECH_RETRIED = next(vector for vector in _ECH_VECTORS if vector["kind"])
_ECH_OFFER = fixed_offer(_ECH_RETRIED["template"], decode_configs(bytes.fromhex(_ECH_RETRIED["configs"]))[0])

SEEDS: dict[str, list[bytes]] = {
    "ech_configs": [bytes.fromhex(v["configs"]) for v in _ECH_VECTORS],
    "records": [path.read_bytes() for path in sorted(FOLDER.glob("*.0.bin"))],
    "messages": [wire.encode_message(8, b"abc") + wire.encode_message(20, bytes(32))],
    "hello": _HELLOS,
    "authenticator": [*_HELLOS, _stamped()],
    "stamp": [Stamp(1, bytes(8)).encode()],
    "server_hello": [_SERVER % bytes(32), _SERVER % wire.RETRY_RANDOM],
    "server_says": [
        b"\0\0\7\0\x10\0\3\0\1\x68",
        b"\1\0\3\2h2",
        b"\2\0\0\0\6\0\0\1x\0\0",
        b"\3\0\2\0\0\x10\0\0\1x",
        b"\4\4\3\0\2ab",
        b"\5\0\0\1\0\0\0\0\0\1a\0\1t\0\0",
    ],
    "switch": [b"\0\0\4\0\2\4x" + bytes(9), b"\0\0\0", b"\2\0\1x\0\2ab" + bytes(9)],
    "plan": [encode_plan([Step(3, 0.001, 26), Step(9, 0.0, 114)]) * 2],
    "session": [
        _said(0, _STAMPED_RECORD),
        _said(0, _STAMPED_RECORD) + _said(1, _GOOD_ANSWER) + _said(0, wire.encode_record(23, bytes(60))),
        _said(0, _STAMPED_RECORD)
        + _said(1, _ANOTHER_PLEASE)
        + _said(0, _STAMPED_RECORD)
        + _said(1, _GOOD_ANSWER)
        + _said(0, wire.encode_record(23, bytes(60))),
        _said(0, b"GET / HTTP/1.1\r\n\r\n"),
    ],
    "tls_client": [
        _ANSWER,
        _ANOTHER_PLEASE,
        wire.encode_record(21, b"\2\x28"),
    ],
    "tls_client_ech": [bytes.fromhex(_ECH_RETRIED["server"])],
    "acme_visit": [wire.encode_record(22, hello) for hello in _HELLOS],
    "page": [
        b"\0\0\0\4\0\0\0\0\0" + b"\0\0\5\1\4\0\0\0\1\x88\x61\2\x30\x31" + b"\0\0\1\0\1\0\0\0\1a",
        b"HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 1\r\n\r\na",
    ],
    "template": [format_template(template_of("curl"), "2000-01-01").encode()],
}
