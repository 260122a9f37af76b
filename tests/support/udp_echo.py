"""Sends every datagram back: `python udp_echo.py PORT`, both families, until killed."""

import socket
import sys


def main() -> None:
    """Serve."""
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::", int(sys.argv[1])))
    while True:
        octets, asker = server.recvfrom(65536)
        server.sendto(octets, asker)


if __name__ == "__main__":
    main()
