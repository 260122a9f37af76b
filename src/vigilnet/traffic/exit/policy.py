"""The exit policy: ordered rules over the resolved address and the port (sans-IO).

The language is Tor's (docs/spec/exit.md section 4), one rule a line or comma, first match wins:

    accept *:80            any address, one port
    reject 10.0.0.0/8:*    a network, any port
    accept [2606:4700::]/32:443-445
    accept6 *:22           IPv6 only; so is *6, and *4 is IPv4 only

What no rule matches is refused. Special-purpose addresses and the exit's own are refused before
any rule is asked, unless private targets are allowed (test networks only).
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final, NamedTuple

from vigilnet.base.errors import ConfigurationError
from vigilnet.peer.special_addresses import (
    NEVER_UNICAST,
    IpAddress,
    embedded_ipv4,
    special_purpose,
)

MAX_RULES: Final = 256
MAX_SUMMARY_RANGES: Final = 16  # from the specification (record key 10)
MAX_PORT: Final = 65535

_ANY4: Final = IPv4Network("0.0.0.0/0")
_ANY6: Final = IPv6Network("::/0")

_WEB_PORTS: Final = (80, 443)
_COMMON_PORTS: Final = (
    22,
    43,
    53,
    *_WEB_PORTS,
    123,
    853,
    993,
    995,
    3478,
    5222,
    5223,
    5228,
    6697,
    9418,
    11371,
)
_MAIL_PORTS: Final = (25, 110, 143)  # open relays and clear-text mail bring abuse: in no preset
PRESETS: Final = {
    "web": tuple(f"accept *:{port}" for port in _WEB_PORTS),
    "common": tuple(f"accept *:{port}" for port in _COMMON_PORTS),
    "open": (*(f"reject *:{port}" for port in _MAIL_PORTS), "accept *:*"),
    "none": (),
}

_RULE: Final = re.compile(
    r"(?P<verb>accept|reject)(?P<family>6?)\s+(?P<hosts>\*[46]?|\[[0-9a-fA-F:.]+\](?:/\d{1,3})?|[0-9.]+(?:/\d{1,2})?)"
    r"(?::(?P<ports>\*|\d{1,5}(?:-\d{1,5})?))?"
)


class Rule(NamedTuple):
    """Accept or refuse ports `low` to `high` of the networks (one per family at most)."""

    accepts: bool
    networks: tuple[IPv4Network | IPv6Network, ...]
    low: int
    high: int

    def matches(self, address: IpAddress, port: int) -> bool:
        """Whether the rule speaks about this target."""
        return self.low <= port <= self.high and any(address in network for network in self.networks)

    @property
    def is_for_all(self) -> bool:
        """Whether the rule speaks about every address of a family."""
        return any(network.prefixlen == 0 for network in self.networks)


class PortSummary(NamedTuple):
    """What a peer record says of a policy (key 10): the ports in `ranges` are accepted (0) or refused (1)."""

    kind: int
    ranges: tuple[tuple[int, int], ...]


def parse_rule(text: str) -> Rule:
    """Read one rule.

    Raises:
        ConfigurationError: not a rule; names it and shows a right one.
    """
    found = _RULE.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError(
            f"exit policy: {text.strip()!r}, expected like 'accept *:443' or 'reject 10.0.0.0/8:*'"
        )
    low, high = _parse_ports(found["ports"], text)
    return Rule(found["verb"] == "accept", _parse_hosts(found["hosts"], found["family"], text), low, high)


def _parse_ports(text: str | None, rule: str) -> tuple[int, int]:
    if text is None or text == "*":
        return 1, MAX_PORT
    low, _, high = text.partition("-")
    first, last = int(low), int(high or low)
    if not 1 <= first <= last <= MAX_PORT:
        raise ConfigurationError(
            f"exit policy: ports {text} in {rule.strip()!r}, expected 1-65535 in rising order"
        )
    return first, last


def _parse_hosts(text: str, family: str, rule: str) -> tuple[IPv4Network | IPv6Network, ...]:
    if text == "*":
        return (_ANY6,) if family else (_ANY4, _ANY6)
    if text == "*4":
        networks: tuple[IPv4Network | IPv6Network, ...] = (_ANY4,)
    elif text == "*6":
        networks = (_ANY6,)
    else:
        try:
            networks = (ip_network(text.replace("[", "").replace("]", "")),)
        except ValueError as error:
            raise ConfigurationError(f"exit policy: {error} in {rule.strip()!r}") from error
    if family and networks[0].version == 4:
        raise ConfigurationError(
            f"exit policy: {rule.strip()!r} is for IPv6 but names IPv4, expected accept or reject"
        )
    return networks


def parse_rules(texts: Iterable[str]) -> tuple[Rule, ...]:
    """Read rules; each text may hold several, one a line or comma, `#` starts a comment.

    Raises:
        ConfigurationError: a text is no rule, or there are over 256.
    """
    lines = (line.partition("#")[0] for text in texts for line in re.split(r"[,\n]", text))
    rules = tuple(parse_rule(line) for line in lines if line.strip())
    if len(rules) > MAX_RULES:
        raise ConfigurationError(f"exit policy: {len(rules)} rules, at most {MAX_RULES}")
    return rules


def policy_rules(preset: str, rules: Sequence[str]) -> tuple[Rule, ...]:
    """Return the user's rules followed by those of the preset, so that the user's win.

    Raises:
        ConfigurationError: unknown preset or malformed rule.
    """
    if preset not in PRESETS:
        raise ConfigurationError(f"exit policy: preset {preset!r}, expected one of {', '.join(PRESETS)}")
    return parse_rules((*rules, *PRESETS[preset]))


def _no_own_address(_: IpAddress) -> bool:
    return False


@dataclass(frozen=True)
class ExitPolicy:
    """Decides about resolved addresses.

    Args:
        rules: first match wins; no match refuses.
        allow_private: dial special-purpose and own addresses too (test networks only).
        is_own: whether an address is one of the exit itself.
    """

    rules: tuple[Rule, ...]
    allow_private: bool = False
    is_own: Callable[[IpAddress], bool] = _no_own_address

    def allows(self, address: IpAddress, port: int) -> bool:
        """Whether the exit may connect or send to this address and port."""
        inner = embedded_ipv4(address)
        if inner is not None and not self.allows(inner, port):
            return False  # a rule about an IPv4 network holds for its NAT64 spelling, too
        if not 1 <= port <= MAX_PORT or self._is_special(address):
            return False
        for rule in self.rules:
            if rule.low <= port <= rule.high and rule.matches(address, port):
                return rule.accepts
        return False

    def _is_special(self, address: IpAddress) -> bool:
        purpose = special_purpose(address)
        if self.allow_private:
            return purpose in NEVER_UNICAST
        return purpose is not None or self.is_own(address)

    def allows_echo(self, address: IpAddress) -> bool:
        """Whether the exit may send ICMP echoes to this address: where it may reach any port."""
        inner = embedded_ipv4(address)
        if inner is not None and not self.allows_echo(inner):
            return False
        if self._is_special(address):
            return False
        return any(
            rule.accepts
            for rule in self.rules
            if any(address.version == network.version and address in network for network in rule.networks)
        )

    def may_allow_port(self, port: int) -> bool:
        """Whether some address may be reached on this port: a check before a name is resolved."""
        for rule in self.rules:
            if rule.low <= port <= rule.high:
                if rule.accepts:
                    return True
                if len(rule.networks) == 2:  # refuses every address of both families
                    return False
        return False

    def summary(self) -> PortSummary:
        """Say which ports are open, in at most 16 ranges, for the peer record.

        Only rules about every address of a family count. If neither the accepted nor the refused
        ports fit, the 16 widest accepted ranges are given: a client may miss an exit for a port,
        but never choose a wrong one.
        """
        accepted = self._accepted_ranges()
        if len(accepted) <= MAX_SUMMARY_RANGES:
            return PortSummary(0, accepted)
        refused = _complement(accepted)
        if len(refused) <= MAX_SUMMARY_RANGES:
            return PortSummary(1, refused)
        widest = sorted(accepted, key=lambda ports: ports[0] - ports[1])[:MAX_SUMMARY_RANGES]
        return PortSummary(0, tuple(sorted(widest)))

    def _accepted_ranges(self) -> tuple[tuple[int, int], ...]:
        rules = [rule for rule in self.rules if rule.is_for_all]
        starts = {
            1,
            *(rule.low for rule in rules),
            *(rule.high + 1 for rule in rules if rule.high < MAX_PORT),
        }
        ranges: list[tuple[int, int]] = []
        ordered = sorted(starts)
        for low, following in zip(ordered, [*ordered[1:], MAX_PORT + 1], strict=True):
            if not any(_family_accepts(rules, network, low) for network in (_ANY4, _ANY6)):
                continue
            if ranges and ranges[-1][1] == low - 1:
                ranges[-1] = (ranges[-1][0], following - 1)
            else:
                ranges.append((low, following - 1))
        return tuple(ranges)


def _family_accepts(rules: Iterable[Rule], family: IPv4Network | IPv6Network, port: int) -> bool:
    return next(
        (rule.accepts for rule in rules if rule.low <= port <= rule.high and family in rule.networks), False
    )


def _complement(ranges: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    edges = [0, *(edge for pair in ranges for edge in pair), MAX_PORT + 1]
    gaps = ((edges[i] + 1, edges[i + 1] - 1) for i in range(0, len(edges), 2))
    return tuple((low, high) for low, high in gaps if low <= high)
