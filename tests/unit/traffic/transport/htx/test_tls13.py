import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hellos import NAMES, template_of
from tests.support.needs import needs_programs
from tests.support.origins import HOST, Certificates, make_certificates, nginx, s_server
from tests.support.waiting import wait_until
from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.transport.htx.certificates import TrustAnchors, UntrustedCertificateError, check_chain
from vigilnet.traffic.transport.htx.hello import build
from vigilnet.traffic.transport.htx.tls13 import TlsAlertError, TlsClient, TlsState

pytestmark = needs_programs("nginx", "openssl")
GET = b"GET / HTTP/1.1\r\nHost: www.example.test\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("origin"))


@pytest.fixture(scope="module")
def origin(certificates: Certificates) -> Iterator[int]:
    with nginx(certificates.folder) as port:
        yield port


class Connection:
    """A TlsClient on a blocking socket."""

    def __init__(
        self,
        port: int,
        certificates: Certificates,
        name: str = "chromium",
        host: str = HOST,
        shift: float = 0.0,
    ) -> None:
        anchors = TrustAnchors.from_pem(certificates.root)
        wall = time.time() + shift
        built = build(template_of(name), host, os.urandom, os.urandom(32))
        self.tls = TlsClient(built, lambda chain: check_chain(anchors, chain, host, wall))
        self.sock = socket.create_connection(("127.0.0.1", port), 30)
        self.flush()

    def flush(self) -> None:
        self.sock.sendall(self.tls.data_to_send())

    def pump(self) -> bool:
        """Take what comes next; return whether the origin goes on."""
        data = self.sock.recv(65_536)
        try:
            self.tls.receive(data)
        finally:
            self.flush()
        return bool(data) and self.tls.state is not TlsState.CLOSED

    def handshake(self) -> "Connection":
        try:
            while self.tls.handshake is None:
                assert self.pump(), "the origin went away"
        except BaseException:
            self.sock.close()
            raise
        return self

    def read_all(self) -> bytes:
        found = bytearray()
        while self.pump():
            found += self.tls.data_received()
        self.sock.close()
        return bytes(found + self.tls.data_received())


@pytest.mark.parametrize("name", NAMES)
def test_every_template_fetches_a_page_from_nginx(origin: int, certificates: Certificates, name: str) -> None:
    connection = Connection(origin, certificates, name).handshake()
    handshake = connection.tls.handshake
    assert handshake is not None
    assert handshake.alpn == b"h2"
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
    connection.tls.send(preface)
    connection.flush()
    while len(connection.tls._received) < 9:
        assert connection.pump()
    assert connection.tls.data_received()[3] == 4  # SETTINGS
    connection.tls.close()
    connection.flush()
    connection.sock.close()


@pytest.mark.parametrize(
    "suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
)
def test_all_three_suites_work_with_openssl(certificates: Certificates, suite: str) -> None:
    with s_server(certificates.folder, "-ciphersuites", suite, "-www", "-tls1_3") as (port, _):
        connection = Connection(port, certificates, "curl").handshake()
        connection.tls.send(GET)
        connection.flush()
        assert suite.encode() in connection.read_all()


def test_an_rsa_certificate_and_hello_retry_request(tmp_path: Path) -> None:
    certificates = make_certificates(tmp_path, is_rsa=True)
    with s_server(tmp_path, "-groups", "P-384", "-www", "-tls1_3") as (port, _):
        for name in ("chromium", "firefox", "safari", "curl"):
            connection = Connection(port, certificates, name).handshake()
            handshake = connection.tls.handshake
            assert handshake is not None
            assert handshake.was_retried
            assert handshake.group == 24
            connection.tls.send(GET)
            connection.flush()
            assert b"TLS_" in connection.read_all()


def say(process: "subprocess.Popen[bytes]", text: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(text)
    process.stdin.flush()


@pytest.mark.parametrize("command", [b"k\n", b"K\n"])
def test_key_updates_are_followed_and_answered(certificates: Certificates, command: bytes) -> None:
    with s_server(certificates.folder, "-tls1_3", "-brief") as (port, process):
        connection = Connection(port, certificates, "firefox").handshake()
        for text in (b"before\n", command, b"after\n", command, b"again\n"):
            say(process, text)  # a command is one only if it is read alone
            found = b""
            while not found.endswith(text):
                assert connection.pump()
                found += connection.tls.data_received()
                if text == command:  # its KeyUpdate came
                    break
        connection.tls.send(b"heard\n")
        connection.flush()
        output = certificates.folder / "output"
        wait_until(lambda: b"heard" in output.read_bytes(), "what openssl got")
        connection.sock.close()


def test_a_server_of_tls_1_2_is_told_apart(certificates: Certificates) -> None:
    with s_server(certificates.folder, "-tls1_2") as (port, _), pytest.raises(TlsAlertError):
        Connection(port, certificates).handshake()


def test_a_server_that_gives_up_is_reported(certificates: Certificates) -> None:
    with (
        s_server(certificates.folder, "-tls1_3", "-groups", "X448") as (port, _),
        pytest.raises(TlsAlertError, match="alert 40"),
    ):
        Connection(port, certificates).handshake()


def test_certificates_are_judged(origin: int, certificates: Certificates, tmp_path: Path) -> None:
    stranger = make_certificates(tmp_path)
    for connection in (
        Connection(origin, stranger),
        Connection(origin, certificates, host="other.example.test"),
        Connection(origin, certificates, shift=61 * 86_400.0),
    ):
        with pytest.raises(UntrustedCertificateError):
            connection.handshake()
        assert connection.tls.state is TlsState.CLOSED


def test_octets_changed_on_the_way_are_found(origin: int, certificates: Certificates) -> None:
    for at in (3, 80, 150, 400, 900):
        connection = Connection(origin, certificates, "firefox")
        data = bytearray(connection.sock.recv(65_536))
        data[min(at, len(data) - 1)] ^= 1
        with contextlib.suppress(RemoteProtocolError):
            connection.tls.receive(bytes(data))
            while connection.tls.handshake is None and connection.pump():
                pass
        assert connection.tls.handshake is None
        connection.sock.close()


def test_nothing_is_sent_before_the_handshake_is_through(certificates: Certificates) -> None:
    built = build(template_of("curl"), HOST, os.urandom, os.urandom(32))
    client = TlsClient(built, lambda _: None)
    assert client.data_to_send().startswith(b"\x16\3\1")
    with pytest.raises(LocalProtocolError):
        client.send(b"early")
