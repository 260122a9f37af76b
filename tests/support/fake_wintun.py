"""wintun.dll and kernel32.dll that are two lists: what applications send, and what comes for them."""

import ctypes
import threading
from typing import Any


class FakeWintun:
    """Stands in for wintun.dll; `refuses` names a function that gives nothing."""

    def __init__(self) -> None:
        self.from_applications: list[bytes] = []
        self.to_applications: list[bytes] = []
        self.calls: list[str] = []
        self.refuses = ""
        self.error = 259
        self.came = threading.Event()
        self._lent: dict[int, Any] = {}
        for name in (
            "CreateAdapter",
            "StartSession",
            "GetReadWaitEvent",
            "ReceivePacket",
            "AllocateSendPacket",
        ):
            setattr(self, f"Wintun{name}", _Function(self, name))

    def last_error(self) -> int:
        return self.error

    def called(self, name: str, words: tuple[Any, ...]) -> int | None:
        """One of the functions that give a handle or a place."""
        if name == self.refuses:
            return None
        if name == "ReceivePacket":
            if not self.from_applications:
                return None
            packet = self.from_applications.pop(0)
            ctypes.cast(words[1], ctypes.POINTER(ctypes.c_uint32))[0] = len(packet)
            return self._lend(ctypes.create_string_buffer(packet, len(packet)))
        if name == "AllocateSendPacket":
            return self._lend(ctypes.create_string_buffer(words[1].value))
        self.calls.append(name)
        return {"CreateAdapter": 11, "StartSession": 12, "GetReadWaitEvent": 13}[name]

    def _lend(self, buffer: Any) -> int:  # noqa: ANN401  # a ctypes array
        at = ctypes.addressof(buffer)
        self._lent[at] = buffer
        return at

    def WintunGetAdapterLUID(self, adapter: Any, luid: Any) -> None:  # noqa: ANN401, N802
        assert adapter.value == 11
        ctypes.cast(luid, ctypes.POINTER(ctypes.c_uint64))[0] = 77

    def WintunReleaseReceivePacket(self, session: Any, at: Any) -> None:  # noqa: ANN401, N802
        assert session.value == 12
        del self._lent[at.value]

    def WintunSendPacket(self, session: Any, at: Any) -> None:  # noqa: ANN401, N802
        assert session.value == 12
        self.to_applications.append(self._lent.pop(at.value).raw)
        self.came.set()

    def WintunEndSession(self, session: Any) -> None:  # noqa: ANN401, N802
        assert not self._lent
        self.calls.append(f"EndSession {session.value}")

    def WintunCloseAdapter(self, adapter: Any) -> None:  # noqa: ANN401, N802
        self.calls.append(f"CloseAdapter {adapter.value}")

    def WaitForSingleObject(self, event: Any, milliseconds: Any) -> int:  # noqa: ANN401, N802
        assert event.value == 13
        threading.Event().wait(min(milliseconds.value, 5) / 1000)
        return 0


class _Function:
    restype: Any = None

    def __init__(self, library: FakeWintun, name: str) -> None:
        self._library, self._name = library, name

    def __call__(self, *words: Any) -> int | None:  # noqa: ANN401
        return self._library.called(self._name, words)
