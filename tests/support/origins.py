"""Real web servers on loopback for HTX to borrow: nginx and `openssl s_server`, with our own certificates."""

import contextlib
import datetime
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.ports import free_port

HOST = "www.example.test"
PAGE = b"<!doctype html><title>A quiet page</title><p>" + b"Nothing to see here. " * 200

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; user root;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} ssl http2; server_name {host}; root {folder}/site;
    ssl_certificate {folder}/chain.pem; ssl_certificate_key {folder}/key.pem;
    ssl_protocols TLSv1.2 TLSv1.3; {more}
  }}
}}
"""


@dataclass(frozen=True)
class Certificates:
    """Files in one folder: chain.pem, key.pem, root.pem."""

    folder: Path

    @property
    def root(self) -> bytes:
        return (self.folder / "root.pem").read_bytes()


def make_certificates(
    folder: Path, host: str = HOST, *, is_rsa: bool = False, days: float = 60, more: Sequence[str] = ()
) -> Certificates:
    """Write a chain of leaf and root for `host`, and for `more`."""
    now = datetime.datetime.now(datetime.UTC)

    def builder(subject: str, issuer: str, key: object) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key)  # type: ignore[arg-type]
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=days))
        )

    root_key = ec.generate_private_key(ec.SECP256R1())
    key = rsa.generate_private_key(65_537, 2048) if is_rsa else ec.generate_private_key(ec.SECP256R1())
    root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only"), False,
    )  # fmt: skip
    root = (
        builder("Test Root", "Test Root", root_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **usage), critical=True
        )
        .add_extension(root_id, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        builder(host, "Test Root", key.public_key())
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name) for name in (host, *more)]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=False, crl_sign=False, **usage), critical=True
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), critical=False
        )
        .sign(root_key, hashes.SHA256())
    )
    pem = leaf.public_bytes(Encoding.PEM)
    (folder / "chain.pem").write_bytes(pem)
    (folder / "root.pem").write_bytes(root.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Certificates(folder)


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until somebody listens."""
    for _ in range(3000):
        if process.poll() is not None:
            raise RuntimeError(f"the origin ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
            return
        time.sleep(0.01)
    raise RuntimeError("the origin does not listen")


@contextlib.contextmanager
def running(command: Sequence[str], port: int, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends."""
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output, cwd=folder)
    try:
        wait_for_port(port, process)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()


def nginx_program() -> str | None:
    """Return where nginx is, if it is installed."""
    return shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


@contextlib.contextmanager
def nginx(folder: Path, more: str = "") -> Iterator[int]:
    """Run nginx with h2 over TLS 1.2 and 1.3; give its port. The folder holds the certificates."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    (site / "index.html").write_bytes(PAGE)
    (site / "large.bin").write_bytes(bytes(200_000))
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, host=HOST, more=more))
    program = nginx_program() or "nginx"
    with running([program, "-c", str(config), "-p", str(folder)], port, folder):
        yield port


STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")  # Debian's libnginx-mod-stream
STREAM = """
load_module {module}; daemon off; worker_processes 1; user root;
pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
stream {{ server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{origin}; }} }}
"""


@contextlib.contextmanager
def stream_proxy(folder: Path, origin: int) -> Iterator[int]:
    """Run nginx as a plain TCP proxy before the origin at this port; give its port."""
    port = free_port()
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(STREAM.format(module=STREAM_MODULE, folder=folder, port=port, origin=origin))
    with running([nginx_program() or "nginx", "-c", str(config), "-p", str(folder)], port, folder):
        yield port


@contextlib.contextmanager
def s_server(folder: Path, *options: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run `openssl s_server`; give its port and process, whose standard input takes one-letter commands."""
    port = free_port()
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", "chain.pem", "-key", "key.pem"]
    with running([*command, *options], port, folder) as process:
        yield port, process
