"""The Windows Filtering Platform by ctypes: adds and removes the filters of `wfp_filters`.

Objects are neither dynamic nor persistent: they outlive this process and end with a reboot; those of lockdown
are persistent. Structures are those of fwpmtypes.h on 64-bit Windows. Not tried on a real machine.
"""

import ctypes
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Any, Final
from uuid import UUID

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends import wfp_filters
from vigilnet.traffic.backends.wfp_filters import Filter, Value

_UINT8, _UINT16, _UINT32, _UINT64, _BLOB, _V4_MASK, _V6_MASK = 1, 2, 3, 4, 12, 0x100, 0x101  # FWP_DATA_TYPE
_EQUAL, _FLAGS_ALL_SET = 0, 6  # FWP_MATCH_TYPE
_BLOCK, _PERMIT = 0x1001, 0x1002  # FWP_ACTION_TYPE
_PERSISTENT, _CLEAR_ACTION_RIGHT = 1, 8
_AUTHENTICATION_DEFAULT: Final = 10  # RPC_C_AUTHN_WINNT
_FOUND_NO_FILTER, _FOUND_NO_SUBLAYER, _EXISTS = 0x8032_0003, 0x8032_0007, 0x8032_0009


class Guid(ctypes.Structure):
    """GUID."""

    _fields_ = (
        ("data1", ctypes.c_uint32), ("data2", ctypes.c_uint16), ("data3", ctypes.c_uint16),
        ("data4", ctypes.c_uint8 * 8),
    )  # fmt: skip

    @classmethod
    def of(cls, value: UUID) -> "Guid":
        """Return a GUID as Windows lays it out."""
        return cls.from_buffer_copy(value.bytes_le)


class DisplayData(ctypes.Structure):
    """FWPM_DISPLAY_DATA0."""

    _fields_ = (("name", ctypes.c_wchar_p), ("description", ctypes.c_wchar_p))


class ByteBlob(ctypes.Structure):
    """FWP_BYTE_BLOB."""

    _fields_ = (("size", ctypes.c_uint32), ("data", ctypes.c_void_p))


class V4Mask(ctypes.Structure):
    """FWP_V4_ADDR_AND_MASK: both as numbers."""

    _fields_ = (("address", ctypes.c_uint32), ("mask", ctypes.c_uint32))


class V6Mask(ctypes.Structure):
    """FWP_V6_ADDR_AND_MASK."""

    _fields_ = (("address", ctypes.c_uint8 * 16), ("length", ctypes.c_uint8))


class FwpValue(ctypes.Structure):
    """FWP_VALUE0 and FWP_CONDITION_VALUE0: a number, or a pointer in its place."""

    _fields_ = (("kind", ctypes.c_uint32), ("value", ctypes.c_uint64))


class Condition(ctypes.Structure):
    """FWPM_FILTER_CONDITION0."""

    _fields_ = (("field", Guid), ("match", ctypes.c_uint32), ("value", FwpValue))


class Action(ctypes.Structure):
    """FWPM_ACTION0."""

    _fields_ = (("kind", ctypes.c_uint32), ("filter_type", Guid))


class FwpmFilter(ctypes.Structure):
    """FWPM_FILTER0."""

    _fields_ = (
        ("key", Guid), ("display", DisplayData), ("flags", ctypes.c_uint32),
        ("provider", ctypes.c_void_p), ("provider_data", ByteBlob), ("layer", Guid), ("sublayer", Guid),
        ("weight", FwpValue), ("condition_count", ctypes.c_uint32), ("conditions", ctypes.POINTER(Condition)),
        ("action", Action), ("context", ctypes.c_uint64 * 2), ("reserved", ctypes.c_void_p),
        ("identifier", ctypes.c_uint64), ("effective_weight", FwpValue),
    )  # fmt: skip


class Sublayer(ctypes.Structure):
    """FWPM_SUBLAYER0."""

    _fields_ = (
        ("key", Guid), ("display", DisplayData), ("flags", ctypes.c_uint32), ("provider", ctypes.c_void_p),
        ("provider_data", ByteBlob), ("weight", ctypes.c_uint16),
    )  # fmt: skip


class Engine:
    """A session with the platform.

    Args:
        library: fwpuclnt.dll.
    """

    def __init__(self, library: Any) -> None:  # noqa: ANN401  # a DLL has no type
        self._library = library
        self._handle = ctypes.c_void_p()
        self._check(
            "open",
            library.FwpmEngineOpen0(None, _AUTHENTICATION_DEFAULT, None, None, ctypes.byref(self._handle)),
        )

    def close(self) -> None:
        """End the session; filters stay."""
        self._library.FwpmEngineClose0(self._handle)

    def replace(self, before: Sequence[UUID], filters: Sequence[Filter], *, persistent: bool) -> None:
        """Put filters in place of others, in one transaction: there is no moment between.

        Args:
            before: keys of those that are there, as far as that is known; others of ours stay.
            filters: those that shall be there.
            persistent: also after a reboot.

        Raises:
            EnvironmentRefusedError: the platform refuses; nothing changed.
        """
        self._transact(lambda: self._replace(before, filters, persistent=persistent))

    def remove(self, keys: Sequence[UUID]) -> None:
        """Take filters and the sublayer away; raises EnvironmentRefusedError."""
        self._transact(lambda: self._remove(keys))

    def _transact(self, work: Callable[[], None]) -> None:
        self._check("begin", self._library.FwpmTransactionBegin0(self._handle, 0))
        try:
            work()
        except BaseException:
            self._library.FwpmTransactionAbort0(self._handle)
            raise
        self._check("commit", self._library.FwpmTransactionCommit0(self._handle))

    def _replace(self, before: Sequence[UUID], filters: Sequence[Filter], *, persistent: bool) -> None:
        self._remove(before)
        flags = _PERSISTENT if persistent else 0
        display = DisplayData("VigilNet", "lets nothing out around the tunnel")
        sublayer = Sublayer(Guid.of(wfp_filters.SUBLAYER), display, flags, None, ByteBlob(), 0xFFFF)
        added = self._library.FwpmSubLayerAdd0(self._handle, ctypes.byref(sublayer), None)
        self._check("sublayer", added, (_EXISTS,))
        for one in filters:
            self._add(one, flags)

    def _remove(self, keys: Sequence[UUID]) -> None:
        for key in keys:
            gone = self._library.FwpmFilterDeleteByKey0(self._handle, ctypes.byref(Guid.of(key)))
            self._check("remove", gone, (_FOUND_NO_FILTER,))
        sublayer = ctypes.byref(Guid.of(wfp_filters.SUBLAYER))
        gone = self._library.FwpmSubLayerDeleteByKey0(self._handle, sublayer)
        self._check("remove sublayer", gone, (_FOUND_NO_SUBLAYER,))

    def _add(self, one: Filter, flags: int) -> None:
        kept: list[Any] = []  # what the structures point to
        conditions = [self._condition(field, value, kept) for field, value in one.conditions]
        array = (Condition * len(conditions))(*conditions)
        made = FwpmFilter(
            key=Guid.of(one.key),
            display=DisplayData(f"VigilNet {one.name}", None),
            flags=flags | (_CLEAR_ACTION_RIGHT if one.permits else 0),
            layer=Guid.of(one.layer),
            sublayer=Guid.of(wfp_filters.SUBLAYER),
            weight=FwpValue(_UINT8, one.weight),
            condition_count=len(conditions),
            conditions=ctypes.cast(array, ctypes.POINTER(Condition)),
            action=Action(_PERMIT if one.permits else _BLOCK, Guid()),
        )
        added = self._library.FwpmFilterAdd0(self._handle, ctypes.byref(made), None, None)
        self._check(f"filter {one.name}", added)

    def _condition(self, field: UUID, value: Value, kept: list[Any]) -> Condition:
        match = _FLAGS_ALL_SET if field == wfp_filters.FLAGS else _EQUAL
        return Condition(Guid.of(field), match, self._value(field, value, kept))

    def _value(self, field: UUID, value: Value, kept: list[Any]) -> FwpValue:
        if field == wfp_filters.APPLICATION:
            return FwpValue(_BLOB, self._application(str(value), kept))
        if field == wfp_filters.ADDRESS:
            return _network(str(value), kept)
        number = int(value)
        if field == wfp_filters.INTERFACE:
            kept.append(ctypes.c_uint64(number))
            return FwpValue(_UINT64, ctypes.addressof(kept[-1]))
        kinds = {wfp_filters.PROTOCOL: _UINT8, wfp_filters.FLAGS: _UINT32}
        return FwpValue(kinds.get(field, _UINT16), number)

    def _application(self, path: str, kept: list[Any]) -> int:
        blob = ctypes.c_void_p()
        found = self._library.FwpmGetAppIdFromFileName0(ctypes.c_wchar_p(path), ctypes.byref(blob))
        self._check("program", found)
        kept.append(blob)
        return int(blob.value or 0)

    @staticmethod
    def _check(what: str, code: int, allowed: tuple[int, ...] = ()) -> None:
        if code & 0xFFFF_FFFF not in (0, *allowed):
            raise EnvironmentRefusedError(
                f"Windows Filtering Platform: {what}: error {code & 0xFFFF_FFFF:#x}"
            )


def _network(text: str, kept: list[Any]) -> FwpValue:
    network = ip_network(text)
    if network.version == 4:
        kept.append(V4Mask(int(network.network_address), int(network.netmask)))
        return FwpValue(_V4_MASK, ctypes.addressof(kept[-1]))
    kept.append(V6Mask((ctypes.c_uint8 * 16)(*network.network_address.packed), network.prefixlen))
    return FwpValue(_V6_MASK, ctypes.addressof(kept[-1]))


def open_engine() -> Engine:
    """Open a session; raises EnvironmentRefusedError where there is no such platform, or no rights."""
    load = getattr(ctypes, "WinDLL", None)
    if load is None:
        raise EnvironmentRefusedError("Windows Filtering Platform: not on this system")
    return Engine(load("fwpuclnt.dll"))
