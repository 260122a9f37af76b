"""Lets programs that know no SOCKS use the proxy: a local port that leads to one target through it.

    python socks_shim.py tcp LISTEN_PORT SOCKS_HOST:PORT TARGET PORT
    python socks_shim.py udp LISTEN_PORT SOCKS_HOST:PORT TARGET PORT     (UDP ASSOCIATE, for dig and the like)

Written against RFC 1928 alone, with nothing of VigilNet's, so that both can be wrong only independently.
"""

import contextlib
import ipaddress
import socket
import struct
import sys
import threading


def receive(connection: socket.socket, octets: int) -> bytes:
    """Exactly so many octets."""
    data = b""
    while len(data) < octets:
        part = connection.recv(octets - len(data))
        if not part:
            raise OSError("proxy closed")
        data += part
    return data


def address(host: str, port: int) -> bytes:
    """ATYP, address and port."""
    try:
        packed = ipaddress.ip_address(host).packed
    except ValueError:
        name = host.encode()
        return b"\x03" + bytes([len(name)]) + name + struct.pack("!H", port)
    return (b"\x01" if len(packed) == 4 else b"\x04") + packed + struct.pack("!H", port)


def read_address(connection: socket.socket) -> tuple[str, int]:
    """What a reply says after its three first octets."""
    kind = receive(connection, 1)[0]
    if kind == 3:
        host = receive(connection, receive(connection, 1)[0]).decode()
    else:
        host = str(ipaddress.ip_address(receive(connection, 4 if kind == 1 else 16)))
    return host, struct.unpack("!H", receive(connection, 2))[0]


def ask(
    proxy: tuple[str, int], command: int, host: str, port: int, login: tuple[str, str] | None = None
) -> tuple[socket.socket, tuple[str, int]]:
    """Open the proxy's connection, send one request; gives the connection and the bound address."""
    connection = socket.create_connection(proxy, 30)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        log_in(connection, login)
        connection.sendall(bytes([5, command, 0]) + address(host, port))
        _, reply, _ = receive(connection, 3)
        bound = read_address(connection)
    except OSError:
        connection.close()
        raise
    if reply:
        connection.close()
        raise OSError(f"proxy answered {reply}")
    connection.settimeout(None)
    return connection, bound


def log_in(connection: socket.socket, login: tuple[str, str] | None) -> None:
    """Agree on a method, and follow it."""
    method = 0 if login is None else 2
    connection.sendall(bytes([5, 1, method]))
    if receive(connection, 2) != bytes([5, method]):
        raise OSError("proxy wants another method")
    if login is not None:
        user, password = (text.encode() for text in login)
        connection.sendall(bytes([1, len(user)]) + user + bytes([len(password)]) + password)
        if receive(connection, 2) != b"\x01\x00":
            raise OSError("proxy refuses the login")


def pump(source: socket.socket, sink: socket.socket) -> None:
    """One way, half-close included."""
    with contextlib.suppress(OSError):
        while data := source.recv(262144):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def serve_tcp(port: int, proxy: tuple[str, int], host: str, target_port: int) -> None:
    """Each connection to the local port becomes one through the proxy."""
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    print("ready", flush=True)  # noqa: T201  # the test waits for it
    while True:
        local, _ = listener.accept()
        try:
            remote, _ = ask(proxy, 1, host, target_port)
        except OSError:
            local.close()
            continue
        for ends in ((local, remote), (remote, local)):
            threading.Thread(target=pump, args=ends, daemon=True).start()


def serve_udp(port: int, proxy: tuple[str, int], host: str, target_port: int) -> None:
    """Datagrams to the local port go through one association; answers go to the last asker."""
    control, bound = ask(proxy, 3, "0.0.0.0", 0)  # noqa: S104  # "any", as RFC 1928 has it
    relay_host = proxy[0] if ipaddress.ip_address(bound[0]).is_unspecified else bound[0]
    local = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    local.bind(("127.0.0.1", port))
    family = socket.AF_INET6 if ":" in relay_host else socket.AF_INET
    relay = socket.socket(family, socket.SOCK_DGRAM)
    relay.connect((relay_host, bound[1]))
    asker: list[tuple[str, int]] = []

    def answers() -> None:
        while True:
            packet = relay.recv(65536)
            skip = {1: 10, 4: 22}.get(packet[3]) or 7 + packet[4]
            if asker:
                local.sendto(packet[skip:], asker[-1])

    threading.Thread(target=answers, daemon=True).start()
    print("ready", flush=True)  # noqa: T201  # the test waits for it
    while True:
        data, source = local.recvfrom(65536)
        asker[:] = [source]
        relay.send(b"\x00\x00\x00" + address(host, target_port) + data)
    control.close()


if __name__ == "__main__":
    kind, listen_port, proxy_text, target, to_port = sys.argv[1:]
    proxy_host, _, proxy_port = proxy_text.rpartition(":")
    serve = {"tcp": serve_tcp, "udp": serve_udp}[kind]
    serve(int(listen_port), (proxy_host, int(proxy_port)), target, int(to_port))
