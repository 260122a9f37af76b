"""Signed records for tests: one relay with its keys, and records of it at any time."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from vigilnet.crypto.kdf import sha256
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import DAY_S, Capability, OnionKey, PeerRecord, sign_record
from vigilnet.peer.identity import Identity


@dataclass
class RecordMaker:
    """A relay named by `name`; the same name gives the same keys in every run."""

    name: str
    network: str = ""
    work_bits: int = 0
    identity: Identity = field(init=False)

    def __post_init__(self) -> None:
        self.identity = Identity.from_seed(sha256(b"identity", self.name.encode()))

    def onion_key(self, published: int, variant: str = "") -> OnionKey:
        """The onion key of that day; `variant` makes a second one, which no honest relay does."""
        day = published // DAY_S
        return OnionKey(
            sha256(b"onion", self.name.encode(), b"%d" % day, variant.encode()), (day + 3) * DAY_S
        )

    def record(
        self,
        published: int,
        *,
        sequence: int | None = None,
        lifetime: int = 86_400,
        variant: str = "",
        revoked: bool = False,
        country: str = "",
        nonce: bytes | None = None,
        addresses: Sequence[PeerAddress] = (),
        introducer: bool = False,
    ) -> PeerRecord:
        """Sign a record; `sequence` defaults to the time of publication."""
        draft = PeerRecord(
            identity=self.identity.public,
            sequence=published * 1000 if sequence is None else sequence,
            published=published,
            lifetime=lifetime,
            link_key=sha256(b"link", self.name.encode()),
            onion_keys=(self.onion_key(published, variant),),
            capabilities=Capability.RELAY | (Capability.INTRODUCER if introducer else Capability(0)),
            country=country,
            addresses=tuple(addresses),
            revoked=revoked,
        )
        if self.work_bits == 0 and nonce is None:
            nonce = bytes(8)
        return sign_record(
            self.identity,
            draft,
            nonce=nonce,
            work_bits=self.work_bits,
            network=self.network,
            random_bytes=bytes,
        )
