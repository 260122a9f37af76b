"""What the Windows Filtering Platform is told, as plain values (sans-IO; docs/spec/device.md section 15).

All filters lie in one sublayer of ours, above others': among them the heaviest that matches decides, and a
block there cannot be overruled by the Windows Firewall. They are judged when a connection or a flow begins.

Not tried on a real machine. Numbers are those of fwpmu.h and fwptypes.h.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final
from uuid import UUID, uuid5

from vigilnet.traffic.backends.ruleset import GROUPS4, GROUPS6, LAN4, LAN6
from vigilnet.traffic.device.settings import DeviceSettings, Scope

OUT: Final = {
    4: UUID("c38d57d1-05a7-4c33-904f-7fbceee60e82"), 6: UUID("4a72393b-319f-44bc-84c3-ba54dcb3b6b4"),
}  # fmt: skip
IN: Final = {
    4: UUID("e1cd9fe7-f4b5-4273-96c0-592e487b8650"), 6: UUID("a3b42c97-9f04-4672-b87e-cee9c483257f"),
}  # fmt: skip
APPLICATION: Final = UUID("d78e1e87-8644-4ea5-9437-d809ecefc971")
INTERFACE: Final = UUID("4cd62a49-59c3-4969-b7f3-bda5d32890a4")
ADDRESS: Final = UUID("b235ae9a-1d64-49b8-a44c-5ff3d9095045")
PROTOCOL: Final = UUID("3971ef2b-623e-4f9a-8cb1-6e79b806b9a7")
NEAR_PORT: Final = UUID("0c1ba1af-5765-453f-af22-a8f791ac775b")  # for ICMP: the type
FAR_PORT: Final = UUID("c35a604d-d22b-4e1a-91b4-68f674ee674b")
FLAGS: Final = UUID("632ce23b-5167-435c-86d7-e903684aa80c")
SUBLAYER: Final = UUID("9d0c2f3e-6a71-5c57-8a44-56004e455400")
IS_LOOPBACK: Final = 1
LIGHT, MIDDLE, HEAVY, HEAVIEST = 1, 6, 10, 14  # of 0 to 15
_ICMPV6, _UDP, _TCP = 58, 17, 6

Value = int | str  # a number, a network, or the path of a program


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter: whatever meets every condition is let through, or not."""

    name: str
    layer: UUID
    permits: bool
    weight: int
    conditions: tuple[tuple[UUID, Value], ...] = ()

    @property
    def key(self) -> UUID:
        """Its name for the system, the same at every start: it is found again without a memory of it."""
        return uuid5(SUBLAYER, f"{self.name} {self.layer}")


def protected(settings: DeviceSettings, program: str, interface: int) -> list[Filter]:
    """Return the filters of a device that is up.

    Args:
        settings: see there; users, marks and exits for programs are not for this system.
        program: whose traffic is ours, by the path of its file.
        interface: the tunnel's number (NET_LUID).
    """
    filters = list(_housekeeping(program))
    for version in (4, 6):
        filters += [
            Filter("tunnel", layer, True, HEAVY, ((INTERFACE, interface),))
            for layer in (OUT[version], IN[version])
        ]
        refused = [rule for rule in settings.rules if rule.direction == "out"]
        for number, rule in enumerate(refused):
            if ip_network(rule.network).version == version:
                conditions: list[tuple[UUID, Value]] = [(ADDRESS, rule.network)]
                conditions += (
                    [] if rule.protocol == "any" else [(PROTOCOL, {"tcp": _TCP, "udp": _UDP}[rule.protocol])]
                )
                conditions += [(FAR_PORT, rule.port)] if rule.port else []
                filters.append(Filter(f"wish {number}", OUT[version], False, MIDDLE + 6, tuple(conditions)))
    filters += _around(settings)
    for port in settings.open_ports:
        filters += [
            Filter(f"open {port}", IN[version], True, MIDDLE, ((PROTOCOL, _TCP), (NEAR_PORT, port)))
            for version in (4, 6)
        ]
    return filters if settings.scope is Scope.INCLUDED else [*filters, *_closed()]


def lockdown(program: str) -> list[Filter]:
    """Return the filters that let only links out."""
    return [*_housekeeping(program), *_closed()]


def _around(settings: DeviceSettings) -> Iterator[Filter]:
    lan = (*LAN4, *GROUPS4, *LAN6, *GROUPS6) if settings.allow_lan else ()
    for text in (*settings.outside_networks, *lan):
        version = ip_network(text).version
        yield Filter(f"around {text}", OUT[version], True, MIDDLE, ((ADDRESS, text),))
    for text in lan:
        version = ip_network(text).version
        yield Filter(f"from {text}", IN[version], True, MIDDLE, ((ADDRESS, text),))
        for protocol in (_UDP, _TCP) if text not in (*GROUPS4, *GROUPS6) else ():  # names are asked of us
            conditions = ((ADDRESS, text), (PROTOCOL, protocol), (FAR_PORT, 53))
            yield Filter(f"names {protocol} {text}", OUT[version], False, MIDDLE + 1, conditions)


def _housekeeping(program: str) -> Iterator[Filter]:
    """Our own traffic, this machine's own, and what keeps its address and neighbours."""
    for version in (4, 6):
        for layer in (OUT[version], IN[version]):
            yield Filter("loopback", layer, True, HEAVIEST + 1, ((FLAGS, IS_LOOPBACK),))
            yield Filter("own", layer, True, HEAVIEST, ((APPLICATION, program),))
    for text in (*LAN4, "255.255.255.255/32"):
        conditions = ((ADDRESS, text), (PROTOCOL, _UDP), (NEAR_PORT, 68), (FAR_PORT, 67))
        yield Filter(f"dhcp {text}", OUT[4], True, MIDDLE, conditions)
    yield Filter("dhcp", IN[4], True, MIDDLE, ((PROTOCOL, _UDP), (NEAR_PORT, 68), (FAR_PORT, 67)))
    for text in ("fe80::/10", "ff02::1:2/128"):
        conditions = ((ADDRESS, text), (PROTOCOL, _UDP), (NEAR_PORT, 546), (FAR_PORT, 547))
        yield Filter(f"dhcp {text}", OUT[6], True, MIDDLE, conditions)
    yield Filter("dhcp", IN[6], True, MIDDLE, ((PROTOCOL, _UDP), (NEAR_PORT, 546), (FAR_PORT, 547)))
    for kinds, layer in (((133, 135, 136), OUT[6]), ((134, 135, 136), IN[6])):
        for kind in kinds:
            yield Filter(f"neighbours {kind}", layer, True, MIDDLE, ((PROTOCOL, _ICMPV6), (NEAR_PORT, kind)))


def _closed() -> Iterator[Filter]:
    for version in (4, 6):
        yield Filter("closed", OUT[version], False, LIGHT)
        yield Filter("closed", IN[version], False, LIGHT)
