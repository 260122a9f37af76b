"""A wintun interface by ctypes (wintun.dll, 64-bit Windows): packets by rings shared with the driver.

The daemon's event loop cannot wait for the driver's event, so two threads carry packets between the rings and
one end of a pair of datagram sockets on loopback, of which the daemon reads the other. Not tried on a real
machine.
"""

import contextlib
import ctypes
import socket
import threading
from typing import Any, Final
from uuid import UUID

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends.wfp_io import Guid
from vigilnet.traffic.backends.windows_commands import NAME

IDENTITY: Final = UUID("9d0c2f3e-6a71-5c57-8a44-56004e455401")  # the same at every start, so Windows knows it
CAPACITY: Final = 0x40_0000  # octets of each ring; a power of two
WAIT_MS: Final = 250
BUFFER: Final = 4 << 20
HANDLES: Final = (  # functions that give a handle or a place, of 64 bits
    "CreateAdapter", "StartSession", "GetReadWaitEvent", "ReceivePacket", "AllocateSendPacket",
)  # fmt: skip
_NO_MORE_ITEMS: Final = 259
_LARGEST: Final = 0xFFFF


class Wintun:
    """One adapter with a running session.

    Args:
        library: wintun.dll.
        kernel: kernel32.dll, for waiting.
        last_error: gives the code of the last failure.
    """

    def __init__(self, library: Any, kernel: Any, last_error: Any) -> None:  # noqa: ANN401  # DLLs have no types
        self._library, self._kernel, self._last_error = library, kernel, last_error
        for name in (
            "CreateAdapter",
            "StartSession",
            "GetReadWaitEvent",
            "ReceivePacket",
            "AllocateSendPacket",
        ):
            getattr(library, f"Wintun{name}").restype = ctypes.c_void_p
        self._session = 0
        self._adapter = self._checked(
            "adapter",
            library.WintunCreateAdapter(
                ctypes.c_wchar_p(NAME), ctypes.c_wchar_p(NAME), ctypes.byref(Guid.of(IDENTITY))
            ),
        )
        try:
            session = library.WintunStartSession(ctypes.c_void_p(self._adapter), ctypes.c_uint32(CAPACITY))
            self._session = self._checked("session", session)
        except BaseException:
            self.close()
            raise
        self._event = library.WintunGetReadWaitEvent(ctypes.c_void_p(self._session))

    def _checked(self, what: str, handle: int | None) -> int:
        if not handle:
            raise EnvironmentRefusedError(
                f"wintun: {what}: error {self._last_error()}; it needs an administrator"
            )
        return int(handle)

    @property
    def luid(self) -> int:
        """The interface's number (NET_LUID)."""
        found = ctypes.c_uint64()
        self._library.WintunGetAdapterLUID(ctypes.c_void_p(self._adapter), ctypes.byref(found))
        return found.value

    def read(self) -> bytes:
        """Return the next packet; empty if there is none.

        Raises:
            EnvironmentRefusedError: the adapter is gone.
        """
        size = ctypes.c_uint32()
        at = self._library.WintunReceivePacket(ctypes.c_void_p(self._session), ctypes.byref(size))
        if not at:
            code = self._last_error()
            if code != _NO_MORE_ITEMS:
                raise EnvironmentRefusedError(f"wintun: read: error {code}")
            return b""
        try:
            return ctypes.string_at(at, size.value)
        finally:
            self._library.WintunReleaseReceivePacket(ctypes.c_void_p(self._session), ctypes.c_void_p(at))

    def wait(self) -> None:
        """Wait until there may be a packet, `WAIT_MS` at most."""
        self._kernel.WaitForSingleObject(ctypes.c_void_p(self._event), ctypes.c_uint32(WAIT_MS))

    def write(self, packet: bytes) -> bool:
        """Write one packet; return whether there was room for it."""
        if not 0 < len(packet) <= _LARGEST:
            return False
        session = ctypes.c_void_p(self._session)
        at = self._library.WintunAllocateSendPacket(session, ctypes.c_uint32(len(packet)))
        if not at:
            return False
        ctypes.memmove(at, packet, len(packet))
        self._library.WintunSendPacket(session, ctypes.c_void_p(at))
        return True

    def close(self) -> None:
        """End the session and remove the adapter."""
        if self._session:
            self._library.WintunEndSession(ctypes.c_void_p(self._session))
        self._library.WintunCloseAdapter(ctypes.c_void_p(self._adapter))


class Pump:
    """Carries packets between an adapter and `far`, the descriptor that the daemon reads.

    Args:
        adapter: whose end is closed with this.
    """

    def __init__(self, adapter: Wintun) -> None:
        self._adapter = adapter
        self._near, self.far = datagram_pair()
        self._is_over = False
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._out, self._in)]
        for thread in self._threads:
            thread.start()

    def _out(self) -> None:
        """From applications."""
        with contextlib.suppress(EnvironmentRefusedError):
            while not self._is_over:
                packet = self._adapter.read()
                if packet:
                    with contextlib.suppress(OSError):  # full: the daemon is slow, and packets may be lost
                        self._near.send(packet)
                else:
                    self._adapter.wait()

    def _in(self) -> None:
        """To applications."""
        while not self._is_over:
            with contextlib.suppress(OSError):  # nothing came within the wait
                packet = self._near.recv(_LARGEST)
                if not self._is_over:
                    self._adapter.write(packet)

    def close(self) -> None:
        """End both ways, and the adapter."""
        self._is_over = True
        for thread in self._threads:
            thread.join()
        self._near.close()
        self.far.close()
        self._adapter.close()


def datagram_pair() -> tuple[socket.socket, socket.socket]:
    """Return two datagram sockets on loopback that take packets from one another alone; the first waits."""
    near, far = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for sock in (near, far):
        sock.bind(("127.0.0.1", 0))
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    near.connect(far.getsockname())
    far.connect(near.getsockname())
    near.settimeout(WAIT_MS / 1000)
    far.setblocking(False)
    return near, far


def open_wintun() -> Wintun:
    """Open the adapter; raises EnvironmentRefusedError where there is no wintun, or no rights."""
    load = getattr(ctypes, "WinDLL", None)
    if load is None:
        raise EnvironmentRefusedError("wintun: not on this system")
    try:
        library = load("wintun.dll", use_last_error=True)
    except OSError as error:
        raise EnvironmentRefusedError("wintun: wintun.dll is not installed; use the SOCKS proxy") from error
    return Wintun(library, load("kernel32.dll"), getattr(ctypes, "get_last_error"))  # noqa: B009  # types
