"""The real library in processes of its own, on loopback; and what becomes of processes that fail."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.ports import free_port
from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.routing.discovery import dht_process_io
from vigilnet.routing.discovery.dht_process_io import DhtProcess, is_installed

pytestmark = pytest.mark.slow  # real sockets or processes: in all, seconds

KEY = bytes(range(20))
needs_library = pytest.mark.skipif(not is_installed(), reason="needs the extra `dht`")


async def until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  # the process tells nobody
            await asyncio.sleep(0.02)


def seen(node: DhtProcess, what: str) -> bytes:
    """What the system says of the process."""
    return Path(f"/proc/{node.pid}/{what}").read_bytes()


async def joined(node: DhtProcess) -> None:
    async with asyncio.timeout(60):
        while not await node.is_joined():  # noqa: ASYNC110  # the engine tells nobody
            await asyncio.sleep(0.02)


@needs_library
@pytest.mark.slow
def test_nodes_of_a_network_find_values_and_others_do_not() -> None:
    async def main() -> None:
        nodes = [DhtProcess("127.0.0.1", "", 0, 7) for _ in range(3)]
        stranger = DhtProcess("127.0.0.1", "", 0, 8)
        try:
            await until(lambda: all(node.port for node in (*nodes, stranger)))
            for node in (*nodes[1:], stranger):
                node.bootstrap("127.0.0.1", nodes[0].port)
            for node in nodes:
                await joined(node)
            assert not await stranger.is_joined()
            nodes[0].put(KEY, b"first")
            nodes[1].put(KEY, b"second" * 100)
            found: list[bytes] = []
            async with asyncio.timeout(60):
                while len(found) < 2:
                    found = await nodes[2].get(KEY, 10, 2.0)
            assert sorted(found) == [b"first", b"second" * 100]
            assert len(await nodes[2].get(KEY, 1, 30.0)) == 1
            assert await stranger.get(KEY, 10, 0.2) == []
            nodes[0].put(KEY, b"third")
            async with asyncio.timeout(60):
                while b"third" not in found:
                    found = await nodes[2].get(KEY, 10, 2.0)
        finally:
            for node in (*nodes, stranger):
                await node.close()
                await node.close()

    asyncio.run(main())


@needs_library
@pytest.mark.slow
def test_a_process_that_is_killed_comes_back_with_its_values() -> None:
    async def main() -> None:
        port = free_port()
        node, other = DhtProcess("127.0.0.1", "", port, 7), DhtProcess("127.0.0.1", "", 0, 7)
        try:
            node.put(KEY, b"value")  # before it is there
            await until(lambda: node._ready.is_set() and other._ready.is_set())
            first = node.pid
            assert first is not None
            waiting = asyncio.create_task(node.get(KEY, 1, 30.0))
            os.kill(first, signal.SIGKILL)
            await until(lambda: node.starts == 2 and node._ready.is_set())
            assert node.pid != first
            with contextlib.suppress(TimeoutError):
                assert await asyncio.wait_for(waiting, 1.0) in ([], [b"value"])  # it ended with the process
            other.bootstrap("127.0.0.1", port)
            await joined(other)
            found: list[bytes] = []
            async with asyncio.timeout(60):
                while not found:
                    found = await other.get(KEY, 1, 2.0)
            assert found == [b"value"]
        finally:
            pids = [node.pid, other.pid]
            await node.close()
            await other.close()
        for pid in pids:
            with pytest.raises(ProcessLookupError):
                os.kill(pid or 0, 0)

    asyncio.run(main())


def test_a_port_that_is_taken_is_told() -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            with pytest.raises(EnvironmentRefusedError, match="UDP port"):
                DhtProcess("127.0.0.1", "", taken.getsockname()[1], 7)

    asyncio.run(main())


def played(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str) -> DhtProcess:
    """A node whose process is a program of the test's."""
    file = tmp_path / "played.py"
    file.write_text(f"import os, sys, time\n{program}\n")
    monkeypatch.setattr(dht_process_io, "FIRST_RESTART_S", 0.02)
    monkeypatch.setattr(dht_process_io, "MODULE", "played")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return DhtProcess("", "", 0, 7)


READY = r"os.write(1, b'\0\3\x11\x12\x34');"


@pytest.mark.parametrize(
    "program",
    [
        "sys.exit(3)",
        r"os.write(1, b'\0\0\x11')",  # a frame of no length
        r"os.write(1, b'\xff\xff\x11')",  # too long a frame
        r"os.write(1, b'\0\1\x63')",  # of a kind that nobody knows
        r"os.write(1, b'\0\1\2')",  # a request
        READY + r"os.write(1, b'\0\1\x12')",  # cut
        READY + r"os.write(1, b'\0\6\x13\0\0\0\1\2')",
        r"os.write(1, b'\0\5\x14gone'); os.read(0, 1)",
    ],
)
def test_a_process_that_fails_or_says_what_it_must_not_is_started_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str
) -> None:
    async def main() -> None:
        node = played(monkeypatch, tmp_path, program)
        try:
            await until(lambda: node.starts >= 2)
        finally:
            await node.close()
        assert node.pid is None

    asyncio.run(main())


def test_what_nobody_asked_for_is_dropped_and_no_more_than_asked_for_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    value = r"os.write(1, b'\0\6\x12\0\0\0' + bytes([number]) + b'v')"
    program = (
        READY
        + "os.read(0, 1000)\n"
        + "for number in (9, 1, 1, 1): " + value + "\n"
        + r"os.write(1, b'\0\6\x13\0\0\0\1\1')" + "\n"
        + "os.read(0, 1000)"
    )  # fmt: skip

    async def main() -> None:
        node = played(monkeypatch, tmp_path, program)
        try:
            assert await node.get(KEY, 2, 20.0) == [b"v", b"v"]
            assert node.port == 0x1234
        finally:
            await node.close()

    asyncio.run(main())


def test_a_process_that_reads_nothing_is_ended_and_look_ups_do_not_wait_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def main() -> None:
        node = played(monkeypatch, tmp_path, READY + "sys.stdout.flush(); time.sleep(60)")
        monkeypatch.setattr(dht_process_io, "MAX_UNSENT", 1000)
        try:
            await until(node._ready.is_set)
            assert await node.get(KEY, 2, 0.05) == []
            assert not node._lookups
            for number in range(300):
                node.put(number.to_bytes(20, "big"), bytes(1000))
            await until(lambda: node.starts >= 2)
        finally:
            await node.close()

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@needs_library
@pytest.mark.slow
def test_the_process_gets_nothing_of_the_relays_environment() -> None:
    async def main() -> None:
        node = DhtProcess("127.0.0.1", "", 0, 7)
        try:
            await until(node._ready.is_set)
            environment = seen(node, "environ")
            names = {line.partition(b"=")[0].decode() for line in environment.split(b"\0") if line}
            assert names <= set(dht_process_io._KEPT)
            assert b"NoNewPrivs:\t1" in seen(node, "status")
            assert int(seen(node, "statm").split()[1]) * 4096 < 40 << 20
        finally:
            await node.close()

    asyncio.run(main())
