"""Interfaces that come and go: a socket pair stands in for the kernel."""

import socket

from vigilnet.traffic.backends.changes_io import NetworkChanges


def test_a_change_is_one_of_the_doors() -> None:
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    doors = ["eth0"]
    with kernel:
        changes = NetworkChanges(ours, lambda: list(doors))
        assert changes.fileno() == ours.fileno()
        kernel.send(b"an address")
        assert not changes.have_come()
        doors.append("wlan0")
        for _ in range(3):
            kernel.send(b"a link")
        assert changes.have_come()
        assert not changes.have_come()
        doors.remove("eth0")
        assert changes.have_come()
        changes.close()
