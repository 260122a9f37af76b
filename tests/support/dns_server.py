"""A name server for tests: `python dns_server.py PORT IPV4 IPV6 [NAT64]` knows `NAMES` and nothing else.

NAT64 is what it says of `ipv4only.arpa`, as the servers of networks with a NAT64 do.
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


def answer(query: bytes, addresses: dict[Any, str], nat64: str = "") -> bytes:
    """The reply to one query."""
    asked = dns.message.from_wire(query)
    reply = dns.message.make_response(asked)
    question = asked.question[0]
    name = question.name.to_text().lower()
    known = dict.fromkeys(NAMES, addresses)
    if nat64:
        known["ipv4only.arpa."] = {dns.rdatatype.AAAA: nat64}
    if name not in known:
        reply.set_rcode(dns.rcode.NXDOMAIN)
    elif address := known[name].get(question.rdtype):
        reply.answer.append(dns.rrset.from_text(question.name, 30, "IN", question.rdtype, address))
    return reply.to_wire()


def serve_tcp(listener: socket.socket, addresses: dict[Any, str]) -> None:
    """One question a connection."""
    while True:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError, dns.exception.DNSException):
            connection.settimeout(5)
            size = int.from_bytes(connection.recv(2, socket.MSG_WAITALL))
            said = answer(connection.recv(size, socket.MSG_WAITALL), addresses)
            connection.sendall(len(said).to_bytes(2) + said)


def main() -> None:
    """Serve until killed, on both families where there are both."""
    port, v4, v6 = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    nat64 = sys.argv[4] if len(sys.argv) > 4 else ""
    addresses = {dns.rdatatype.A: v4, dns.rdatatype.AAAA: v6}
    server = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)
    if v6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("", port))
    listener = socket.create_server(("", port), family=server.family, dualstack_ipv6=bool(v6 and v4))
    threading.Thread(target=serve_tcp, args=(listener, addresses), daemon=True).start()
    while True:
        query, asker = server.recvfrom(65536)
        server.sendto(answer(query, addresses, nat64), asker)


if __name__ == "__main__":
    main()
