"""Whether a UDP port can be had; the DHT's library ends the whole process where it cannot."""

import socket


def check_udp_port(host4: str, host6: str, port: int) -> None:
    """Raise OSError if the port is taken at one of the hosts, "" being none."""
    for family, host in ((socket.AF_INET, host4), (socket.AF_INET6, host6)):
        if not host:
            continue
        with socket.socket(family, socket.SOCK_DGRAM) as trial:
            if family == socket.AF_INET6:
                trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            trial.bind((host, port))
