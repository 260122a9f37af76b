"""Debian's shadowsocks-libev beside us: `ss-server` and `ss-local`, on loopback, ended with the test."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator

from tests.support.ports import free_port
from tests.support.waiting import wait_until


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def _running(command: list[str], port: int) -> Iterator[int]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port), f"{command[0]} on its port")
        yield port
    finally:
        process.terminate()
        process.wait(60)


@contextlib.contextmanager
def ss_server(method: str, password: str) -> Iterator[int]:
    """Run a server; give its port."""
    port = free_port()
    with _running(["ss-server", "-s", "127.0.0.1", "-p", str(port), "-k", password, "-m", method], port):
        yield port


@contextlib.contextmanager
def ss_local(method: str, password: str, server_port: int) -> Iterator[int]:
    """Run a client of the server at that port; give the port of its SOCKS5 proxy."""
    port = free_port()
    command = ["ss-local", "-s", "127.0.0.1", "-p", str(server_port), "-l", str(port)]
    with _running([*command, "-k", password, "-m", method], port):
        yield port
