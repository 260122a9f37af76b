"""HTX on one node: how it dials, and on a relay its keys and what its records say of it."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from vigilnet.base.clock import Clock
from vigilnet.base.codec import Value, decode, encode
from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.base.safelog import get_logger
from vigilnet.base.store_io import Store
from vigilnet.node.acme import ACME_FOLDER, SiteCertificate
from vigilnet.node.options import Options
from vigilnet.node.origin_watch import UP, OriginWatch
from vigilnet.node.own_site import OwnSite, host_name_of
from vigilnet.node.unlisted import GivenInvites
from vigilnet.peer.address import PeerAddress, TransportKind, is_host_name, prefix_of
from vigilnet.peer.descriptor import PeerRecord
from vigilnet.peer.wire import read_array, read_octets, read_uint
from vigilnet.traffic.transport.carrier import CarrierKind
from vigilnet.traffic.transport.htx.acme_visits import Diversion
from vigilnet.traffic.transport.htx.authenticator import Authenticator
from vigilnet.traffic.transport.htx.dial_io import (
    BORROWED,
    ECH,
    HOST_NAME,
    ISSUER,
    KEY,
    MAX_REQUEST,
    MIN_REQUEST,
    MODE,
    OWN_SITE,
    REQUEST,
    Browser,
    load_anchors,
)
from vigilnet.traffic.transport.htx.htx_io import HtxTransport
from vigilnet.traffic.transport.htx.recordings import (
    MAX_RECORDINGS,
    OLD_AFTER_DAYS,
    Recording,
    Recordings,
    age_days,
    digest_of,
)
from vigilnet.traffic.transport.htx.server_io import Relay
from vigilnet.traffic.transport.htx.shaping import PROFILES, Budget
from vigilnet.traffic.transport.htx.templates_io import load_templates, load_visits

KEY_LIFE_S: Final = 7 * 86_400  # then a new one; the one before is accepted as long again
STORE_NAME: Final = "htx"
VISITS_NAME: Final = "htx-visits"
SAVE_EVERY: Final = 4  # links; so many visits may be used once more after a crash
_VERSION: Final = 1

_log = get_logger(__name__)


class HtxKeys:
    """A relay's htx keys on disk: the current one and, for a week, the one before.

    Raises:
        ConfigurationError: the file is damaged.
    """

    def __init__(self, store: Store, clock: Clock, random_bytes: Callable[[int], bytes]) -> None:
        self._store = store
        self._clock = clock
        self._random_bytes = random_bytes
        self._keys: list[tuple[int, X25519PrivateKey]] = []  # (made at, key), newest first
        content = store.read(STORE_NAME)
        if content is not None:
            try:
                self._keys = _read_keys(decode(content, "htx keys"))
            except RemoteProtocolError as error:
                raise ConfigurationError(
                    f"{STORE_NAME} in the state folder: damaged; remove it for a new key ({error})"
                ) from error
        self.rotate()

    @property
    def public(self) -> bytes:
        """The current key, as it goes into the record."""
        return self._keys[0][1].public_key().public_bytes_raw()

    def secrets(self) -> Sequence[X25519PrivateKey]:
        """Return the keys that clients may know us by, current first."""
        return [key for _, key in self._keys]

    def rotate(self) -> bool:
        """Make and erase what is due; return whether there is a new current key."""
        now = int(self._clock.wall())
        kept = [(made, key) for made, key in self._keys if 0 <= now - made + 86_400 < 2 * KEY_LIFE_S + 86_400]
        is_due = not kept or not -86_400 <= now - kept[0][0] < KEY_LIFE_S
        if is_due:
            kept.insert(0, (now, X25519PrivateKey.from_private_bytes(self._random_bytes(32))))
        if kept[:2] == self._keys:
            return False
        self._keys = kept[:2]
        values: list[Value] = [_VERSION, [[made, key.private_bytes_raw()] for made, key in self._keys]]
        self._store.write_atomic(STORE_NAME, encode(values))
        return is_due


def _read_keys(value: Value) -> list[tuple[int, X25519PrivateKey]]:
    version, keys = read_array(value, "htx keys", 2, 2)
    read_uint(version, "htx keys version", _VERSION, _VERSION)
    found: list[tuple[int, X25519PrivateKey]] = []
    for entry in read_array(keys, "htx keys", 1, 2):
        made, secret = read_array(entry, "htx key", 2, 2)
        key = X25519PrivateKey.from_private_bytes(read_octets(secret, "htx key", 32))
        found.append((read_uint(made, "htx key time"), key))
    return found


class UsedOnce:
    """A relay's recorded visits, and which of them were used, kept over restarts.

    Args:
        store: the state folder.
        visits: what was recorded.
    """

    def __init__(self, store: Store, visits: Sequence[Recording]) -> None:
        self._store = store
        self._visits = visits
        self._digest: Final = digest_of(visits)
        self._unsaved = 0
        uses: Sequence[int] = ()
        with contextlib.suppress(RemoteProtocolError):  # damaged: begin again
            uses = self._read(store.read(VISITS_NAME))
        self.recordings: Final = Recordings(visits, uses, self._changed)

    def _read(self, content: bytes | None) -> list[int]:
        if content is None:
            return []
        version, digest, uses = read_array(decode(content, "htx visits"), "htx visits", 3, 3)
        read_uint(version, "htx visits version", _VERSION, _VERSION)
        if digest != self._digest:
            return []
        return [read_uint(use, "htx visit") for use in read_array(uses, "htx visits", 0, MAX_RECORDINGS)]

    def problem(self, wall: float) -> str:
        """Say why a classifier would know our links by their visits; empty if nothing is known."""
        age = age_days(self._visits, wall)
        if age > OLD_AFTER_DAYS:
            return f"its recorded visits are {age} days old"
        return "" if self.recordings.unused else "each of its recorded visits was used"

    def _changed(self) -> None:
        self._unsaved += 1
        if self._unsaved >= SAVE_EVERY or not self.recordings.unused:
            self._unsaved = 0
            values: list[Value] = [_VERSION, self._digest, list(self.recordings.uses)]
            self._store.write_atomic(VISITS_NAME, encode(values))


class NodeHtx:
    """What the node assembles of HTX.

    Args:
        options: the whole tree.
        store: the state folder; a relay's keys are there.
        clock: time.
        random_bytes: source of secrets.
        folder: the state folder's place; a site that we start ourselves keeps its files there.

    Raises:
        ConfigurationError: `htx.origin` or `htx.host_name` is missing where a relay listens, or a template
            cannot be read.
    """

    def __init__(
        self,
        options: Options,
        store: Store,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        folder: Path = Path(),
    ) -> None:
        self._options = options
        settings = options.htx
        self.host_name = settings.host_name
        self.site: OwnSite | None = None
        self.certificate: SiteCertificate | None = None  # where we ask an authority for it
        self._diversion = Diversion()
        self.watch: OriginWatch | None = None
        self.visits: UsedOnce | None = None
        self._clock = clock
        self._random_bytes = random_bytes
        templates = load_templates(settings.templates)
        old = [template.name for template in templates if template.is_old(clock.wall())]
        if old:
            _log.warning("hello templates are old, browsers have changed since", templates=", ".join(old))
        browser = Browser(
            templates=templates,
            weights=settings.weights_by_name(),
            anchors=cache(lambda: load_anchors(settings.trust_anchors)),
            clock=clock,
            network=options.node.network,
            random_bytes=random_bytes,
            profile=PROFILES[settings.relay_shaping if options.relay.enabled else settings.shaping],
            rate=settings.constant_octets_s,
        )
        self.keys: HtxKeys | None = None
        self.given: GivenInvites | None = None  # on an unlisted relay
        self.secret_for: Callable[[bytes], bytes | None] = lambda _: None  # of an invite that we hold
        relay = None
        if options.relay.enabled and options.relay.is_unlisted:
            if not options.relay.listen_htx or options.relay.listen:
                raise ConfigurationError(
                    "relay.is_unlisted: wants relay.listen_htx, and relay.listen = [], which can be probed"
                )
            self.given = GivenInvites(store, random_bytes)
        if options.relay.enabled and options.relay.listen_htx:
            self.keys = HtxKeys(store, clock, random_bytes)
            self._start_site(folder)
            if settings.visits is not None:
                self.visits = UsedOnce(store, load_visits(settings.visits))
                if problem := self.visits.problem(clock.wall()):
                    _log.warning("record new visits of the origin (vigilnet htx record)", because=problem)
            relay = self._relay(self.keys, clock, random_bytes)
        self.transport: Final = HtxTransport(browser, relay, self._secret_for)

    def _secret_for(self, htx_key: bytes) -> bytes | None:
        return self.secret_for(htx_key)

    def _start_site(self, folder: Path) -> None:
        """Start the site of our own that the settings ask for."""
        settings = self._options.htx
        chain, key = settings.certificate, settings.certificate_key
        if settings.acme_directory:
            chain = key = self._asked_for(folder)
        if chain is None or key is None:
            if chain is not key:
                raise ConfigurationError("htx.certificate and htx.certificate_key: one is missing")
            return
        if settings.origin or not settings.is_own_site:
            raise ConfigurationError(
                "htx.certificate, htx.acme_directory: is for a site of our own; leave htx.origin out"
            )
        self.host_name = self.host_name or host_name_of(chain)
        self.site = OwnSite(folder / "site", chain, key, settings.site_folder)
        if self.certificate is not None:
            self.certificate.on_renewed = self.site.look

    def _asked_for(self, folder: Path) -> Path:
        """Return the certificate that an authority gives us, or will."""
        settings = self._options.htx
        if settings.certificate is not None or settings.certificate_key is not None:
            raise ConfigurationError("htx.acme_directory: beside htx.certificate; leave one of them out")
        if not is_host_name(self.host_name):
            raise ConfigurationError("htx.acme_directory: needs htx.host_name, the name to be certified")
        self.certificate = SiteCertificate(
            folder / ACME_FOLDER, self.host_name, settings, self._clock, self._random_bytes, self._diversion
        )
        return self.certificate.file

    def origin(self) -> tuple[str, int]:
        """Return where the web server behind us listens."""
        if self.site is not None:
            return "127.0.0.1", self.site.port
        text = self._options.htx.origin
        host, _, port = text.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
            raise ConfigurationError(
                f"htx.origin: got {text!r}, expected the host:port of a web server with TLS 1.3 "
                "(or htx.certificate and htx.certificate_key for a site of our own)"
            )
        return host, int(port)

    def _relay(self, keys: HtxKeys, clock: Clock, random_bytes: Callable[[int], bytes]) -> Relay:
        settings = self._options.htx
        origin = self.origin()
        if not is_host_name(self.host_name):
            raise ConfigurationError(
                f"htx.host_name: got {self.host_name!r}, expected the name in the origin's certificate"
            )
        if settings.origin in self._options.relay.listen_htx:
            raise ConfigurationError("htx.origin: is relay.listen_htx itself; name the web server behind it")
        return Relay(
            authenticator=Authenticator(
                keys.secrets,
                self._options.node.network,
                self.given.secrets if self.given is not None else None,
            ),
            origin=origin,
            kind=CarrierKind.HTX_OWN_SITE if settings.is_own_site else CarrierKind.HTX_BORROWED,
            options=settings,
            clock=clock,
            network=self._options.node.network,
            random_bytes=random_bytes,
            prefix_of=prefix_of,
            recordings=self.visits.recordings if self.visits is not None else None,
            diversion=self._diversion,
            budget=Budget(settings.shaping_octets_s),
        )

    async def watch_origin(self, relays: Callable[[], Iterable[PeerRecord]]) -> OriginWatch | None:
        """Return who looks at our origin; None on a node that does not listen.

        With `htx.pins_issuer` it has looked once when this returns.

        Raises:
            ConfigurationError: the origin is a relay.
        """
        if self.keys is None:
            return None
        watch = self.watch = OriginWatch(
            self.transport, self.origin(), self.host_name, relays, self._random_bytes
        )
        await watch.refuse_loops()
        if self._options.htx.pins_issuer:
            await watch.look()
        return watch

    def advertised(self, port: int) -> list[tuple[str, int]]:
        """Return where others reach us when we listen on all addresses: at the site's own name."""
        return [(self.host_name, port)] if self._options.htx.is_own_site else []

    @property
    def origin_state(self) -> str:
        """`up`, what is wrong with our origin, or nothing on a node that has none."""
        if self.certificate is not None and self.certificate.problem:
            return f"no certificate: {self.certificate.problem}"
        state = self.watch.state if self.watch is not None else ""
        if state == UP and self.visits is not None and (problem := self.visits.problem(self._clock.wall())):
            return f"{UP}, but {problem}: vigilnet htx record"
        return state

    def count_intercepted(self) -> int:
        """Return how many relays are not dialled now, since somebody stands before their origin."""
        return self.transport.relays.count_intercepted(self._clock.now())

    def close(self) -> None:
        """End the site that we started."""
        if self.site is not None:
            self.site.stop()

    def address(self, host: str, port: int) -> PeerAddress:
        """Return the address of our record for a listener reached there."""
        if self.keys is None:
            raise ConfigurationError("relay.listen_htx: this node does not listen")
        mode = OWN_SITE if self._options.htx.is_own_site else BORROWED
        params: dict[int, Value] = {KEY: self.keys.public, HOST_NAME: self.host_name, MODE: mode}
        issuer = self.watch.issuer if self.watch is not None else None
        if self._options.htx.pins_issuer and issuer is not None:
            params[ISSUER] = issuer
        if (
            self.visits is not None
            and MIN_REQUEST <= (request := self.visits.recordings.request) <= MAX_REQUEST
        ):
            params[REQUEST] = request
        if configs := self._options.htx.ech_octets():
            params[ECH] = configs
        return PeerAddress.build(TransportKind.HTX, host, port, params)
