"""Structures as 64-bit Windows has them, and what is told to the platform, by a library that remembers."""

import ctypes
from typing import Any
from uuid import UUID

import pytest

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.traffic.backends import wfp_filters, wfp_io
from vigilnet.traffic.backends.wfp_filters import ADDRESS, APPLICATION, FLAGS, INTERFACE, PROTOCOL, Filter
from vigilnet.traffic.backends.wfp_io import Condition, Engine, FwpmFilter, FwpValue, Guid, Sublayer, V6Mask

pytestmark = pytest.mark.skipif(ctypes.sizeof(ctypes.c_void_p) != 8, reason="structures of 64-bit systems")

APP_ID = ctypes.create_string_buffer(b"the program")


class Platform:
    """Stands in for fwpuclnt.dll: copies what it is told, answers with `codes` by function."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.codes: dict[str, int] = {}
        self.filters: list[tuple[int, int, int, list[tuple[UUID, int, object]]]] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # as ctypes does
        def called(*words: Any) -> int:  # noqa: ANN401
            self.calls.append(name)
            if name == "FwpmFilterAdd0":
                self._add(words[1]._obj)
            elif name == "FwpmGetAppIdFromFileName0":
                ctypes.cast(words[1], ctypes.POINTER(ctypes.c_void_p))[0] = ctypes.addressof(APP_ID)
            return self.codes.get(name, 0)

        return called

    def _add(self, made: FwpmFilter) -> None:
        conditions = []
        for at in range(made.condition_count):
            one = made.conditions[at]
            conditions.append((UUID(bytes_le=bytes(one.field)), one.match, seen(one.value)))
        self.filters.append((made.flags, made.action.kind, made.weight.value, conditions))


def seen(value: FwpValue) -> object:
    """What the platform reads, following pointers."""
    if value.kind == 4:
        return ctypes.c_uint64.from_address(value.value).value
    if value.kind == 0x100:
        return tuple((ctypes.c_uint32 * 2).from_address(value.value))
    if value.kind == 0x101:
        mask = V6Mask.from_address(value.value)
        return bytes(mask.address), mask.length
    return value.kind, value.value


def test_structures_have_the_sizes_and_places_of_windows() -> None:
    sizes = {Guid: 16, FwpValue: 16, Condition: 40, FwpmFilter: 200, Sublayer: 72, V6Mask: 17}
    assert {kind: ctypes.sizeof(kind) for kind in sizes} == sizes
    offsets = {
        "display": 16, "flags": 32, "provider": 40, "provider_data": 48, "layer": 64, "sublayer": 80,
        "weight": 96, "condition_count": 112, "conditions": 120, "action": 128, "context": 152,
        "reserved": 168, "identifier": 176, "effective_weight": 184,
    }  # fmt: skip
    assert {name: getattr(FwpmFilter, name).offset for name in offsets} == offsets
    guid = Guid.of(UUID("c38d57d1-05a7-4c33-904f-7fbceee60e82"))
    assert (guid.data1, guid.data2, guid.data3, bytes(guid.data4).hex()) == (
        0xC38D57D1, 0x05A7, 0x4C33, "904f7fbceee60e82",
    )  # fmt: skip


def test_filters_are_replaced_in_one_transaction() -> None:
    platform = Platform()
    engine = Engine(platform)
    conditions = (
        (APPLICATION, "x.exe"), (INTERFACE, 77), (ADDRESS, "192.168.0.0/16"), (ADDRESS, "2001:db8::/32"),
        (PROTOCOL, 17), (FLAGS, 1), (wfp_filters.FAR_PORT, 53),
    )  # fmt: skip
    wanted = [
        Filter("a", wfp_filters.OUT[4], True, 10, conditions),
        Filter("b", wfp_filters.OUT[4], False, 1),
    ]
    engine.replace([one.key for one in wanted], wanted, persistent=True)
    engine.close()
    assert platform.calls == [
        "FwpmEngineOpen0", "FwpmTransactionBegin0", "FwpmFilterDeleteByKey0", "FwpmFilterDeleteByKey0",
        "FwpmSubLayerDeleteByKey0", "FwpmSubLayerAdd0", "FwpmGetAppIdFromFileName0", "FwpmFilterAdd0",
        "FwpmFilterAdd0", "FwpmTransactionCommit0", "FwpmEngineClose0",
    ]  # fmt: skip
    (flags, action, weight, told), second = platform.filters
    assert (flags, action, weight) == (1 | 8, 0x1002, 10)
    assert told == [
        (APPLICATION, 0, (12, ctypes.addressof(APP_ID))),
        (INTERFACE, 0, 77),
        (ADDRESS, 0, (0xC0A80000, 0xFFFF0000)),
        (ADDRESS, 0, (bytes.fromhex("20010db8") + bytes(12), 32)),
        (PROTOCOL, 0, (1, 17)),
        (FLAGS, 6, (3, 1)),
        (wfp_filters.FAR_PORT, 0, (2, 53)),
    ]
    assert second == (1, 0x1001, 1, [])


def test_a_refusal_undoes_everything() -> None:
    platform = Platform()
    engine = Engine(platform)
    platform.codes["FwpmFilterAdd0"] = -0x7FCDFFFE  # as ctypes gives 0x80320002
    with pytest.raises(EnvironmentRefusedError, match="filter b: error 0x80320002"):
        engine.replace([], [Filter("b", wfp_filters.OUT[4], False, 1)], persistent=False)
    assert platform.calls[-1] == "FwpmTransactionAbort0"


def test_what_is_gone_already_need_not_be_removed() -> None:
    platform = Platform()
    platform.codes = {"FwpmFilterDeleteByKey0": 0x80320003, "FwpmSubLayerDeleteByKey0": 0x80320007}
    Engine(platform).remove([wfp_filters.SUBLAYER])
    assert platform.calls[-1] == "FwpmTransactionCommit0"


def test_without_rights_or_platform_it_is_told() -> None:
    platform = Platform()
    platform.codes["FwpmEngineOpen0"] = 5
    with pytest.raises(EnvironmentRefusedError, match="open: error 0x5"):
        Engine(platform)
    if not hasattr(ctypes, "WinDLL"):
        with pytest.raises(EnvironmentRefusedError, match="not on this system"):
            wfp_io.open_engine()
