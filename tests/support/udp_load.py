"""Datagrams at a rate, and their count at the other end.

python udp_load.py sink PORT                      prints one JSON line a second gap after each burst
python udp_load.py send HOST PORT RATE SECONDS SIZE [SEGMENTS]
"""

import json
import socket
import sys
import time

UDP_SEGMENT = 103
GAP_S = 1.0


def sink(port: int) -> None:
    """Count; when nothing has come for a second, print what came and begin anew."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    server.bind(("0.0.0.0", port))  # noqa: S104  # inside a namespace of the test
    server.settimeout(GAP_S)
    buffer = bytearray(65536)
    while True:
        count = octets = 0
        first = last = 0.0
        while True:
            try:
                size = server.recv_into(buffer)
            except TimeoutError:
                break
            last = time.monotonic()
            first = first or last
            count += 1
            octets += size
        if count:
            sys.stdout.write(json.dumps({"count": count, "octets": octets, "seconds": last - first}) + "\n")
            sys.stdout.flush()


def send(host: str, port: int, rate: float, seconds: float, size: int, segments: int = 1) -> None:
    """Send at an even rate; many of one size in one call where `segments` says so."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((host, port))
        if segments > 1:
            sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
        payload = bytes(size * segments)
        start = time.monotonic()
        sent = refused = 0
        while (passed := time.monotonic() - start) < seconds:
            due = int(passed * rate) - sent
            while due >= segments:
                try:
                    sock.send(payload)
                except OSError:
                    refused += 1
                sent += segments
                due -= segments
            time.sleep(0.0005)
        sys.stdout.write(json.dumps({"sent": sent, "refused": refused, "seconds": passed}) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "sink":
        sink(int(sys.argv[2]))
    else:
        host_, port_, rate_, seconds_, size_, *more = sys.argv[2:]
        send(host_, int(port_), float(rate_), float(seconds_), int(size_), int(more[0]) if more else 1)
