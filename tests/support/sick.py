"""Faults made for the doctor: a situation, and resolvers that answer as badly as asked."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.message
import dns.rcode
import dns.rrset

from tests.support.ports import free_port
from vigilnet.node.options import load_options
from vigilnet.surface.control.models import Diagnosis, Finding
from vigilnet.surface.doctor.finding import NodeView, Situation
from vigilnet.surface.doctor.network import Network
from vigilnet.surface.doctor.service import examine
from vigilnet.surface.doctor.this_machine import Machine

NOW = 1_795_000_000.0
NO_DNS = Network(resolvers=())


def situation(folder: Path, text: str = "", node: NodeView | None = None) -> Situation:
    """Settings of a text, a state folder, and perhaps a node."""
    file = folder / "vigilnet.toml"
    file.write_text(f"[ingress]\nsocks_port = 0\nhttp_port = 0\n[status]\nport = 0\n{text}")
    state = folder / "state"
    if not state.exists():
        state.mkdir(mode=0o700)
    return Situation(load_options(file, {}), "", file, state, node)


def diagnose(
    where: Situation, machine: Machine | None = None, network: Network = NO_DNS, port: int = 0
) -> Diagnosis:
    """What the doctor says; names are not asked for unless a network is given."""
    return examine(where, machine or Machine(lambda: NOW), network, port)


def found(diagnosis: Diagnosis, identifier: str) -> Finding:
    """The finding of this id; fails the test if the doctor did not come to it."""
    ids = [one.id for one in diagnosis.findings]
    assert identifier in ids, ids
    finding = next(one for one in diagnosis.findings if one.id == identifier)
    assert finding.title
    if finding.level != "pass":
        assert finding.meaning or finding.id == "relays.silent"
        assert finding.next
    return finding


@contextmanager
def resolver(*, udp: bool = True, lies: bool = False) -> Iterator[tuple[str, int]]:
    """A resolver on loopback that answers by TCP, by UDP if told, and lies if told."""
    with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        address = ("127.0.0.1", free_port())
        tcp.bind(address)
        tcp.listen()
        datagrams.bind(address)
        servers = [threading.Thread(target=_serve_tcp, args=(tcp, lies), daemon=True)]
        if udp:
            servers.append(threading.Thread(target=_serve_udp, args=(datagrams, lies), daemon=True))
        for server in servers:
            server.start()
        try:
            yield address
        finally:
            tcp.shutdown(socket.SHUT_RDWR)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
                waker.sendto(b"", address)
            for server in servers:
                server.join(5)


def _answer(wire: bytes, *, lies: bool) -> bytes:
    query = dns.message.from_wire(wire)
    answer = dns.message.make_response(query)
    name = query.question[0].name
    if str(name).endswith(".invalid."):
        if lies:
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.80"))
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
    return answer.to_wire()


def _serve_udp(datagrams: socket.socket, lies: bool) -> None:
    while True:
        wire, sender = datagrams.recvfrom(4096)
        if not wire:
            return
        datagrams.sendto(_answer(wire, lies=lies), sender)


def _serve_tcp(tcp: socket.socket, lies: bool) -> None:
    while True:
        try:
            connection, _ = tcp.accept()
        except OSError:
            return
        with connection:
            wire = connection.recv(4096)
            if wire:
                answer = _answer(wire[2:], lies=lies)
                connection.sendall(struct.pack("!H", len(answer)) + answer)
