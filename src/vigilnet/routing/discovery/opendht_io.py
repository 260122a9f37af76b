"""The process that runs OpenDHT for a relay: `python -m ...opendht_io HOST4 HOST6 PORT NETWORK`.

Requests come by standard input, reports go to standard output (`dht_worker`). It ends with its input. It is
started with no settings, keys or files of the relay's, and imports little: 20 MB.

The library's thread holds a lock while it calls back and waits for Python's own lock (GIL). What of the
library waits for that lock without giving the GIL away (`get...Log`, `getBound`, `getNodeMessageStats`)
stops both for ever, so nothing of it is called while the node runs.
"""

import contextlib
import os
import sys
import threading
from typing import Final

import opendht  # type: ignore[import-untyped]  # it has no types of its own

from vigilnet.routing.discovery.dht_worker import (
    MAX_VALUE,
    Bootstrap,
    Done,
    Forget,
    Frame,
    FrameReader,
    Get,
    Put,
    Ready,
    Refused,
    Report,
    Value,
    Withdraw,
    encode_frame,
)
from vigilnet.routing.discovery.udp_port_io import check_udp_port

INPUT, OUTPUT = 0, 1
READ_SIZE: Final = 65_536
MAX_GETS: Final = 64
MAX_MEMORY: Final = 256 << 20  # of data; the library alone takes 5 MB


class OpenDhtProcess:
    """One OpenDHT node on a UDP port, served to one relay.

    Args:
        host4: IPv4 address to listen at, or "" for none.
        host6: IPv6 address to listen at, or "" for none.
        port: UDP port.
        network: number of the network; nodes of other numbers are not heard.
    """

    def __init__(self, host4: str, host6: str, port: int, network: int) -> None:
        self._values: dict[bytes, opendht.Value] = {}
        self._gets: set[int] = set()
        self._writing = threading.Lock()
        config = opendht.DhtConfig()
        config.setNetwork(network)
        self._runner = opendht.DhtRunner()
        self._runner.run(port=port, ipv4=host4, ipv6=host6, config=config)
        self.port = port or int(str(self._runner.getBound()).rpartition(":")[2])

    def serve(self) -> None:
        """Do what the relay asks until it says no more."""
        self._say(Ready(self.port))
        reader = FrameReader(is_relay=False)
        while octets := os.read(INPUT, READ_SIZE):
            for frame in reader.feed(octets):
                self._take(frame)

    def _say(self, report: Report) -> None:
        octets = memoryview(encode_frame(report))
        with self._writing:
            while octets:
                octets = octets[os.write(OUTPUT, octets) :]

    def _take(self, frame: Frame) -> None:
        match frame:
            case Bootstrap():
                self._runner.bootstrap(frame.host, str(frame.port))
            case Put():
                self._withdraw(frame.key)
                self._values[frame.key] = opendht.Value(frame.value)
                self._runner.put(_hash(frame.key), self._values[frame.key], permanent=True)
            case Withdraw():
                self._withdraw(frame.key)
            case Get():
                self._get(frame)
            case Forget():
                self._gets.discard(frame.id)
            case _:
                pass  # the reader lets nothing else through

    def _withdraw(self, key: bytes) -> None:
        value = self._values.pop(key, None)
        if value is not None:
            self._runner.cancelPut(_hash(key), value)

    def _get(self, frame: Get) -> None:
        if len(self._gets) >= MAX_GETS:
            self._say(Done(frame.id, is_answered=False))
            return
        self._gets.add(frame.id)
        left = [frame.at_most]

        def got(value: opendht.Value) -> bool:
            octets = bytes(value.data)
            if frame.id not in self._gets or left[0] <= 0:
                return False
            left[0] -= 1
            if len(octets) <= MAX_VALUE:
                self._say(Value(frame.id, octets))
            return left[0] > 0

        def ended(is_ok: bool, nodes: object) -> None:
            del nodes
            if frame.id in self._gets:
                self._gets.discard(frame.id)
                with contextlib.suppress(OSError):  # the relay is gone
                    self._say(Done(frame.id, is_ok))

        self._runner.get(_hash(frame.key), got, ended)


def _hash(key: bytes) -> opendht.InfoHash:
    return opendht.InfoHash(key.hex().encode())


def _confine() -> None:
    """Take away what a library that was taken over could use: memory, new rights, core dumps."""
    if sys.platform == "win32":
        return
    import resource

    for limit, most in ((resource.RLIMIT_DATA, MAX_MEMORY), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, (most, most))
    if sys.platform.startswith("linux"):
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        libc.prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG: SIGKILL


def main() -> None:
    """Serve the relay at the other end of our pipes."""
    host4, host6, port, network = sys.argv[1:5]
    _confine()
    try:
        check_udp_port(host4, host6, int(port))
    except OSError as error:
        os.write(OUTPUT, encode_frame(Refused(error.strerror or "the port cannot be had")))
        return
    OpenDhtProcess(host4, host6, int(port), int(network)).serve()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
    os._exit(0)  # at once: the library's threads hold nothing that must be kept
