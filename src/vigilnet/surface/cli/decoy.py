"""The web site behind the relays of a testnet over HTX: an nginx of our own on loopback.

Its certificate is made for the occasion; the nodes of the testnet are told to believe its root alone.
The process ends with ours, however ours ends: a shell waits for our pipe to close.
"""

import contextlib
import datetime
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.base.store_io import write_file

HOST_NAME: Final = "www.testnet.example"
START_TIMEOUT_S: Final = 10.0
_DAYS: Final = datetime.timedelta(days=30)
_SHELL: Final = '"$0" -c "$1" -p "$2" & pid=$!; cat >/dev/null; kill $pid; wait $pid'
_PAGE: Final = "<!doctype html><title>Testnet</title><p>An ordinary page.\n"
_CONFIG: Final = """daemon off; worker_processes 1; {user}
pid "{folder}/nginx.pid"; error_log "{folder}/error.log";
events {{ worker_connections 2048; }}
http {{
  access_log off; client_body_temp_path "{folder}/b"; proxy_temp_path "{folder}/p";
  fastcgi_temp_path "{folder}/f"; uwsgi_temp_path "{folder}/u"; scgi_temp_path "{folder}/s";
  server {{
    listen 127.0.0.1:{port} ssl http2; root "{folder}/site"; ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate "{folder}/chain.pem"; ssl_certificate_key "{folder}/key.pem";
  }}
}}
"""


class Decoy:
    """One nginx of ours.

    Args:
        folder: for its files; made if it is not there.
        is_root: whether its worker must be told to stay root, so that it can read the folder.

    Raises:
        EnvironmentRefusedError: nginx is missing, or does not start.
    """

    def __init__(self, folder: Path, *, is_root: bool) -> None:
        self._folder = folder
        program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            raise EnvironmentRefusedError("testnet --transport htx: needs nginx; install it (nginx-light)")
        (folder / "site").mkdir(parents=True, exist_ok=True)
        (folder / "site" / "index.html").write_text(_PAGE)
        make_certificates(folder, HOST_NAME)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: Final = int(free.getsockname()[1])
        config = folder / "nginx.conf"
        user = "user root;" if is_root else ""
        config.write_text(_CONFIG.format(folder=folder, port=self.port, user=user))
        with (folder / "nginx.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 nginx with our own settings
                ["/bin/sh", "-c", _SHELL, program, str(config), str(folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    @property
    def root(self) -> Path:
        """The root certificate to believe."""
        return self._folder / "root.pem"

    def _wait(self) -> None:
        give_up = time.monotonic() + START_TIMEOUT_S  # noqa: TID251 a command, not a machine
        while time.monotonic() < give_up:  # noqa: TID251
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 1.0),
            ):
                return
            time.sleep(0.02)
        said = (self._folder / "nginx.log").read_text(errors="replace").strip()
        raise EnvironmentRefusedError(f"testnet: nginx does not start: {said or 'it said nothing'}")

    def stop(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def make_certificates(folder: Path, host_name: str) -> None:
    """Write chain.pem, key.pem and root.pem: a leaf for `host_name` under a root of its own."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = (
        _builder("Testnet Root", root_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(is_root=True), critical=True)
        .add_extension(root_id, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        _builder(host_name, key)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host_name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(is_root=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), critical=False
        )
        .sign(root_key, hashes.SHA256())
    )
    (folder / "chain.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (folder / "root.pem").write_bytes(root.public_bytes(Encoding.PEM))
    write_file(folder / "key.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _builder(subject: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name("Testnet Root"))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAYS / 30)
        .not_valid_after(now + _DAYS)
    )


def _usage(*, is_root: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_root,
        key_cert_sign=is_root,
        crl_sign=is_root,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
