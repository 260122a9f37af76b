"""Fuzz targets of the discovery room: texts and octets from strangers parse, or blame who wrote them."""

from collections.abc import Callable

from tests.support.gossip_frames import EXAMPLES, RECORD
from tests.support.gossip_network import GossipNetwork
from tests.support.records import RecordMaker
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.peer.identity import Identity
from vigilnet.peer.sources import Source
from vigilnet.routing.discovery import dht_worker, introduction, wire
from vigilnet.routing.discovery.beacon import Datagram, Kind, decode_datagram
from vigilnet.routing.discovery.dht import Lookup
from vigilnet.routing.discovery.dht_worker import Done, FrameReader, Ready, Refused, Value
from vigilnet.routing.discovery.directory import AnswerReader, Fetch, parse_request
from vigilnet.routing.discovery.introducer import Introducer
from vigilnet.routing.discovery.invite import format_invite, parse_invite, split_secret
from vigilnet.routing.discovery.mdns import record_from_txt, record_to_txt
from vigilnet.routing.discovery.welcome import format_welcome, parse_welcome


def _swallow(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        try:
            target(data)
        except RemoteProtocolError:
            return

    return run


def _invite(data: bytes) -> None:
    text = data.decode("latin-1")
    invite, secret = split_secret(text)
    if format_invite(parse_invite(invite), secret)[9:] != text.strip()[9:]:
        raise AssertionError("one record, two invites")


def _frame(data: bytes) -> None:
    frame = wire.decode_frame(data)
    if isinstance(frame, wire.Items):
        for item in frame.items:
            if item.type is wire.ItemType.PROOF:
                wire.decode_proof(item.octets)
    elif wire.encode_frame(frame) != data[: 3 + int.from_bytes(data[1:3], "big")]:
        raise AssertionError("one frame, two encodings")


def _received(data: bytes) -> None:
    """Whatever a neighbour says, a relay goes on, and says no more than it may."""
    net = GossipNetwork()
    node = net.add("relay")
    net.give(node, RecordMaker("friend").record(int(net.wall)))
    net.run(2.0)
    for name in ("talker", "listener"):
        node.gossip.join(name.encode().ljust(32), Source(name), net.now, is_ours=True)
    node.gossip.frames_to_send()
    for at in range(0, len(data), 200):
        node.gossip.receive(b"talker".ljust(32), data[at : at + 200], net.now, net.wall)
    node.gossip.on_deadline(net.now + 100.0)
    for _, frame in node.gossip.frames_to_send():
        wire.decode_frame(frame)


def _introduction(data: bytes) -> None:
    frame = introduction.decode_frame(data)
    again = introduction.encode_frame(frame)
    if introduction.decode_frame(again) != frame or len(again) > len(data):
        raise AssertionError("one frame, two meanings")


def _introducing(data: bytes) -> None:
    """Whatever neighbours say, an introducer goes on, and says only what can be said."""
    machine = Introducer(_Everybody(), bytes, has_prefix_limits=True)
    for at in range(0, len(data), 60):
        frame = introduction.decode_frame(data[at + 1 : at + 60])
        for _, answer in machine.receive(bytes((data[at] % 3,)) * 32, frame, at / 60):
            introduction.decode_frame(introduction.encode_frame(answer))


class _Everybody:
    """All are linked."""

    def endpoint_of(self, identity: bytes) -> introduction.Endpoint:
        return introduction.Endpoint(f"192.0.2.{identity[0]}", 4001)

    def record_of(self, identity: bytes) -> PeerRecord:
        return RecordMaker(identity[:1].hex()).record(1_800_000_000)


def _dht_reports(data: bytes) -> None:
    """What the DHT's process says, whoever took it over."""
    frames = FrameReader(is_relay=True).feed(data)
    if not data.startswith(b"".join(map(dht_worker.encode_frame, frames))):
        raise AssertionError("one report, two encodings")


def _beacon(data: bytes) -> None:
    if decode_datagram(data).encode() != data:
        raise AssertionError("one datagram, two encodings")


def _mdns(data: bytes) -> None:
    """TXT strings: number, length, octets, again and again."""
    properties: dict[bytes, bytes | None] = {}
    while len(data) >= 2:
        properties[b"r%d" % (data[0] % 8)] = data[2 : 2 + data[1]]
        data = data[2 + data[1] :]
    shown = {key.encode(): piece for key, piece in record_to_txt(record_from_txt(properties)).items()}
    if not shown.items() <= properties.items():
        raise AssertionError("one record, two sets of strings")


def _request(data: bytes) -> None:
    request = parse_request(data)
    if request is not None and request.encode() != data:
        raise AssertionError("one request, two encodings")


def _answer(data: bytes) -> None:
    reader = AnswerReader()
    for at in range(0, len(data), 50):
        list(reader.feed(data[at : at + 50]))


def _welcome(data: bytes) -> None:
    parse_welcome(data)


_TARGETS = {
    "invite": _invite,
    "welcome": _welcome,
    "frame": _frame,
    "received": _received,
    "introduction": _introduction,
    "introducing": _introducing,
    "dht reports": _dht_reports,
    "beacon": _beacon,
    "mdns": _mdns,
    "request": _request,
    "answer": _answer,
}
TARGETS: dict[str, Callable[[bytes], None]] = {name: _swallow(target) for name, target in _TARGETS.items()}

FRAMES = [wire.encode_frame(frame) for frame in EXAMPLES]
INTRODUCTIONS = [
    introduction.encode_frame(frame)
    for frame in (
        introduction.Hold(),
        introduction.Held(introduction.HeldStatus.HELD, introduction.Endpoint("2001:db8::1", 4001)),
        introduction.Introduce(b"noncenon", b"\1" * 32),
        introduction.Call(b"noncenon", RECORD, introduction.Endpoint("192.0.2.1", 4001)),
        introduction.Answer(bytes(8), introduction.AnswerStatus.PUNCHING),
    )
]
REPORTS: list[dht_worker.Frame] = [
    Ready(4001), Value(7, RECORD), Done(7, is_answered=True), Refused("taken"),
]  # fmt: skip

SEEDS: dict[str, list[bytes]] = {
    "introduction": INTRODUCTIONS,
    "introducing": [
        b"".join(
            bytes((who,)) + INTRODUCTIONS[which].ljust(59, b"\0") for who, which in ((1, 0), (2, 2), (1, 4))
        )
    ],
    "dht reports": [b"".join(map(dht_worker.encode_frame, REPORTS))],
    "beacon": [Datagram(Kind.ASK).encode(), Datagram(Kind.TELL, RECORD).encode()],
    "mdns": [
        b"".join(bytes((int(key[1:]), len(piece))) + piece for key, piece in record_to_txt(RECORD).items())
    ],
    "frame": FRAMES,
    "request": [Fetch(10_800, 64).encode(), Lookup(bytes(20)).encode()],
    "answer": [FRAMES[-1] * 2],
    "received": [*FRAMES, b"".join(frame.ljust(200, b"\0") for frame in FRAMES if len(frame) <= 200)],
    "invite": [format_invite(b"record").encode(), format_invite(b"record", bytes(32)).encode()],
    "welcome": [
        format_welcome([b"one", b"two"], remark="a list").encode(),
        format_welcome([b"one"], Identity.from_seed(bytes(32))).encode(),
    ],
}
