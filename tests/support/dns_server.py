"""A name server for tests: `python dns_server.py PORT IPV4 IPV6 [NAT64 IPV4]` knows `NAMES` and nothing else.

NAT64 is the prefix of one: it answers for `ipv4only.arpa` and for `IPV4_NAME`, which has that IPv4 address
alone, as the servers of networks with a NAT64 do. The text of `WHO` is the asker's own address.
"""

import contextlib
import socket
import sys
import threading
from typing import Any

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

NAMES = ("site.test.", "portal.test.", "example.org.")
WHO, IPV4_NAME = "who.test.", "old.test."


def answer(query: bytes, addresses: dict[Any, str], asker: str, nat64: tuple[str, ...] = ()) -> bytes:
    """The reply to one query."""
    asked = dns.message.from_wire(query)
    reply = dns.message.make_response(asked)
    question = asked.question[0]
    name = question.name.to_text().lower()
    known = dict.fromkeys(NAMES, addresses)
    known[WHO] = {dns.rdatatype.TXT: f'"{asker.removeprefix("::ffff:")}"'}
    if nat64:
        prefix, old = nat64
        known["ipv4only.arpa."] = {dns.rdatatype.AAAA: f"{prefix}192.0.0.170"}
        known[IPV4_NAME] = {dns.rdatatype.A: old, dns.rdatatype.AAAA: f"{prefix}{old}"}
    if name not in known:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif address := known[name].get(question.rdtype):
        reply.answer.append(dns.rrset.from_text(question.name, 30, "IN", question.rdtype, address))
    return reply.to_wire()


def serve_tcp(listener: socket.socket, addresses: dict[Any, str]) -> None:
    """One question a connection."""
    while True:
        connection, asker = listener.accept()
        with connection, contextlib.suppress(OSError, dns.exception.DNSException):
            connection.settimeout(5)
            size = int.from_bytes(connection.recv(2, socket.MSG_WAITALL))
            said = answer(connection.recv(size, socket.MSG_WAITALL), addresses, asker[0])
            connection.sendall(len(said).to_bytes(2) + said)


def main() -> None:
    """Serve until killed, on both families where there are both."""
    port, v4, v6 = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    nat64 = tuple(sys.argv[4:6])
    addresses = {dns.rdatatype.A: v4, dns.rdatatype.AAAA: v6}
    server = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
    if v6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("", port))
    listener = socket.create_server(("", port), family=server.family, dualstack_ipv6=bool(v6 and v4))
    threading.Thread(target=serve_tcp, args=(listener, addresses), daemon=True).start()
    while True:
        query, asker = server.recvfrom(65536)
        server.sendto(answer(query, addresses, asker[0], nat64), asker)


if __name__ == "__main__":
    main()
