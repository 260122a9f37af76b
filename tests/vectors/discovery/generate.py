"""Writes the vectors of docs/spec/discovery.md: `python -m tests.vectors.discovery.generate`.

Deterministic: the record is that of ../protocol/record.json, keys come from fixed seeds.
"""

import json
from pathlib import Path

from tests.support.vectors import protocol_vectors
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.identity import Identity
from vigilnet.routing.discovery import introduction
from vigilnet.routing.discovery.beacon import Datagram, Kind
from vigilnet.routing.discovery.dht import (
    Lookup,
    country_tag,
    identity_key,
    network_number,
    shard_of,
    tag_key,
)
from vigilnet.routing.discovery.directory import Fetch
from vigilnet.routing.discovery.introduction import AnswerStatus, Endpoint, HeldStatus
from vigilnet.routing.discovery.inventory import digest_of
from vigilnet.routing.discovery.invite import format_invite
from vigilnet.routing.discovery.mdns import record_to_txt
from vigilnet.routing.discovery.welcome import format_welcome
from vigilnet.routing.discovery.wire import (
    LAST_KEY,
    PROVEN,
    REVOKED,
    Frame,
    Have,
    Item,
    Items,
    ItemType,
    Mode,
    Range,
    Ranges,
    Want,
    encode_frame,
    encode_proof,
    pack_entry,
)

FOLDER = Path(__file__).parent
SIGNER = bytes(range(32))


def invites() -> dict[str, object]:
    """One invite, and a welcome list that holds it, plain and signed in two networks."""
    record = bytes.fromhex(protocol_vectors("record")[0]["record"])
    signer = Identity.from_seed(SIGNER)
    return {
        "record": record.hex(),
        "invite": format_invite(record),
        "signer_seed": SIGNER.hex(),
        "signer": signer.peer_id,
        "welcome_plain": format_welcome([record], remark="ours"),
        "welcome_signed": format_welcome([record], signer, remark="ours"),
        "welcome_signed_lab": format_welcome([record], signer, "lab"),
    }


def gossip() -> dict[str, object]:
    """One frame of each kind."""
    record = bytes.fromhex(protocol_vectors("record")[0]["record"])
    ranges = (
        Range(b"\x10" + bytes(7), Mode.SKIP),
        Range(b"\x80" + bytes(7), Mode.DIGEST, b"digest.."),
        Range(LAST_KEY, Mode.LIST, entries=(pack_entry(b"\x90" * 8, 7), pack_entry(LAST_KEY, REVOKED))),
    )
    frames: dict[str, Frame] = {
        "ranges": Ranges(b"saltsalt", ranges),
        "have": Have((pack_entry(b"\x01" * 8, 1_800_000_000_000), pack_entry(b"\x02" * 8, PROVEN))),
        "want": Want((b"\x01" * 8, b"\x02" * 8)),
        "items": Items((Item(ItemType.RECORD, record), Item(ItemType.PROOF, encode_proof(record, b"other")))),
    }
    entries = [pack_entry(bytes([number]) * 8, number) for number in range(3)]
    return {
        "frames": {name: encode_frame(frame).hex() for name, frame in frames.items()},
        "fetch": Fetch(1_799_992_800, 64).encode().hex(),
        "digest": {
            "salt": b"saltsalt".hex(),
            "entries": [entry.hex() for entry in entries],
            "digest": digest_of(b"saltsalt", entries).hex(),
        },
    }


def dht() -> dict[str, object]:
    """Keys of one identity and of one tag, in two networks, and a request."""
    identity = Identity.from_seed(SIGNER).public
    return {
        "identity": identity.hex(),
        "identity_key": identity_key(identity).hex(),
        "identity_key_lab": identity_key(identity, "lab").hex(),
        "shard": shard_of(identity),
        "exit_key": tag_key("exit", shard_of(identity)).hex(),
        "exit_ch_key": tag_key(country_tag("CH"), shard_of(identity)).hex(),
        "network_number": network_number(""),
        "network_number_lab": network_number("lab"),
        "lookup": Lookup(identity_key(identity)).encode().hex(),
    }


def lan() -> dict[str, object]:
    """What is said on a LAN: the beacon's datagrams, a record's TXT strings."""
    record = bytes.fromhex(protocol_vectors("record")[0]["record"])
    return {
        "record": record.hex(),
        "ask": Datagram(Kind.ASK).encode().hex(),
        "tell": Datagram(Kind.TELL, record).encode().hex(),
        "txt": {key: piece.hex() for key, piece in record_to_txt(record).items()},
    }


def introductions() -> dict[str, object]:
    """One frame of each kind, and a record's address that names an introducer."""
    nonce, endpoint = b"noncenon", Endpoint("192.0.2.1", 4001)
    identity = Identity.from_seed(SIGNER).public
    frames: dict[str, introduction.Frame] = {
        "hold": introduction.Hold(),
        "held": introduction.Held(HeldStatus.HELD, endpoint),
        "introduce": introduction.Introduce(nonce, identity),
        "call": introduction.Call(nonce, b"a record", endpoint, introduction.Flags.BEHIND),
        "answer": introduction.Answer(nonce, AnswerStatus.PUNCHING, Endpoint("2001:db8::1", 4001)),
        "answer_refused": introduction.Answer(nonce, AnswerStatus.REFUSED),
    }
    return {
        "frames": {name: introduction.encode_frame(frame).hex() for name, frame in frames.items()},
        "identity": identity.hex(),
        "via": PeerAddress.via(identity, "192.0.2.1").multiaddr.hex(),
        "via_without_host": PeerAddress.via(identity).multiaddr.hex(),
    }


def main() -> None:
    """Write every file."""
    for name, make in (
        ("invite", invites),
        ("gossip", gossip),
        ("lan", lan),
        ("dht", dht),
        ("introduction", introductions),
    ):
        (FOLDER / f"{name}.json").write_text(json.dumps(make(), indent=1) + "\n")


if __name__ == "__main__":
    main()
