"""The certificate of a relay's own site, asked of an ACME authority and renewed in time.

One file in the state folder holds key and chain, so that both change at once; another one our account's key.
Until the first certificate comes the site shows one that it signed itself, and no client of ours believes it.
Nothing of this runs, and no authority hears of the relay, unless `htx.acme_directory` is set.
"""

import asyncio
import contextlib
import datetime
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from vigilnet.base.clock import Clock
from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError
from vigilnet.base.safelog import get_logger
from vigilnet.base.store_io import write_file
from vigilnet.traffic.transport.htx.acme_visits import ACME_ALPN, Diversion
from vigilnet.traffic.transport.htx.options import Options

ACME_FOLDER: Final = "acme"  # in the state folder
CERTIFICATE: Final = "certificate.pem"  # key and chain
ACCOUNT: Final = "account.pem"
LOOK_S: Final = 3600.0
FIRST_PAUSE_S: Final = 300.0  # after a failure; authorities count them, some allow 5 an hour
ORDER_TIMEOUT_S: Final = 600.0
LONGEST_PAUSE_S: Final = 12 * 3600.0
_SPARE: Final = datetime.timedelta(days=1)
_IDENTIFIER: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")  # id-pe-acmeIdentifier, RFC 8737

_log = get_logger(__name__)
_T = TypeVar("_T")


class Ordered(Protocol):
    """One order at an authority; both calls wait for the network."""

    def begin(self) -> bytes | None:
        """Return the digest to answer with, None if no proof is wanted."""
        ...

    def finish(self) -> bytes:
        """Return key and chain in PEM."""
        ...

    def abort(self) -> None:
        """Have both end at once, called from another thread."""
        ...


class SiteCertificate:
    """The certificate of one site.

    Args:
        folder: for its files; made if it is not there, mode 0700.
        host_name: whose certificate.
        settings: of HTX.
        clock: time.
        random_bytes: source of chance.
        diversion: what the listener does with the authority's visits.

    Raises:
        ConfigurationError: the package is missing, or the terms are not accepted.
    """

    def __init__(
        self,
        folder: Path,
        host_name: str,
        settings: Options,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        diversion: Diversion,
    ) -> None:
        if not settings.acme_accepts_terms:
            raise ConfigurationError(
                "htx.acme_directory: read the authority's terms, then set htx.acme_accepts_terms"
            )
        try:
            from vigilnet.node.acme_order import Authority, Order
        except ImportError as error:
            raise ConfigurationError(
                "htx.acme_directory: needs the package acme; install it with `pip install vigilnet[acme]`"
            ) from error
        authority = Authority(settings.acme_directory, settings.acme_contact, settings.acme_roots)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._host_name = host_name
        self._clock = clock
        self._random_bytes = random_bytes
        self._diversion = diversion
        self._order: Callable[[], Ordered] = lambda: Order(authority, self._account_key(), host_name)
        self._pause = FIRST_PAUSE_S
        self.file: Final = folder / CERTIFICATE
        self.problem = ""  # why the last try failed
        self.on_renewed: Callable[[], None] = lambda: None
        if self._leaf() is None:
            self._write(_self_signed(host_name, clock.wall()))
        self._due = self._due_at()

    def _chance(self) -> float:
        return int.from_bytes(self._random_bytes(4)) / 2**32

    def _leaf(self) -> x509.Certificate | None:
        """Return the certificate that we have, if it is for this name and its key is beside it."""
        try:
            content = self.file.read_bytes()
            leaf = x509.load_pem_x509_certificates(content)[0]
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            key = load_pem_private_key(content, None)
        except (OSError, ValueError, TypeError, IndexError, x509.ExtensionNotFound):
            return None
        fits = key.public_key() == leaf.public_key()
        return leaf if fits and self._host_name in names.get_values_for_type(x509.DNSName) else None

    def _due_at(self) -> float:
        """Return when to ask for another one: when a third of its life is left, and up to a tenth before."""
        leaf = self._leaf()
        if leaf is None or leaf.issuer == leaf.subject:
            return 0.0
        begins, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
        return begins + (ends - begins) * (2 / 3 - self._chance() / 10)

    def _write(self, content: bytes) -> None:
        write_file(self.file, content)

    def _account_key(self) -> ec.EllipticCurvePrivateKey:
        file = self._folder / ACCOUNT
        try:
            key = load_pem_private_key(file.read_bytes(), None)
            if isinstance(key, ec.EllipticCurvePrivateKey):
                return key
        except FileNotFoundError:
            pass
        except (OSError, ValueError, TypeError) as error:
            raise EnvironmentRefusedError(
                f"{file}: no key can be read; remove it for another account"
            ) from error
        made = ec.generate_private_key(ec.SECP256R1())
        write_file(file, _pem_of(made))
        return made

    async def run(self) -> None:
        """Renew it again and again, each time before it ends."""
        while True:
            wait = self._due - self._clock.wall()
            if wait > 0:
                await asyncio.sleep(min(wait, LOOK_S))  # the wall clock may be set meanwhile
            elif not await self.renew():
                await asyncio.sleep(self._pause * (0.75 + self._chance() / 2))
                self._pause = min(2 * self._pause, LONGEST_PAUSE_S)

    async def renew(self) -> bool:
        """Ask once; return whether there is a new certificate. Links and visits go on meanwhile."""
        try:
            async with asyncio.timeout(ORDER_TIMEOUT_S):  # an authority may answer octet by octet
                content = await self._ask()
            self._write(content)
        except (EnvironmentRefusedError, TimeoutError) as error:
            self.problem = str(error) or "the authority has not decided in time"
            _log.warning("no certificate for our own site, trying again later", reason=self.problem)
            return False
        self.problem, self._pause, self._due = "", FIRST_PAUSE_S, self._due_at()
        _log.info("own web site: has a new certificate")
        self.on_renewed()
        return True

    async def _ask(self) -> bytes:
        order = await _in_thread(self._order)
        try:
            digest = await _in_thread(order.begin)
            if digest is None:
                return await _in_thread(order.finish)
            async with self._answering(digest):
                return await _in_thread(order.finish)
        finally:
            order.abort()  # given up in the middle: its thread must not wait on

    @asynccontextmanager
    async def _answering(self, digest: bytes) -> AsyncIterator[None]:
        """Show the authority's proof to who asks for it, and only meanwhile (RFC 8737)."""
        file = self._folder / "challenge.pem"
        write_file(file, _self_signed(self._host_name, self._clock.wall(), digest))
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(file)
        finally:
            file.unlink(missing_ok=True)
        context.set_alpn_protocols([ACME_ALPN.decode("ascii")])

        async def leave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

        server = await asyncio.start_server(leave, "127.0.0.1", 0, ssl=context)
        self._diversion.port = int(server.sockets[0].getsockname()[1])
        try:
            yield
        finally:
            self._diversion.port = None
            server.close()


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _self_signed(host_name: str, wall: float, digest: bytes | None = None) -> bytes:
    """Return key and certificate that nobody else signed; with a digest, the answer to a challenge."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host_name[:64])])
    now = datetime.datetime.fromtimestamp(wall, datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SPARE)
        .not_valid_after(now + 90 * _SPARE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host_name)]), critical=False)
    )
    if digest is not None:
        value = b"\x04" + bytes((len(digest),)) + digest  # a DER octet string
        builder = builder.add_extension(x509.UnrecognizedExtension(_IDENTIFIER, value), critical=True)
    return _pem_of(key) + builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Run what waits for the network in a thread that holds up no one's end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def tell(result: _T | None, error: Exception | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # a result, where there is no error

    def body() -> None:
        try:
            outcome: tuple[_T | None, Exception | None] = work(), None
        except Exception as error:  # noqa: BLE001  # goes to who waits
            outcome = None, error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, *outcome)

    threading.Thread(target=body, daemon=True, name="acme").start()
    return await done
