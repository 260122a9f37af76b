"""A relay's side of its DHT process: starts it, asks it, starts it again when it ends (`dht_worker`)."""

import asyncio
import contextlib
import importlib.util
import itertools
import os
import sys
from pathlib import Path
from typing import Final

from vigilnet.base.errors import EnvironmentRefusedError, RemoteProtocolError
from vigilnet.base.safelog import get_logger
from vigilnet.base.system_io import module_command
from vigilnet.base.tasks import TaskGroup
from vigilnet.routing.discovery.dht_worker import (
    Bootstrap,
    Done,
    Forget,
    Frame,
    FrameReader,
    Get,
    Put,
    Ready,
    Refused,
    Request,
    Value,
    Withdraw,
    encode_frame,
)
from vigilnet.routing.discovery.udp_port_io import check_udp_port

MODULE: Final = "vigilnet.routing.discovery.opendht_io"
READ_SIZE: Final = 65_536
PROBE_S: Final = 5.0
START_S: Final = 20.0  # until it says that it runs
STOP_S: Final = 2.0
FIRST_RESTART_S: Final = 1.0
MAX_RESTART_S: Final = 300.0
STEADY_S: Final = 60.0  # a process that lived longer is started again at once
MAX_UNSENT: Final = 256 * 1024  # octets that wait for a process that does not read
_KEPT: Final = ("PATH", "LANG", "SYSTEMROOT", "PYTHONPATH", "VIRTUAL_ENV")  # of our environment

_log = get_logger(__name__)


class _Lookup:
    """One look-up under way."""

    __slots__ = ("at_most", "done", "found")

    def __init__(self, at_most: int) -> None:
        self.at_most = at_most
        self.found: list[bytes] = []
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()


def is_installed() -> bool:
    """Whether the library is there; it is not loaded."""
    return importlib.util.find_spec("opendht") is not None


class DhtProcess:
    """OpenDHT in a process of its own; serves `DhtEngine`. Make it inside the running loop.

    Args:
        host4: IPv4 address to listen at, or "" for none.
        host6: IPv6 address to listen at, or "" for none.
        port: UDP port.
        network: number of the network; nodes of other numbers are not heard.

    Raises:
        EnvironmentRefusedError: the port cannot be had.
    """

    def __init__(self, host4: str, host6: str, port: int, network: int) -> None:
        try:
            check_udp_port(host4, host6, port)
        except OSError as error:
            raise EnvironmentRefusedError(
                f"dht: UDP port {port} cannot be had ({error.strerror}); "
                "stop what uses it, or listen elsewhere"
            ) from error
        self._arguments = (host4, host6, str(port), str(network))
        self._values: dict[bytes, bytes] = {}
        self._lookups: dict[int, _Lookup] = {}
        self._ids = itertools.count(1)
        self._process: asyncio.subprocess.Process | None = None
        self._ready = asyncio.Event()
        self.port = port
        self.starts = 0
        self._tasks = TaskGroup("dht process")
        self._tasks.start("keep", self._keep())

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self._process.pid if self._process is not None else None

    # --- serves `DhtEngine` ----------------------------------------------------------------------

    def bootstrap(self, host: str, port: int) -> None:
        """See `DhtEngine`."""
        self._send(Bootstrap(host, port))

    async def is_joined(self) -> bool:
        """See `DhtEngine`."""
        is_answered, _ = await self._look_up(os.urandom(20), 1, PROBE_S)
        return is_answered

    def put(self, key: bytes, value: bytes) -> None:
        """See `DhtEngine`."""
        self._values[key] = value
        self._send(Put(key, value))

    def withdraw(self, key: bytes) -> None:
        """See `DhtEngine`."""
        if self._values.pop(key, None) is not None:
            self._send(Withdraw(key))

    async def get(self, key: bytes, at_most: int, timeout_s: float) -> list[bytes]:
        """See `DhtEngine`."""
        _, found = await self._look_up(key, at_most, timeout_s)
        return found

    async def close(self) -> None:
        """See `DhtEngine`."""
        await self._tasks.close()
        await self._stop()

    async def _look_up(self, key: bytes, at_most: int, timeout_s: float) -> tuple[bool, list[bytes]]:
        number = next(self._ids) & 0xFFFFFFFF
        lookup = self._lookups[number] = _Lookup(at_most)
        is_answered = False
        try:
            async with asyncio.timeout(timeout_s):
                await self._ready.wait()
                self._send(Get(number, key, min(at_most, 255)))
                is_answered = await lookup.done
        except TimeoutError:
            is_answered = bool(lookup.found)
            self._send(Forget(number))
        finally:
            del self._lookups[number]
        return is_answered, lookup.found[:at_most]

    # --- the process -----------------------------------------------------------------------------

    def _send(self, request: Request) -> None:
        """Hand a request to the process; without one, values are put when it is there again."""
        process = self._process
        if process is None or process.stdin is None or not self._ready.is_set():
            return
        if process.stdin.transport.get_write_buffer_size() > MAX_UNSENT:
            process.kill()  # it hangs
            return
        process.stdin.write(encode_frame(request))

    async def _keep(self) -> None:
        pause, loop = FIRST_RESTART_S, asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                await self._run()
            except (OSError, RemoteProtocolError, TimeoutError) as error:
                _log.warning("the DHT's process failed", reason=str(error) or type(error).__name__)
            finally:
                self._ready.clear()
                for lookup in self._lookups.values():
                    if not lookup.done.done():
                        lookup.done.set_result(False)
            await self._stop()
            pause = FIRST_RESTART_S if loop.time() - begun > STEADY_S else min(MAX_RESTART_S, 2 * pause)
            await asyncio.sleep(pause)

    async def _run(self) -> None:
        """Start the process and hear it out.

        Raises:
            OSError: it cannot be started, or says so.
            RemoteProtocolError: what it says is not in the form.
            TimeoutError: it says nothing.
        """
        self.starts += 1
        process = self._process = await asyncio.create_subprocess_exec(
            *module_command(MODULE), *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
            cwd=Path(sys.prefix),
            start_new_session=True,  # Ctrl-C is for us; we end it in order
        )  # fmt: skip
        output, reader = process.stdout, FrameReader(is_relay=True)
        async with asyncio.timeout(START_S) as patience:
            while output is not None and (octets := await output.read(READ_SIZE)):
                for frame in reader.feed(octets):
                    self._take(frame)
                if self._ready.is_set():
                    patience.reschedule(None)
        raise OSError(f"it ended, code {await process.wait()}")

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, Ready):
            self.port = frame.port
            self._ready.set()
            for key, value in self._values.items():
                self._send(Put(key, value))
        elif isinstance(frame, Refused):
            raise OSError(f"dht: the UDP port cannot be had ({frame.reason})")
        elif isinstance(frame, Value) and frame.id in self._lookups:
            lookup = self._lookups[frame.id]
            if len(lookup.found) < lookup.at_most:  # what else it says of this one is dropped
                lookup.found.append(frame.value)
        elif isinstance(frame, Done) and frame.id in self._lookups:
            done = self._lookups[frame.id].done
            if not done.done():
                done.set_result(frame.is_answered)

    async def _stop(self) -> None:
        """End the process; one that was cancelled here is ended by the next call."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()  # it ends with its input
        try:
            async with asyncio.timeout(STOP_S):
                await _end_of(process)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await _end_of(process)
        self._process = None


async def _end_of(process: asyncio.subprocess.Process) -> None:
    """Wait for a process, and read what is left of it, so that its pipe is closed."""
    while process.stdout is not None and await process.stdout.read(READ_SIZE):
        pass
    await process.wait()
