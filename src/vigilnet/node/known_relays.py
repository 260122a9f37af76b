"""Whom this node knows: the peer table, fed by record files, as the other rooms want to see it."""

from collections.abc import Callable, Sequence
from pathlib import Path

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.base.safelog import get_logger
from vigilnet.peer.address import TransportKind, prefix_of
from vigilnet.peer.descriptor import Capability, PeerRecord, parse_record
from vigilnet.peer.records_io import RecordFolder
from vigilnet.peer.sources import LAN_NAMES, Source, is_vouched
from vigilnet.peer.view import EXPIRE_EACH_S, Outcome, PeerView, Verdict
from vigilnet.routing.discovery.reachability import is_public
from vigilnet.traffic.circuit.messages import DestroyReason

_NOT_AGAINST_IT = (Outcome.KNOWN, Outcome.STALE, Outcome.LATER, Outcome.MUTED)
_FILES = Source("record file", is_limited=False, name="files")
_log = get_logger(__name__)


def has_public_address(record: PeerRecord) -> bool:
    """Whether others than its LAN can dial a relay; addresses of unknown forms are believed."""
    return not record.addresses or any(
        is_public(address.host) or (not address.host and address.transport != TransportKind.VIA)
        for address in record.addresses
    )


class KnownRelays:
    """The peer table as links (`get`), circuits (`may_extend`) and the pool (`relays`) ask for it.

    Args:
        view: the table.
        clock: time.
        folder: record files that are looked at again and again, or None.
        files: single record files, read once.
    """

    def __init__(
        self, view: PeerView, clock: Clock, folder: RecordFolder | None, files: Sequence[Path]
    ) -> None:
        self.view = view
        self._clock = clock
        self._folder = folder
        self._files = files
        self._expire_at = clock.now()
        self.has_known = False  # a relay, since the start
        self.on_renewed: Callable[[bytes], None] = lambda identity: None
        self.listeners: list[Callable[[], None]] = []  # called when a record became known
        view.on_accepted = self._accepted

    def load_files(self) -> None:
        """Read the single record files.

        Raises:
            ConfigurationError: one is missing or is not a usable record; the message names it.
        """
        for path in self._files:
            try:
                encoded = path.read_bytes()
            except OSError as error:
                raise ConfigurationError(f"record file {path}: cannot be read: {error.strerror}") from error
            verdict = self.view.offer(encoded, _FILES, self._clock.wall(), self._clock.now())
            if verdict.is_fault:
                raise ConfigurationError(f"record file {path}: {verdict.reason}")

    def look(self) -> None:
        """Look at the folder once more and drop what is over."""
        wall, now = self._clock.wall(), self._clock.now()
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_EACH_S
            self.view.expire(wall)
        if self._folder is None:
            return
        for name, verdict in self._folder.offer_changes(self.view, wall, now):
            if verdict.is_fault:
                _log.warning("record file is not usable", file=name, reason=verdict.reason)

    def take(self, encoded: bytes, source: Source) -> Verdict:
        """Offer a record to the table."""
        return self.view.offer(encoded, source, self._clock.wall(), self._clock.now())

    def _accepted(self, record: PeerRecord) -> None:
        """The table took a new record in, from whatever source."""
        self.has_known = True
        self.on_renewed(record.identity)
        for listener in self.listeners:
            listener()

    def get(self, identity: bytes) -> PeerRecord | None:
        """Return the current record of `identity`."""
        record = self.view.get(identity)
        return record if record is not None and self._is_current(record) else None

    def holds(self, encoded: bytes) -> PeerRecord | None:
        """Return the record that `encoded` is, if it is the one that we hold of its identity."""
        try:
            shown = parse_record(encoded, self.view.network)
        except RemoteProtocolError:
            return None
        record = self.get(shown.identity)
        return record if record is not None and record.digest == shown.digest else None

    def relays(self) -> list[PeerRecord]:
        """Return every relay whose record is current."""
        return [
            record
            for record in self.view.records()
            if Capability.RELAY in record.capabilities and record.onion_keys and self._is_current(record)
        ]

    def _is_current(self, record: PeerRecord) -> bool:
        return record.published + record.lifetime > self._clock.wall()

    def is_on_lan(self, identity: bytes) -> bool:
        """Whether we heard of a relay on our own LAN."""
        return any(source.name in LAN_NAMES for source in self.view.sources(identity))

    def is_vouched(self, record: PeerRecord) -> bool:
        """Whether a record may be a later hop of our paths: not made for us alone, nor of a LAN alone."""
        return has_public_address(record) and is_vouched(self.view.sources(record.identity))

    def may_extend(self, identity: bytes, least_sequence: int) -> DestroyReason | None:
        """Say why no circuit is extended to `identity`: we hold no record, or an older one."""
        record = self.get(identity)
        if record is None or record.sequence < least_sequence:
            return DestroyReason.NEED_RECORD
        return None if Capability.RELAY in record.capabilities else DestroyReason.POLICY

    def offer_record(self, encoded: bytes, origin: str) -> None:
        """A client gave us a record for its next EXTEND; refused ones are ignored."""
        self.take(encoded, Source(f"circuits {origin}", name="clients"))

    def admit(self, encoded: bytes, host: str) -> PeerRecord:
        """Judge the record that a neighbour at `host` shows in its link handshake.

        Returns:
            The record to use for it: this one, or the one of it that we hold, if that names the same
            link key. The handshake has then proven that the neighbour holds the key.

        Raises:
            RemoteProtocolError: the record is not usable.
        """
        verdict = self.take(encoded, Source(f"link {prefix_of(host)}", name="links"))
        if verdict.record is not None:
            return verdict.record
        shown = parse_record(encoded, self.view.network)
        known = self.get(shown.identity)
        if known is None or known.link_key != shown.link_key or verdict.outcome not in _NOT_AGAINST_IT:
            raise RemoteProtocolError(f"link: the neighbour's record is {verdict.reason}")
        return known
