"""What can be wrong with the network around: no route, dead or lying resolver, no UDP, silent relays.

Asked are only the resolver of this system, for a name that cannot exist and for the root, and relays that
are known anyhow, by opening a TCP connection, and only when no node does so already.
"""

import secrets
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import dns.exception
import dns.message
import dns.query
import dns.rcode
import dns.resolver

from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import ConfigurationError
from vigilnet.node.options import Options
from vigilnet.surface.control.models import Finding
from vigilnet.surface.doctor.finding import Situation, failed, noted, passed
from vigilnet.traffic.transport.htx.recordings import OLD_AFTER_DAYS, age_days
from vigilnet.traffic.transport.htx.templates_io import load_visits

ASK_S: Final = 2.0
DIAL_S: Final = 3.0
MAX_DIALLED: Final = 6


@dataclass(frozen=True)
class Network:
    """Whom to ask; a test names others."""

    resolvers: tuple[tuple[str, int], ...] | None = None  # None: the system's
    routes: tuple[Path, ...] = (Path("/proc/net/route"), Path("/proc/net/ipv6_route"))
    timeout_s: float = ASK_S


def check_network(situation: Situation, network: Network) -> Iterator[Finding]:
    """Look at the network."""
    if not _has_route(network):
        yield failed(
            "network.none", "This device is in no network",
            "There is no way out: no default route.", "join a network; VigilNet goes on by itself",
        )  # fmt: skip
        return
    yield passed("network.none", "There is a way out")
    yield from _check_resolver(network)
    options = situation.loaded.options if situation.loaded is not None else None
    if options is not None and options.relay.enabled and options.htx.origin:
        yield from _check_origin(options)
    if options is not None and options.relay.enabled and options.relay.listen_htx:
        yield _check_visits(options.htx.visits, SystemClock().wall())


def _has_route(network: Network) -> bool:
    four, six = network.routes
    try:
        if any(line.split()[1:2] == ["00000000"] for line in four.read_text().splitlines()[1:]):
            return True
        return any(
            line.split()[0] == "0" * 32 and line.split()[1] == "00" and line.split()[-1] != "lo"
            for line in six.read_text().splitlines()
        )
    except OSError:
        return True  # not a Linux that tells


def _servers(network: Network) -> list[tuple[str, int]]:
    if network.resolvers is not None:
        return list(network.resolvers)
    try:
        return [(str(server), 53) for server in dns.resolver.get_default_resolver().nameservers]
    except (dns.exception.DNSException, OSError):
        return []


def _check_resolver(network: Network) -> Iterator[Finding]:
    servers = _servers(network)
    query = dns.message.make_query(".", "NS")
    by_udp = [_ask(query, server, network.timeout_s, is_tcp=False) for server in servers]
    if any(by_udp):
        yield passed("network.names", "This device's resolver answers")
        yield passed("network.udp", "Datagrams get through")
        yield from _check_lies(servers, network)
        return
    if any(_ask(query, server, network.timeout_s, is_tcp=True) for server in servers):
        yield noted(
            "network.udp", "This network drops UDP",
            "Links over QUIC do not work here, nor names of apps that bypass VigilNet. TCP works.",
            "nothing to do for VigilNet", *(f"{host}:{port}: answers by TCP alone" for host, port in servers),
        )  # fmt: skip
        return
    yield failed(
        "network.names", "Names cannot be looked up",
        "This device's resolver does not answer. VigilNet does without; apps that bypass it find no site.",
        "look names up at the exit: vigilnet dns overlay; or choose another resolver",
        *([f"{host}:{port}: no answer" for host, port in servers] or ["no resolver is set"]),
    )  # fmt: skip


def _ask(
    query: dns.message.QueryMessage, server: tuple[str, int], timeout_s: float, *, is_tcp: bool
) -> dns.message.Message | None:
    ask = dns.query.tcp if is_tcp else dns.query.udp
    try:
        return ask(query, server[0], timeout_s, server[1])
    except (dns.exception.DNSException, OSError, ValueError):
        return None


def _check_lies(servers: Sequence[tuple[str, int]], network: Network) -> Iterator[Finding]:
    """A name that cannot exist has no address; whoever gives one answers everything with his own page."""
    name = f"{secrets.token_hex(8)}.invalid"
    for server in servers:
        answer = _ask(dns.message.make_query(name, "A"), server, network.timeout_s, is_tcp=False)
        if answer is not None and answer.rcode() == dns.rcode.NOERROR and answer.answer:
            yield failed(
                "network.portal", "This network answers every name itself",
                "It wants a sign-in, or its provider sends mistakes to a page of his own. VigilNet does not "
                "believe it.",
                "open any http:// page in a browser and sign in; or use another resolver",
                str(answer.answer[0]),
            )  # fmt: skip
            return
    yield passed("network.portal", "Names that do not exist are not made up")


def _check_origin(options: Options) -> Iterator[Finding]:
    host, _, port = options.htx.origin.rpartition(":")
    if _dial(host.removeprefix("[").removesuffix("]"), int(port) if port.isdecimal() else 0):
        yield passed("network.origin", "The web server behind this relay answers")
    else:
        yield failed(
            "network.origin", "The web server behind this relay does not answer",
            "Whoever looks at this relay sees that it is no web site.", "start it, or correct htx.origin",
            options.htx.origin,
        )  # fmt: skip


def _check_visits(path: Path | None, wall: float) -> Finding:
    """Whether links to this relay can look like visits of its site as it is now."""
    if path is None:
        return noted(
            "network.visits", "No visits of the web server behind this relay were recorded",
            "Links to it begin with visits that are made up; a classifier tells them at once. Name a "
            "file of recorded ones in htx.visits.",
            "vigilnet htx record",
        )  # fmt: skip
    try:
        age = age_days(load_visits(path), wall)
    except ConfigurationError as error:
        return failed(
            "network.visits",
            "The recorded visits cannot be read",
            "The relay does not start with them.",
            "vigilnet htx record",
            str(error),
        )
    if age > OLD_AFTER_DAYS:
        return noted(
            "network.visits", f"The recorded visits are {age} days old",
            "The site has probably changed; links that look as it was can be told.", "vigilnet htx record",
        )  # fmt: skip
    return passed("network.visits", "Visits of the web server behind this relay are recorded")


def check_relays(addresses: Sequence[str]) -> Iterator[Finding]:
    """Dial a few relays, given as host:port, and say if none is there."""
    tried = list(addresses[:MAX_DIALLED])
    if not tried:
        return
    silent = [text for text in tried if not _dial(*_split(text))]
    if len(silent) == len(tried):
        yield failed(
            "network.blocked", "No relay that is known can be reached",
            "They are gone, or this network blocks their addresses or ports.",
            "try another network, or ask for an invite to a relay on port 443: vigilnet invite add URI",
            *(f"{text}: no connection" for text in silent),
        )  # fmt: skip
    else:
        yield passed("network.blocked", "Relays can be reached")


def _split(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _dial(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), DIAL_S):
            return True
    except (OSError, OverflowError):
        return False
