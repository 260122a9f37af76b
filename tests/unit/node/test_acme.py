import asyncio
import contextlib
import os
import re
import socket
import ssl
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from tests.support.acme_authority import Authority, authority
from tests.support.htx import Peer, browser
from tests.support.needs import needs_programs
from tests.support.origins import HOST, PAGE, Certificates, make_certificates
from tests.support.ports import free_port
from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import ConfigurationError
from vigilnet.base.store_io import Store
from vigilnet.node.acme import ACCOUNT, CERTIFICATE, SiteCertificate
from vigilnet.node.htx import NodeHtx
from vigilnet.node.options import Options, RelayOptions
from vigilnet.traffic.transport.carrier import Carrier
from vigilnet.traffic.transport.htx.acme_visits import ACME_ALPN, Diversion
from vigilnet.traffic.transport.htx.htx_io import HtxTransport
from vigilnet.traffic.transport.htx.options import Options as HtxOptions

DAY = 86_400.0
ASKED = HtxOptions(host_name=HOST, acme_directory="https://localhost:1/dir", acme_accepts_terms=True)


class SetClock(SystemClock):
    def __init__(self, wall: float) -> None:
        self.time = wall

    def wall(self) -> float:
        return self.time


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "state")) as opened:
        opened.lock()
        opened.unlock(None)
        yield opened


def relay(store: Store, settings: HtxOptions, port: int) -> NodeHtx:
    """What a node would assemble with these settings."""
    options = Options(relay=RelayOptions(enabled=True, listen_htx=(f"127.0.0.1:{port}",)), htx=settings)
    return NodeHtx(options, store, SystemClock(), os.urandom, store.folder)


async def visited(port: int, root: Path, alpn: str = "http/1.1") -> tuple[x509.Certificate, bytes]:
    """Look at the port as Python's own TLS does; give the certificate shown and the page."""
    context = ssl.create_default_context(cafile=root)
    context.set_alpn_protocols([alpn])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=HOST)
    writer.write(b"GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % HOST.encode())
    page = await reader.read(-1)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return x509.load_der_x509_certificate(shown), page


async def until_shown(port: int, root: Path, serial: int | None = None) -> x509.Certificate:
    """Wait until nginx has read its certificate again: its workers change a moment after the signal."""
    return (await until_answered(port, root, serial))[0]


async def until_answered(port: int, root: Path, serial: int | None = None) -> tuple[x509.Certificate, bytes]:
    """The same, with the page: a worker of before may answer even when one of now has."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(ssl.SSLCertVerificationError):
                shown, page = await visited(port, root)
                if serial is None or shown.serial_number == serial:
                    assert page.startswith(b"HTTP/1.1 200")
                    return shown, page
            await asyncio.sleep(0.05)


async def dialled(client: HtxTransport, port: int, htx: NodeHtx) -> Carrier:
    """Dial until no worker of nginx shows the certificate of before."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await client.dial("127.0.0.1", port, htx.address("127.0.0.1", port).params)
            except ConnectionAbortedError:
                await asyncio.sleep(0.05)


@pytest.mark.slow
@needs_programs("pebble", "pebble-challtestsrv", "nginx")
def test_a_certificate_is_obtained_and_renewed_under_a_link(store: Store, tmp_path: Path) -> None:
    port = free_port()

    async def scenario(found: Authority, htx: NodeHtx) -> None:
        accepted: asyncio.Queue[Carrier] = asyncio.Queue()
        listener = await htx.transport.listen("127.0.0.1", port, accepted.put_nowait)
        root = tmp_path / "root.pem"
        root.write_bytes(found.root)
        certificate = htx.certificate
        assert certificate is not None
        with pytest.raises(ssl.SSLCertVerificationError):
            await visited(port, root)  # of its own making until then
        assert await certificate.renew(), certificate.problem
        first = await until_shown(port, root)
        assert certificate._due > SystemClock().wall()

        # believed by name: pebble's intermediate lacks what the web's rules, which we hold to, ask of one
        (tmp_path / "leaf").mkdir()
        (tmp_path / "leaf" / "root.pem").write_bytes(first.public_bytes(Encoding.PEM))
        client = HtxTransport(browser(Certificates(tmp_path / "leaf")))
        carrier = await dialled(client, port, htx)
        here = Peer(carrier)
        carrier.write([b"\0\5\1hell"])
        there = Peer(await asyncio.wait_for(accepted.get(), 60))
        assert await there.wait_octets(7) == b"\0\5\1hell"

        assert await certificate.renew(), certificate.problem
        second = x509.load_pem_x509_certificates(certificate.file.read_bytes())[0]
        assert second.serial_number != first.serial_number
        await until_shown(port, root, second.serial_number)
        there.carrier.write([b"\0\5\3back"])
        assert await here.wait_octets(7) == b"\0\5\3back"
        for peer in (here, there):
            peer.carrier.close()
        await here.wait(lambda: here.is_closed)
        await there.wait(lambda: there.is_closed)
        listener.close()
        await asyncio.sleep(0)

    with authority(tmp_path / "ca", port) as found:
        htx = relay(store, replace(ASKED, acme_directory=found.directory, acme_roots=found.api_roots), port)
        try:
            asyncio.run(scenario(found, htx))
        finally:
            htx.close()
    folder = store.folder / "acme"
    assert sorted(path.name for path in folder.iterdir()) == [ACCOUNT, CERTIFICATE]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


@pytest.mark.slow
@needs_programs("pebble", "pebble-challtestsrv", "nginx")
def test_what_an_authority_refuses_is_told_without_addresses(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The authority looks at a port where nobody listens, then at nobody's authority at all."""
    port = free_port()
    with authority(tmp_path / "ca", port) as found:
        settings = replace(ASKED, acme_directory=found.directory, acme_roots=found.api_roots)
        htx = relay(store, settings, port)
        try:
            certificate = htx.certificate
            assert certificate is not None
            before = certificate.file.read_bytes()
            assert not asyncio.run(certificate.renew())
            assert htx.origin_state == (
                "no certificate: the authority did not get our answer at port 443 of the host name"
            )
            assert certificate.file.read_bytes() == before
        finally:
            htx.close()
    assert not asyncio.run(certificate.renew())
    assert certificate.problem == "the authority cannot be reached (ConnectionError)"
    assert not re.search(rf"{re.escape(HOST)}|127\.0\.0\.1|localhost", caplog.text)


@needs_programs("nginx")
def test_only_the_authoritys_visits_are_diverted_and_only_meanwhile(store: Store, tmp_path: Path) -> None:
    port = free_port()
    made = make_certificates(tmp_path)

    async def scenario(htx: NodeHtx) -> None:
        listener = await htx.transport.listen("127.0.0.1", port, lambda _: None)
        assert htx.certificate is not None
        htx.certificate.file.write_bytes(
            (made.folder / "key.pem").read_bytes() + (made.folder / "chain.pem").read_bytes()
        )
        assert htx.site is not None
        htx.site.look()
        root = made.folder / "root.pem"
        await until_shown(port, root)
        with pytest.raises(ssl.SSLError):  # nginx knows no such protocol
            await visited(port, root, ACME_ALPN.decode())
        async with htx.certificate._answering(bytes(range(32))):
            with pytest.raises(ssl.SSLCertVerificationError, match=r"self.signed"):
                await visited(port, root, ACME_ALPN.decode())
            proof = await asyncio.to_thread(_proof, port)
            _, page = await until_answered(port, root)
            assert PAGE[:30] in page or b"An ordinary page" in page
        extension = next(one for one in proof.extensions if one.oid.dotted_string == "1.3.6.1.5.5.7.1.31")
        assert extension.critical
        assert extension.value.public_bytes() == b"\x04\x20" + bytes(range(32))
        with pytest.raises(ssl.SSLError, match="alert"):
            await visited(port, root, ACME_ALPN.decode())
        listener.close()
        await asyncio.sleep(0)

    htx = relay(store, ASKED, port)
    try:
        asyncio.run(scenario(htx))
    finally:
        htx.close()


def _proof(port: int) -> x509.Certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([ACME_ALPN.decode()])
    with (
        socket.create_connection(("127.0.0.1", port), 10) as tcp,
        context.wrap_socket(tcp, server_hostname=HOST) as tls,
    ):
        assert tls.selected_alpn_protocol() == ACME_ALPN.decode()
        return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")


def certificate_in(folder: Path, clock: SystemClock, settings: HtxOptions = ASKED) -> SiteCertificate:
    return SiteCertificate(folder, HOST, settings, clock, os.urandom, Diversion())


def write_pair(folder: Path, made: Certificates) -> None:
    folder.mkdir(exist_ok=True)
    pair = (made.folder / "key.pem").read_bytes() + (made.folder / "chain.pem").read_bytes()
    (folder / CERTIFICATE).write_bytes(pair)


def test_it_is_renewed_when_a_third_of_its_life_is_left_or_some_days_before(tmp_path: Path) -> None:
    write_pair(tmp_path / "acme", make_certificates(tmp_path, days=89))  # its life began a day ago
    clock = SystemClock()
    dues = [certificate_in(tmp_path / "acme", clock)._due for _ in range(20)]
    begins = clock.wall() - DAY
    assert all(begins + 50 * DAY < due < begins + 61 * DAY for due in dues)
    assert len(set(dues)) > 10  # relays do not come all at once


@pytest.mark.parametrize(
    "spoil", [lambda pem: pem[:300], lambda _: b"", lambda pem: pem[pem.index(b"-----BEGIN CERT") :]]
)
def test_what_cannot_be_used_is_asked_for_at_once(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    folder = tmp_path / "acme"
    write_pair(folder, make_certificates(tmp_path))
    (folder / CERTIFICATE).write_bytes(spoil((folder / CERTIFICATE).read_bytes()))
    certificate = certificate_in(folder, SystemClock())
    assert certificate._due == 0.0
    content = certificate.file.read_bytes()  # a stand-in, so that the site can start
    leaf = x509.load_pem_x509_certificates(content)[0]
    assert load_pem_private_key(content, None).public_key() == leaf.public_key()
    assert leaf.issuer == leaf.subject


def test_a_certificate_for_another_name_is_not_kept(tmp_path: Path) -> None:
    write_pair(tmp_path / "acme", make_certificates(tmp_path, "other.example.test"))
    assert certificate_in(tmp_path / "acme", SystemClock())._due == 0.0


def test_after_failures_it_asks_ever_more_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = certificate_in(tmp_path / "acme", SystemClock())
    pauses: list[float] = []

    async def fail() -> bool:
        return False

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 12:
            raise asyncio.CancelledError

    monkeypatch.setattr(certificate, "renew", fail)
    monkeypatch.setattr("vigilnet.node.acme.asyncio.sleep", pause)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(certificate.run())
    assert 225 <= pauses[0] <= 375
    assert 0.75 * 43_200 <= pauses[-1] <= 1.25 * 43_200


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"acme_accepts_terms": False}, "acme_accepts_terms"),
        ({"host_name": ""}, r"needs htx\.host_name"),
        ({"certificate": Path("c"), "certificate_key": Path("k")}, r"beside htx\.certificate"),
        ({"origin": "127.0.0.1:8443"}, "leave htx.origin out"),
        ({"is_own_site": False}, "site of our own"),
    ],
)
def test_what_asking_an_authority_needs_is_said(store: Store, change: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        relay(store, replace(ASKED, **change), 1)  # type: ignore[arg-type]


def test_without_the_package_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "vigilnet.node.acme_order", raising=False)
    monkeypatch.setitem(sys.modules, "acme", None)
    with pytest.raises(ConfigurationError, match=r"vigilnet\[acme\]"):
        certificate_in(tmp_path / "acme", SystemClock())


@pytest.mark.parametrize("error", [TypeError, KeyError, AttributeError, AssertionError, ValueError, OSError])
def test_an_answer_of_any_shape_ends_no_more_than_the_try(
    tmp_path: Path, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the packages raise where an authority's JSON is a list, for one."""
    from vigilnet.node import acme_order

    def begin(_: object) -> bytes:
        raise error("what it said")

    monkeypatch.setattr(acme_order.Order, "_begin", begin)
    certificate = certificate_in(tmp_path / "acme", SystemClock())
    assert not asyncio.run(certificate.renew())
    assert certificate.problem == f"the authority's answer cannot be used ({error.__name__})"


def test_an_authority_that_never_ends_its_answer_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vigilnet.node import acme, acme_order

    ended = threading.Event()
    monkeypatch.setattr(acme_order.Order, "_begin", lambda _: ended.wait(60))
    monkeypatch.setattr(acme_order.Order, "abort", lambda _: ended.set())
    certificate = certificate_in(tmp_path / "acme", SystemClock())
    for patience_s in (0.01, 0.1, 1.0, 10.0):  # a slow machine may use one up before the authority is asked
        monkeypatch.setattr(acme, "ORDER_TIMEOUT_S", patience_s)
        assert not asyncio.run(certificate.renew())
        if ended.is_set():
            break
    assert ended.is_set(), "its thread does not wait on"
    assert certificate.problem == "the authority has not decided in time"
