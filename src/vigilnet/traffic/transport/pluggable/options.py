"""Pluggable transports' settings (the file's `[pluggable]` table)."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.traffic.transport.pluggable.messages import is_name, read_arguments


@dataclass(frozen=True)
class Options:
    """Links that other programs carry: obfs4, snowflake, any of Tor's; and plug-ins in Python."""

    client: tuple[str, ...] = ()  # NAME[,NAME] = PROGRAM ARGS, like "obfs4 = /usr/bin/obfs4proxy"
    server: tuple[str, ...] = ()  # relay: the same, for the programs that listen
    plugins: tuple[str, ...] = ()  # names of installed Python plug-ins that may be used
    listen: tuple[str, ...] = ()  # relay: NAME = HOST:PORT, where a program or plug-in listens
    advertise: tuple[str, ...] = ()  # relay: NAME = HOST:PORT as others reach it; none: what it listens on
    server_options: tuple[str, ...] = ()  # relay: NAME = KEY=VALUE;KEY=VALUE, told to the program
    extended_or_port: bool = True  # relay: False for programs that only know the plain OR port
    plugin_options: tuple[str, ...] = ()  # NAME = KEY=VALUE;KEY=VALUE, told to the plug-in
    start_timeout_s: float = 30.0  # for a program to say that it is ready

    def __post_init__(self) -> None:
        self.client_commands()
        self.server_commands()
        self.server_arguments()
        self.plugin_arguments()
        for key in ("listen", "advertise"):
            for text in getattr(self, key):
                split_name(text, key)
        for name in self.plugins:
            if not is_name(name):
                raise ConfigurationError(f"plugins: {name!r} is no name of a transport")
        if self.start_timeout_s <= 0:
            raise ConfigurationError(f"start_timeout_s: got {self.start_timeout_s}, more than 0 expected")

    def client_commands(self) -> Mapping[str, tuple[str, ...]]:
        """Return the command that dials, by transport."""
        return _commands(self.client, "client")

    def server_commands(self) -> Mapping[str, tuple[str, ...]]:
        """Return the command that listens, by transport."""
        return _commands(self.server, "server")

    def server_arguments(self) -> Mapping[str, Mapping[str, str]]:
        """Return what the program that listens is told, by transport."""
        return _arguments(self.server_options, "server_options")

    def plugin_arguments(self) -> Mapping[str, Mapping[str, str]]:
        """Return what plug-ins are told, by name."""
        return _arguments(self.plugin_options, "plugin_options")


def split_name(text: str, key: str) -> tuple[str, str]:
    """Read NAME = REST.

    Raises:
        ConfigurationError: names `key`.
    """
    name, equals, rest = text.partition("=")
    if not equals or not is_name(name.strip()) or not rest.strip():
        raise ConfigurationError(f"{key}: got {text!r}, expected NAME = ...")
    return name.strip(), rest.strip()


def _arguments(texts: tuple[str, ...], key: str) -> Mapping[str, Mapping[str, str]]:
    found = {}
    for text in texts:
        name, arguments = split_name(text, key)
        try:
            found[name] = read_arguments(arguments)
        except RemoteProtocolError as error:
            raise ConfigurationError(f"{key}: got {text!r}, expected NAME = KEY=VALUE;...") from error
    return found


def _commands(texts: tuple[str, ...], key: str) -> Mapping[str, tuple[str, ...]]:
    found = {}
    for text in texts:
        names, equals, command = text.partition("=")
        try:
            words = tuple(shlex.split(command))
        except ValueError as error:
            raise ConfigurationError(f"{key}: got {text!r}, its quotes do not match") from error
        for name in names.split(","):
            if not equals or not is_name(name.strip()) or not words:
                raise ConfigurationError(f"{key}: got {text!r}, expected NAME[,NAME] = PROGRAM ARGS")
            found[name.strip()] = words
    return found
