"""The status interface in its process: built from the settings, at its addresses."""

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import ConfigurationError
from vigilnet.base.http.routes import Routes
from vigilnet.node.assembly import Node
from vigilnet.node.options import Options
from vigilnet.surface.status.service import StatusService, make_token
from vigilnet.surface.status.shown import ShownNode


class StatusHost:
    """Starts and stops it.

    Args:
        options: the node's settings.
        node: returns the node of now.
        on_stop: ends the process.
        groups: routes of others that share the server.
    """

    def __init__(
        self,
        options: Options,
        node: Callable[[], Node],
        on_stop: Callable[[], None],
        groups: Sequence[Routes] = (),
    ) -> None:
        self._options = options
        self._groups = groups
        self._shown = ShownNode(node)
        self._on_stop = on_stop
        self._service: StatusService | None = None
        self.address = ""  # host:port really bound; empty when off

    async def start(self, folder: Path) -> None:
        """Listen, if it is on.

        Raises:
            ConfigurationError: an address is not one.
            EnvironmentRefusedError: an address is taken or may not be used.
        """
        options = self._options
        if not options.status.enabled and not options.operators.listen:
            return
        service = self._service = StatusService(
            self._shown,
            SystemClock(),
            make_token(folder),
            self._on_stop,
            compat=options.node.compat,
            rate_per_minute=options.operators.rate_per_minute,
        )
        service.server.groups.extend(self._groups)
        if options.status.enabled:
            host = options.status.host
            port = self._shown.status_port = await service.listen(host, options.status.port)
            self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        tls = _tls_of(options.operators.certificate, options.operators.certificate_key)
        for text in options.operators.listen:
            await service.listen_publicly(*_host_and_port(text), tls)

    async def close(self) -> None:
        """Stop; safe to call twice."""
        if self._service is not None:
            await self._service.close()


def _tls_of(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return what serves https with a certificate of the settings; None without one.

    Raises:
        ConfigurationError: the files cannot be used.
    """
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"operators.certificate {certificate}: cannot be used: {error.strerror or error}"
        ) from error
    return context


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ConfigurationError(f"operators.listen: got {text!r}, expected host:port like 192.0.2.1:8088")
    return host, int(port)
