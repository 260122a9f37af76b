"""Invites and welcome lists of one node: what its settings name, what it gives to others."""

from collections.abc import Sequence
from pathlib import Path

from vigilnet.base.errors import ConfigurationError, ErrorKind, RemoteProtocolError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.node.known_relays import KnownRelays
from vigilnet.node.options import Options
from vigilnet.node.own_record import OwnRecord
from vigilnet.node.status import InviteStatus, WelcomeStatus
from vigilnet.node.unlisted import GivenInvites, HeldInvites
from vigilnet.peer.descriptor import PeerRecord, parse_record
from vigilnet.peer.identity import parse_peer_id, peer_id_text
from vigilnet.peer.sources import Source
from vigilnet.peer.view import Outcome, Verdict
from vigilnet.routing.discovery.invite import format_invite, parse_invite, split_secret
from vigilnet.routing.discovery.welcome import MAX_ENTRIES, MAX_LIST_SIZE, format_welcome, parse_welcome

INVITE = Source("invite", is_limited=False, name="invites")
NEW = "new"  # in the place of a peer id: an invite of its own, at an unlisted relay
WELCOME = Source("welcome list", is_limited=False, name="welcome")
_IN_ORDER = (Outcome.ACCEPTED, Outcome.KNOWN, Outcome.OWN, Outcome.STALE)

_log = get_logger(__name__)


class NoInviteError(VigilnetError):
    """There is nothing that could be put into an invite."""

    kind = ErrorKind.REFUSED


class Invites:
    """Takes invites in and gives them out.

    Args:
        options: the node's settings.
        known: the peer table.
        own: who we are; None on a client.
        given: secrets of our own invites; None on a relay that is listed, and on a client.
        held: secrets of invites to unlisted relays; None on a node that passes records on.
    """

    def __init__(
        self,
        options: Options,
        known: KnownRelays,
        own: OwnRecord | None,
        given: GivenInvites | None = None,
        held: HeldInvites | None = None,
    ) -> None:
        self._given = given
        self._held = held
        self._options = options
        self._known = known
        self._own = own

    def load(self) -> None:
        """Take in what the settings name.

        Raises:
            ConfigurationError: a file is missing or an entry is not what it should be. What is only old
                is told in the log: settings that were good yesterday do not keep a node from starting.
        """
        if self._uses("invites", self._options.node.invites):
            self._load_invites()
        lists = self._options.discovery.welcome_lists
        if self._uses("welcome", lists):
            signers = [_signer(text) for text in self._options.discovery.welcome_signers]
            for path in lists:
                self._load_welcome(path, signers)

    def _uses(self, source: str, given: Sequence[object]) -> bool:
        """Whether a source is used; says so if it was given something and is not."""
        is_used = self._options.discovery.uses(source)
        if given and not is_used:
            _log.warning("discovery.sources leaves out what the settings give", source=source)
        return is_used

    def _load_invites(self) -> None:
        for number, text in enumerate(self._options.node.invites, 1):
            try:
                verdict = self._take(text)[1]
            except RemoteProtocolError as error:
                raise ConfigurationError(f"node.invites: number {number}: {error}") from error
            if verdict.is_fault:
                raise ConfigurationError(f"node.invites: number {number}: record is {verdict.reason}")
            if verdict.outcome not in _IN_ORDER:
                _log.warning("invite is not usable", number=number, reason=verdict.reason)

    def _load_welcome(self, path: Path, signers: Sequence[bytes]) -> None:
        try:
            with path.open("rb") as file:
                content = file.read(MAX_LIST_SIZE + 1)
        except OSError as error:
            raise ConfigurationError(f"welcome list {path}: cannot be read: {error.strerror}") from error
        try:
            welcome = parse_welcome(content, self._options.node.network)
        except RemoteProtocolError as error:
            raise ConfigurationError(f"{path}: {error}") from error
        if signers and welcome.signer not in signers:
            raise ConfigurationError(
                f"welcome list {path}: not signed by one of discovery.welcome_signers; "
                "take another list, or allow its signer"
            )
        verdicts = [self._known.take(encoded, WELCOME) for encoded in welcome.records]
        unusable = [verdict.reason for verdict in verdicts if verdict.outcome not in _IN_ORDER]
        if unusable:
            _log.info(
                "welcome list is partly unusable",
                of=len(verdicts),
                unusable=len(unusable),
                reason=unusable[0],
            )

    def invite(self, peer_id: str = "") -> InviteStatus:
        """Return an invite to this relay, or to one that we know.

        Raises:
            NoInviteError: a client has no record of its own; or no current record of that peer is known.
        """
        secret = None
        if self._given is not None and peer_id in ("", NEW):
            secret = self._given.new() if peer_id else self._given.secrets()[0]
            peer_id = ""
        record = self.own_record() if not peer_id else self._known.get(_identity(peer_id))
        if record is not None and self._held is not None and record.identity in self._held.identities():
            raise NoInviteError("invite: the relay is unlisted; only itself invites others")
        if record is None:
            raise NoInviteError(
                f"invite: no current record of {peer_id} is known"
                if peer_id
                else "invite: a client has none of its own; name a relay that it knows"
            )
        return InviteStatus(format_invite(record.encoded, secret), peer_id_text(record.identity), record.end)

    def add_invite(self, text: str) -> InviteStatus:
        """Take in an invite.

        Raises:
            RemoteProtocolError: not an invite, or its record is not usable; the text says why.
        """
        encoded, verdict = self._take(text)
        if verdict.outcome not in (Outcome.ACCEPTED, Outcome.KNOWN):
            raise RemoteProtocolError(f"invite: record is {verdict.reason}")
        record = parse_record(encoded, self._options.node.network)
        return InviteStatus(text.strip(), peer_id_text(record.identity), record.end, verdict.is_accepted)

    def _take(self, text: str) -> tuple[bytes, Verdict]:
        """Take in one invite, with its secret; return the record's octets and what became of them."""
        text, secret = split_secret(text)
        encoded = parse_invite(text)
        if secret is None:
            return encoded, self._known.take(encoded, INVITE)
        if self._held is None:
            raise RemoteProtocolError("invite: of an unlisted relay; who passes records on takes none")
        record = parse_record(encoded, self._options.node.network)
        verdict = self._known.take(encoded, INVITE)
        if verdict.outcome in (Outcome.ACCEPTED, Outcome.KNOWN):
            self._held.hold(record.identity, secret)
        return encoded, verdict

    def welcome_list(self, count: int = MAX_ENTRIES) -> WelcomeStatus:
        """Return a welcome list of this relay and relays it knows, signed by it if it is one."""
        own = self.own_record()
        hidden = self._held.identities() if self._held is not None else frozenset()
        ours = [own] if own is not None and self._given is None else []
        others = (record for record in self._known.relays() if record.identity not in hidden)
        records = [*ours, *others][: max(0, min(count, MAX_ENTRIES))]
        signer = self._own.ring.identity if self._own is not None else None
        text = format_welcome([record.encoded for record in records], signer, self._options.node.network)
        return WelcomeStatus(text, len(records), signer is not None)

    def own_record(self) -> PeerRecord | None:
        """Return our own record; None on a client."""
        return self._own.parsed if self._own is not None else None


def _identity(peer_id: str) -> bytes:
    try:
        return parse_peer_id(peer_id)
    except RemoteProtocolError as error:
        raise NoInviteError(f"invite: {error}") from error


def _signer(text: str) -> bytes:
    try:
        return parse_peer_id(text)
    except RemoteProtocolError as error:
        raise ConfigurationError(f"discovery.welcome_signers: {error}") from error
