"""How a directory judges and answers: everything but its disk and its clockwork (sans-IO).

A registration is judged cheapest first: form → time → not said before → signatures → address → the record, by
the peer table's own rules, → room. What is malformed gets 400, what is forged, stale or of another address
403, what comes too often or finds no room 429.
"""

import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.base.http.guards import BearerToken, is_local
from vigilnet.base.http.messages import Request, Response, error_response, json_response
from vigilnet.peer.address import prefix_of
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.peer.identity import peer_id_text
from vigilnet.peer.sources import Source
from vigilnet.peer.view import Outcome, Verdict
from vigilnet.routing.operators.countries import Countries
from vigilnet.routing.operators.registry import Entry, FullError, Heard, Registry
from vigilnet.routing.operators.wire import (
    Registration,
    addresses_of,
    capabilities_of,
    decode_registration,
    host_of_multiaddr,
    to_base64,
    verified_record,
)

MAX_SKEW_S: Final = 600
LOOK_S: Final = 1.0
_TAKEN: Final = (Outcome.ACCEPTED, Outcome.KNOWN, Outcome.OWN, Outcome.STALE)
_COME_AGAIN: Final = {Outcome.LATER: 1, Outcome.MUTED: 3600}  # seconds


class Table(Protocol):
    """What the directory needs of the peer table."""

    def take(self, encoded: bytes, source: Source) -> Verdict:
        """Offer a record to it."""
        ...

    def reached(self) -> Iterable[PeerRecord]:
        """Return relays that this node itself has reached."""
        ...

    def own(self) -> bytes:
        """Return our own encoded record; empty while there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Judged:
    """A registration that is to be kept."""

    entry: Entry
    is_new: bool


class Directory:
    """One operator's directory.

    Args:
        registry: the table.
        table: the peer table, which judges records and passes good ones on by gossip.
        countries: of addresses.
        network: name of a private network.
        takes_unsigned: from clients of before signatures.
        has_address_check: whether a relay must register from an address of its record.
        admin: whoever shows this token may prune from elsewhere; None: nobody may.
    """

    def __init__(
        self,
        registry: Registry,
        table: Table,
        countries: Countries,
        *,
        network: str = "",
        takes_unsigned: bool = False,
        admin: BearerToken | None = None,
    ) -> None:
        self.registry = registry
        self._table = table
        self._countries = countries
        self._network = network
        self._takes_unsigned = takes_unsigned
        self._admin = admin
        self._heard: dict[bytes, Heard] = {}  # by digest, what `reached` gave last
        self._look_at = float("-inf")

    def judge(self, request: Request, wall: float, now: float) -> Judged | Response:
        """Judge `POST /api/relay/register` and take the relay into the table."""
        try:
            said = decode_registration(request.json())
        except RemoteProtocolError as error:
            return error_response(400, "invalid JSON body", str(error))
        refusal = (
            self._judge_signed(said, request, wall) if said.record else self._judge_unsigned(said, request)
        )
        if isinstance(refusal, Response):
            return refusal
        is_new = self.registry.get(said.peer_id) is None
        country = self._countries.country_of(request.peer or "127.0.0.1", refusal.country)
        try:
            entry = self.registry.register(replace(refusal, country=country), request.peer, wall, now)
        except FullError as error:
            return error_response(429, str(error), headers={"Retry-After": "60"})
        return Judged(entry, is_new)

    def _judge_signed(self, said: Registration, request: Request, wall: float) -> Registration | Response:
        if abs(said.signed_at / 1000 - wall) > MAX_SKEW_S:
            return _refused("signed too long ago or in the future: compare the clocks")
        if said.signed_at <= self.registry.signed_at(said.peer_id):
            return _refused("said before: each registration must be signed later than the one before")
        try:
            record = verified_record(said, self._network)
        except RemoteProtocolError as error:
            return error_response(400, "invalid JSON body", str(error))
        if record is None:
            return _refused("not signed by the relay of this peer_id, or not in this network")
        own = [text for text in addresses_of(record) if _is_at(text, request.peer)]
        if not own:
            return _refused("none of the record's addresses is the one that this request came from")
        verdict = self._table.take(
            record.encoded, Source(f"register {prefix_of(request.peer)}", name="directories")
        )
        if verdict.outcome in _COME_AGAIN:
            again = str(_COME_AGAIN[verdict.outcome])
            return error_response(429, "too many requests", verdict.reason, {"Retry-After": again})
        if verdict.outcome not in _TAKEN:
            return _refused(f"record is {verdict.reason}")
        return replace(said, addrs=tuple(own), country=record.country or said.country,
                       capabilities=capabilities_of(record))  # fmt: skip

    def _judge_unsigned(self, said: Registration, request: Request) -> Registration | Response:
        """Take what an old client says, as far as its address shows it; nobody who wants records sees it."""
        if not self._takes_unsigned:
            return _refused("must be signed: record, signed_at and signature are missing")
        known = self.registry.get(said.peer_id)
        if known is not None and (known.registration.record or known.address != request.peer):
            return _refused("peer_id is another relay's")
        if not is_local(request) and not any(_is_at(text, request.peer) for text in said.addrs):
            return _refused("none of addrs is the address that this request came from")
        return said

    def by_country(self, request: Request, now: float) -> Response:
        """Answer `GET /api/relays/by-country`."""
        country = request.query.get("country", "")
        if "country" in request.query and not (len(country) == 2 and country.isascii() and country.isalpha()):
            return error_response(400, "invalid country", "expected two letters")
        return Response(200, self.registry.listing(country, now, self._reached(now)))

    def may_prune(self, request: Request) -> bool:
        """Whether the request comes from this machine, or shows the admin's token."""
        return is_local(request) or (self._admin is not None and self._admin.has_token(request))

    def operator(self) -> Response:
        """Answer `GET /api/operator`: who serves this directory, which is a relay as well."""
        record = self._table.own()
        return json_response({"record": to_base64(record)} if record else {})

    def _reached(self, now: float) -> list[Heard]:
        """Return what is listed beside the registered; looked for in the peer table once a second."""
        if now < self._look_at:
            return list(self._heard.values())
        self._look_at = now + LOOK_S
        found = {record.digest: record for record in self._table.reached()}
        self._heard = {
            digest: self._heard.get(digest) or self._as_heard(record) for digest, record in found.items()
        }
        return list(self._heard.values())

    def _as_heard(self, record: PeerRecord) -> Heard:
        addresses = addresses_of(record)
        host = host_of_multiaddr(addresses[0]) if addresses else ""
        try:
            country = self._countries.country_of(host, record.country)
        except ValueError:  # a name
            country = self._countries.country_of("127.0.0.1", record.country)
        value = {
            "peer_id": peer_id_text(record.identity),
            "addrs": list(addresses),
            "country": country,
            "capabilities": list(capabilities_of(record)),
            "last_seen": record.published,
            "first_seen": record.published,
            "record": to_base64(record.encoded),
        }
        encoded = json.dumps(value, separators=(",", ":")).encode()
        return Heard(str(value["peer_id"]), country, encoded)


def _refused(reason: str) -> Response:
    return error_response(403, "registration refused", reason)


def _is_at(multiaddr: str, peer: str) -> bool:
    """Whether a multiaddr names the IP address that a request came from."""
    try:
        here = ipaddress.ip_address(peer.partition("%")[0])
        if isinstance(here, ipaddress.IPv6Address) and here.ipv4_mapped is not None:
            here = here.ipv4_mapped
        return ipaddress.ip_address(host_of_multiaddr(multiaddr)) == here
    except ValueError:  # a name, or no peer address as over a unix socket
        return False
