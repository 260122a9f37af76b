"""Fuzz targets of pluggable transports: what programs say, arguments, SOCKS5, the OR port."""

import contextlib
from collections.abc import Callable

from vigilnet.base.errors import ConfigurationError, LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.kdf import hmac_sha256
from vigilnet.traffic.transport.pluggable.extended_or import CLIENT_LABEL, ExtendedOr
from vigilnet.traffic.transport.pluggable.messages import (
    ProxyOutput,
    as_credentials,
    from_credentials,
    read_arguments,
    write_arguments,
)
from vigilnet.traffic.transport.pluggable.options import Options
from vigilnet.traffic.transport.pluggable.pluggable_io import read_pairs
from vigilnet.traffic.transport.pluggable.proxy import HttpConnectClient, Socks4Client, read_proxy
from vigilnet.traffic.transport.pluggable.socks import SocksClient

COOKIE = bytes(32)
PROOF = hmac_sha256(COOKIE, CLIENT_LABEL, bytes(64))


def _output(data: bytes) -> None:
    output = ProxyOutput(["obfs4"], is_server=bool(data[:1] > b"\x7f"))
    with contextlib.suppress(RemoteProtocolError):
        for line in data[1:].split(b"\n"):
            output.line_received(line)


def _arguments(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(RemoteProtocolError, LocalProtocolError):
        arguments = read_arguments(text)
        assert read_arguments(write_arguments(arguments)) == arguments
        if arguments:
            assert from_credentials(*as_credentials(arguments)) == arguments


def _credentials(data: bytes) -> None:
    with contextlib.suppress(RemoteProtocolError):
        from_credentials(data[:255], data[255:] or b"\0")


def _socks(data: bytes) -> None:
    client = SocksClient("a.example", 443, (b"u", b"p") if data[:1] > b"\x7f" else None)
    with contextlib.suppress(RemoteProtocolError):
        for at in range(1, len(data), 7):
            client.receive(data[at : at + 7])
            client.data_to_send()


def _extended_or(data: bytes) -> None:
    """Without the cookie, and what a program that has it may say."""
    for said in (data, b"\1" + bytes(32) + PROOF + data):
        port = ExtendedOr(COOKIE, bytes, "obfs4")
        with contextlib.suppress(RemoteProtocolError):
            port.receive(said)
        port.data_to_send()


def _pairs(data: bytes) -> None:
    text = data.decode("latin-1")
    values: list[object] = [text, [text], [[text[:3], text[3:]]], [data], [[text, 1]]]
    with contextlib.suppress(RemoteProtocolError):
        read_pairs(values[len(data) % 5])


def _options(data: bytes) -> None:
    text = data.decode("latin-1")
    for key in ("client", "server_options", "listen"):
        with contextlib.suppress(ConfigurationError):
            Options(**{key: (text,)})  # type: ignore[arg-type]


def _proxy(data: bytes) -> None:
    """What a parent names, and what a proxy answers."""
    with contextlib.suppress(RemoteProtocolError, LocalProtocolError):
        read_proxy(data.decode("latin-1")).client("a.example", 443).data_to_send()
    for client in (Socks4Client("a.example", 1), HttpConnectClient("a.example", 1)):
        with contextlib.suppress(RemoteProtocolError):
            for at in range(0, len(data), 5):
                client.receive(data[at : at + 5])


TARGETS: dict[str, Callable[[bytes], None]] = {
    "output": _output,
    "arguments": _arguments,
    "credentials": _credentials,
    "socks": _socks,
    "proxy": _proxy,
    "extended_or": _extended_or,
    "pairs": _pairs,
    "options": _options,
}

SEEDS: dict[str, list[bytes]] = {
    "output": [
        b"\0VERSION 1\nCMETHOD obfs4 socks5 127.0.0.1:1\nCMETHODS DONE",
        b"\xffVERSION 1\nSMETHOD obfs4 [::1]:1 ARGS:cert=abc,iat-mode=0\nSMETHODS DONE",
        b"\0VERSION 1\nCMETHOD-ERROR obfs4 no\nLOG x",
    ],
    "arguments": [rb"cert=a\=b;iat-mode=0"],
    "credentials": [b"a=b"],
    "proxy": [
        b"socks5://tor:test1234@198.51.100.1:8000",
        b"http://[2001:db8::1]:3128/",
        b"\0\x5a" + bytes(6),
        b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n",
    ],
    "socks": [b"\xff\5\2\1\0\5\0\0\1\x7f\0\0\1\0\1", b"\0\5\0\5\0\0\3\1a\0\1"],
    "extended_or": [b"\0\1\0\7[::1]:1\0\2\0\5obfs4\0\0\0\0", b"\1" + bytes(64)],
    "pairs": [b"abcdef"],
    "options": [b"obfs4 = obfs4proxy 'a b'", b"obfs4 = iat-mode=1"],
}
