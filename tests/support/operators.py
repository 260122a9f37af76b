"""A directory in memory with its own peer table and clock, and relays that register with it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from tests.support.records import RecordMaker
from vigilnet.base.http.guards import BearerToken
from vigilnet.base.http.messages import Request, Response
from vigilnet.peer.address import PeerAddress
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.peer.sources import Source
from vigilnet.peer.view import PeerView, Verdict
from vigilnet.routing.operators.countries import Countries
from vigilnet.routing.operators.directory import Directory, Judged
from vigilnet.routing.operators.registry import Registry
from vigilnet.routing.operators.wire import Registration, encode_registration, sign_registration

START = 1_790_000_000
ADMIN = "0123456789abcdef"
HOST = "192.0.2.7"


@dataclass
class Relay:
    """One relay at an address."""

    name: str
    host: str = HOST
    network: str = "lab"
    maker: RecordMaker = field(init=False)

    def __post_init__(self) -> None:
        self.maker = RecordMaker(self.name, self.network)

    @property
    def peer_id(self) -> str:
        return self.maker.identity.peer_id

    def record(self, wall: float = START, country: str = "DE") -> PeerRecord:
        return self.maker.record(int(wall), addresses=[PeerAddress.tcp(self.host, 4001)], country=country)

    def registration(self, wall: float = START, country: str = "DE") -> Registration:
        return sign_registration(self.maker.identity, self.record(country=country), wall, self.network)

    def unsigned(self, **changes: object) -> dict[str, object]:
        """What an old client says."""
        return {
            "peer_id": self.peer_id,
            "addrs": [f"/ip4/{self.host}/tcp/4001"],
            "country": "US",
            "capabilities": ["relay"],
            "last_seen": START - 130,
            "first_seen": START - 130,
            **changes,
        }


@dataclass
class DirectoryLab:
    """A directory whose time is told by the test."""

    compat: bool = False
    has_limits: bool = True
    wall: float = START
    now: float = 1000.0
    overrides: tuple[str, ...] = ()
    own_record: bytes = b""
    view: PeerView = field(init=False)
    directory: Directory = field(init=False)

    def __post_init__(self) -> None:
        self.view = PeerView("lab", 0, None)
        self.directory = Directory(
            Registry(120.0, self.has_limits),
            self,
            Countries(self.overrides),
            network="lab",
            takes_unsigned=self.compat,
            admin=BearerToken(ADMIN),
        )

    def take(self, encoded: bytes, source: Source) -> Verdict:
        return self.view.offer(encoded, source, self.wall, self.now)

    def reached(self) -> Iterable[PeerRecord]:
        return [record for record in self.view.records() if self.view.is_reached(record.identity)]

    def own(self) -> bytes:
        return self.own_record

    def forward(self, seconds: float) -> None:
        self.wall += seconds
        self.now += seconds

    def register(
        self, said: "Registration | dict[str, object] | bytes", peer: str = HOST
    ) -> tuple[int, object]:
        """Register; give the status and the reason or whether it is new."""
        value = encode_registration(said) if isinstance(said, Registration) else said
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        judged = self.directory.judge(Request("POST", "/", peer=peer, body=body), self.wall, self.now)
        if isinstance(judged, Judged):
            return 200, judged.is_new
        return judged.status, body_of(judged).get("details", body_of(judged)["error"])

    def listed(self, **query: str) -> dict[str, list[dict[str, object]]]:
        """What a client is told."""
        answer = self.directory.by_country(Request("GET", "/", query, peer="198.51.100.1"), self.now)
        assert answer.status == 200
        return body_of(answer)

    def ids(self) -> set[str]:
        return {str(relay["peer_id"]) for relays in self.listed().values() for relay in relays}


def body_of(response: Response) -> dict:  # type: ignore[type-arg]
    """The JSON of an answer."""
    assert isinstance(response.body, bytes | tuple)
    whole = b"".join(response.body) if isinstance(response.body, tuple) else response.body
    value = json.loads(whole)
    assert isinstance(value, dict)
    return value


def resigned(relay: Relay, said: Registration, **changes: object) -> Registration:
    """The same with fields changed and nothing signed anew."""
    del relay
    return replace(said, **changes)  # type: ignore[arg-type]
