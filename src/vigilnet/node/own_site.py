"""The web site that a relay starts for itself: an nginx with the operator's certificate.

Looks now and then whether it still runs and whether its certificate was renewed on disk.
"""

import asyncio
from pathlib import Path
from typing import Final

from cryptography import x509

from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError
from vigilnet.base.safelog import get_logger
from vigilnet.base.web_server_io import WebServer

LOOK_S: Final = 10.0

_log = get_logger(__name__)


class OwnSite:
    """One site and the server that shows it.

    Args:
        folder: for the server's own files.
        chain: certificates in PEM, leaf first.
        key: the leaf's key in PEM; may be the same file.
        site: the pages.

    Raises:
        ConfigurationError: the certificate or its key cannot be read.
        EnvironmentRefusedError: nginx is missing or does not start.
    """

    def __init__(self, folder: Path, chain: Path, key: Path, site: Path | None) -> None:
        self._files = (chain, key)
        self._folder = folder
        self._site = site or folder / "site"
        self._read_at = self._changes()
        self._server = self._start()

    def _start(self) -> WebServer:
        return WebServer(self._folder, *self._files, self._site)

    @property
    def port(self) -> int:
        """Where it listens on loopback."""
        return self._server.port

    def _changes(self) -> tuple[float, ...]:
        try:
            return tuple(file.stat().st_mtime for file in self._files)
        except OSError as error:
            raise ConfigurationError(f"htx.certificate, htx.certificate_key: {error}") from error

    async def run(self) -> None:
        """Keep it well."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """Read the certificate again if it has changed."""
        try:
            changed = self._changes()
            if changed != self._read_at:
                self._read_at = changed
                self._server.reload()
                _log.info("own web site: certificate read again")
        except (ConfigurationError, EnvironmentRefusedError) as error:
            _log.warning("own web site", reason=str(error))

    def stop(self) -> None:
        """End it."""
        self._server.stop()


def host_name_of(chain: Path) -> str:
    """Return the first name that a certificate is for.

    Raises:
        ConfigurationError: it cannot be read, or has no name.
    """
    try:
        leaf = x509.load_pem_x509_certificates(chain.read_bytes())[0]
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.DNSName)[0].removeprefix("*.").lower()
    except (OSError, ValueError, IndexError, x509.ExtensionNotFound) as error:
        raise ConfigurationError(
            f"htx.certificate {chain}: no certificate with a DNS name can be read ({error})"
        ) from error
