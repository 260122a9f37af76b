"""What real programs say when an origin is not what it should be: `python -m tests.support.browser_alerts`.

Starts Chromium, Firefox and curl against a server of OpenSSL on loopback whose certificate is wrong in one
way, or behind a proxy that changes one octet, and prints the alert that each sends. Needs the programs; the
figures are kept in docs/spec/htx.md section 5.
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.modern_server import ModernServer, modern_server
from tests.support.origins import make_certificates
from vigilnet.surface.htx_capture import KNOWN

WAIT_S = 20
AT = {  # offsets in the server's first flight, and what lies there
    "session id": 5 + 4 + 2 + 32 + 1 + 3,
    "suite": 5 + 4 + 2 + 32 + 1 + 32 + 1,
    "server random": 5 + 4 + 2 + 3,
    "encrypted record": 376,  # or the hybrid share, where there is one
}


@contextlib.contextmanager
def changing(port: int, offset: int) -> Iterator[int]:
    """Stand before a server and change one octet of what it says; give the port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket, at: int) -> None:
        with contextlib.suppress(OSError):
            while data := bytearray(source.recv(65_536)):
                if 0 <= at < len(data):
                    data[at] ^= 1
                at -= len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def serve(front: socket.socket) -> None:
        with front, socket.create_connection(("127.0.0.1", port)) as back:
            answers = threading.Thread(target=pump, args=(back, front, offset))
            answers.start()
            pump(front, back, -1)
            answers.join()

    threads: list[threading.Thread] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                front, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(front,), daemon=True))
                threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (acceptor, *threads):
            thread.join(5)


def visit(browser: str, port: int, server: ModernServer, folder: Path) -> str:
    """Start a program, wait for its first connection to end; return what the server heard."""
    names, command = KNOWN[browser]
    program = next(found for found in map(shutil.which, names) if found)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = [word for word in command(program, Path(profile), port) if word != "-k"]
        environment = {**os.environ, "CURL_CA_BUNDLE": str(folder / "root.pem")}
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True, env=environment,
        )  # fmt: skip
        give_up = time.monotonic() + WAIT_S
        while not server.alerts and time.monotonic() < give_up:
            time.sleep(0.1)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return server.alerts[0] if server.alerts else "nothing"


def main() -> None:
    """Try all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("browsers", nargs="*", default=list(KNOWN))
    for browser in parser.parse_args().browsers:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            good, other, late = (folder / part for part in ("good", "other", "late"))
            for part in (good, other, late):
                part.mkdir()
            make_certificates(good)
            make_certificates(other, "other.example.test")
            make_certificates(late, days=-0.5)
            for kind, part, trusted in (
                ("unknown root", good, other),
                ("another name", other, other),
                ("expired", late, late),
            ):
                with modern_server(part) as server:
                    print(f"{browser:9} {kind:17} {visit(browser, server.port, server, trusted)}", flush=True)  # noqa: T201
            for kind, offset in AT.items():
                with modern_server(good) as server, changing(server.port, offset) as port:
                    print(f"{browser:9} {kind:17} {visit(browser, port, server, good)}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
