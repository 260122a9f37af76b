"""Pluggable transports as one transport: an address names which, and here is who carries it."""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from vigilnet.base.errors import (
    ConfigurationError,
    EnvironmentRefusedError,
    LocalProtocolError,
    RemoteProtocolError,
)
from vigilnet.base.safelog import get_logger
from vigilnet.base.store_io import write_file
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.transport.carrier import NO_PARAMS, Carrier, Listener
from vigilnet.traffic.transport.pluggable.extended_or import COOKIE_HEAD, COOKIE_SIZE
from vigilnet.traffic.transport.pluggable.messages import (
    Arguments,
    ProxyOutput,
    ServerMethod,
    as_credentials,
    client_environment,
    server_environment,
)
from vigilnet.traffic.transport.pluggable.options import Options
from vigilnet.traffic.transport.pluggable.plugin import Plugin
from vigilnet.traffic.transport.pluggable.ports_io import OrPort, dial_through
from vigilnet.traffic.transport.pluggable.process_io import ManagedProxy
from vigilnet.traffic.transport.pluggable.socks import SocksClient

NAME, ARGUMENTS = 0, 1  # params of an address; a plug-in has its own from 1 on
MAX_PAIRS: Final = 16
RESTART_FIRST_S, RESTART_MAX_S = 1.0, 60.0

_log = get_logger(__name__)


class PluggableTransport:
    """Dials and listens by name; serves `Transport` for dialling.

    Args:
        options: the room's settings.
        state: a folder for the programs; each gets one of its own inside.
        plugins: transports in Python, by name.
        random_bytes: source of cookies and nonces.
    """

    def __init__(
        self,
        options: Options,
        state: Path,
        plugins: Mapping[str, Plugin] | None = None,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._options = options
        self._state = state
        self._plugins = dict(plugins or {})
        self._random_bytes = random_bytes
        self._commands = options.client_commands()
        self._clients: dict[str, ManagedProxy] = {}
        self._starting: dict[str, asyncio.Lock] = {}
        self._servers: list[ServedTransport] = []

    def can_dial(self, params: Mapping[int, object]) -> bool:
        """Whether we have what carries links to an address of these parameters."""
        name = params.get(NAME)
        return name in self._commands or name in self._plugins

    async def dial(self, host: str, port: int, params: Mapping[int, object] = NO_PARAMS) -> Carrier:
        """Connect by the transport that `params` names; raises OSError when that fails."""
        name = params.get(NAME)
        if isinstance(name, str) and name in self._plugins:
            return await self._plugins[name].dial(host, port, params)
        if not isinstance(name, str) or name not in self._commands:
            raise ConnectionRefusedError("pluggable transport: not one of ours")
        try:
            arguments = read_pairs(params.get(ARGUMENTS, []))
            machine = SocksClient(host, port, as_credentials(arguments) if arguments else None)
            proxy = await self._client(name)
        except (RemoteProtocolError, LocalProtocolError, EnvironmentRefusedError) as error:
            raise ConnectionAbortedError(str(error)) from error
        method = proxy.output.client_methods[name]
        return await dial_through((method.host, method.port), machine, host)

    async def _client(self, name: str) -> ManagedProxy:
        """Return the proxy that dials `name`, started when it is first needed and when it has ended."""
        async with self._starting.setdefault(name, asyncio.Lock()):
            proxy = self._clients.get(name)
            if proxy is not None and proxy.is_running:
                return proxy
            state = self._state / f"{name}-client"
            output = ProxyOutput([name], is_server=False)
            proxy = ManagedProxy(self._commands[name], client_environment([name], str(state)), state, output)
            await proxy.start(self._options.start_timeout_s)
            method = output.client_methods.get(name)
            if method is None or method.version != 5:
                await proxy.close()
                said = output.refused.get(name, "offers no socks5 proxy")
                raise EnvironmentRefusedError(f"pluggable transport {name}: {said}")
            self._clients[name] = proxy
            return proxy

    async def listen(self, host: str, port: int, accept: Callable[[Carrier], None]) -> Listener:
        """Not by address alone: `serve` takes the name too."""
        raise LocalProtocolError("pluggable transport: listens by name only")

    async def serve(
        self, name: str, host: str, port: int, accept: Callable[[Carrier], None]
    ) -> "ServedTransport":
        """Listen with the program or plug-in called `name`.

        Raises:
            ConfigurationError: none is set for this name.
            EnvironmentRefusedError: the program does not start or refuses.
            OSError: the port is taken.
        """
        if name in self._plugins:
            plugin = self._plugins[name]
            listener = await plugin.listen(host, port, accept)
            served = ServedTransport(name, host, listener.port, plugin.address_params(), listener)
        else:
            command = self._options.server_commands().get(name)
            if command is None:
                raise ConfigurationError(
                    f"pluggable.listen: no program is set for {name}; name it in pluggable.server"
                )
            proxy = _ServerProxy(self, name, command, f"[{host}]" if ":" in host else host, port, accept)
            method = await proxy.start()
            params = (
                {ARGUMENTS: [list(pair) for pair in method.arguments.items()]} if method.arguments else {}
            )
            served = ServedTransport(name, host, method.port, params, proxy)
        self._servers.append(served)
        return served

    @property
    def options(self) -> Options:
        """The room's settings."""
        return self._options

    @property
    def state(self) -> Path:
        """The programs' folder."""
        return self._state

    @property
    def random_bytes(self) -> Callable[[int], bytes]:
        """Source of secrets."""
        return self._random_bytes

    async def close(self) -> None:
        """End every program."""
        servers, self._servers = self._servers, []
        for served in servers:
            await served.wait_closed()
        clients, self._clients = self._clients, {}
        for proxy in clients.values():
            await proxy.close()


class ServedTransport:
    """A transport that listens; serves `Listener`.

    Args:
        name: which.
        host: where it listens.
        port: the port really bound.
        params: what clients must be told, without the name.
        source: the plug-in's listener, or our program.
    """

    def __init__(
        self, name: str, host: str, port: int, params: Mapping[int, object], source: "Listener | _ServerProxy"
    ) -> None:
        self.host: Final = host
        self.port: Final = port
        self.params: Final = {NAME: name, **params}
        self._source = source

    def close(self) -> None:
        """Stop accepting; the program itself ends with `PluggableTransport.close`."""
        self._source.close()

    async def wait_closed(self) -> None:
        """Stop, and wait until the program has ended."""
        self.close()
        if isinstance(self._source, _ServerProxy):
            await self._source.wait_closed()


class _ServerProxy:
    """A program that listens for us; started again, ever later, when it ends by itself."""

    def __init__(
        self,
        transport: PluggableTransport,
        name: str,
        command: tuple[str, ...],
        host: str,
        port: int,
        accept: Callable[[Carrier], None],
    ) -> None:
        self._transport = transport
        self._name = name
        self._command = command
        self._host = host
        self._port = port
        self._state = transport.state / f"{name}-server"
        is_extended = transport.options.extended_or_port
        self._cookie = transport.random_bytes(COOKIE_SIZE) if is_extended else None
        self._or_port = OrPort(name, self._cookie, self._handed_over, transport.random_bytes)
        self._accept = accept
        self._proxy: ManagedProxy | None = None
        self._tasks = TaskGroup("server proxy")
        self._is_closed = False

    def _handed_over(self, carrier: Carrier) -> None:
        if self._is_closed:
            carrier.close()
        else:
            self._accept(carrier)

    async def start(self) -> ServerMethod:
        try:
            method = await self._start_once()
        except BaseException:
            await self.wait_closed()
            raise
        self._port = method.port
        self._tasks.start("keep", self._keep())
        return method

    async def _start_once(self) -> ServerMethod:
        name, options = self._name, self._transport.options
        bound = f"127.0.0.1:{self._or_port.port}"
        extended = ("", "")
        if self._cookie is not None:
            self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
            cookie_file = self._state / "extended_or_cookie"
            write_file(cookie_file, COOKIE_HEAD + self._cookie)
            extended = (bound, str(cookie_file))
        arguments: dict[str, Arguments] = {
            which: given for which, given in options.server_arguments().items() if which == name
        }
        environment = server_environment(
            {name: f"{self._host}:{self._port}"},
            str(self._state),
            options=arguments,
            or_port=bound if self._cookie is None else "",
            extended_or_port=extended,
        )
        output = ProxyOutput([name], is_server=True)
        proxy = self._proxy = ManagedProxy(self._command, environment, self._state, output)
        await proxy.start(options.start_timeout_s)
        method = output.server_methods.get(name)
        if method is None:
            await proxy.close()
            said = output.refused.get(name, "does not listen")
            raise EnvironmentRefusedError(f"pluggable transport {name}: {said}")
        return method

    async def _keep(self) -> None:
        pause = RESTART_FIRST_S
        while True:
            ended = asyncio.Event()
            proxy = self._proxy
            if proxy is not None and proxy.is_running:
                proxy.on_ended = ended.set
                await ended.wait()
            _log.warning("a pluggable transport ended, starting it again", transport=self._name)
            await asyncio.sleep(pause)
            pause = min(2 * pause, RESTART_MAX_S)
            try:
                await self._start_once()
            except EnvironmentRefusedError as error:
                _log.warning("pluggable transport does not start, trying again", reason=str(error))
            else:
                pause = RESTART_FIRST_S

    def close(self) -> None:
        self._is_closed = True
        self._tasks.cancel()

    async def wait_closed(self) -> None:
        self.close()
        await self._tasks.close()
        await self._or_port.close()
        if self._proxy is not None:
            await self._proxy.close()


def read_pairs(value: object) -> dict[str, str]:
    """Read the arguments of an address: a list of pairs of texts.

    Raises:
        RemoteProtocolError: not of that form.
    """
    if not isinstance(value, list | tuple) or len(value) > MAX_PAIRS:
        raise RemoteProtocolError("pluggable address: arguments are no list")
    found: dict[str, str] = {}
    for pair in value:
        if (
            not isinstance(pair, list | tuple)
            or len(pair) != 2
            or not all(isinstance(part, str) for part in pair)
        ):
            raise RemoteProtocolError("pluggable address: an argument is no pair of texts")
        found[pair[0]] = pair[1]
    return found
