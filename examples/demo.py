"""`make demo`: a whole VigilNet on this machine, and a page fetched through three onion hops.

Starts `vigilnet testnet` (client, relays and an exit as separate processes on loopback), serves a small site
from this process, fetches it through the client's proxy, shows the path, and stays up for you to try until
Ctrl-C. `--once` ends after the page.
"""

import argparse
import contextlib
import http.server
import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

VIGILNET = Path(sys.executable).with_name("vigilnet")
PAGE = b"<!doctype html><title>VigilNet demo</title><h1>You came here through three onion hops.</h1>\n"


class Site(http.server.BaseHTTPRequestHandler):
    """One page, whatever is asked for; notes who asked."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def serve_site() -> int:
    """Start the site in a thread; gives its port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_address[1])


def wait_until_ready(testnet: "subprocess.Popen[bytes]", ready: Path) -> dict[str, Any]:
    """The facts that the testnet writes once its first circuit is up."""
    for _ in range(1200):
        if testnet.poll() is not None:
            raise SystemExit(f"demo: the network did not start (exit code {testnet.returncode})")
        with contextlib.suppress(OSError, ValueError):
            facts: dict[str, Any] = json.loads(ready.read_text())
            return facts
        time.sleep(0.05)
    raise SystemExit("demo: the network was not up after a minute")


def fetch(proxy: str, url: str) -> tuple[bytes, float]:
    """The page and how long it took, seconds."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": f"http://{proxy}"}))
    started = time.perf_counter()
    with opener.open(url, timeout=30) as response:
        page: bytes = response.read()
    return page, time.perf_counter() - started


def asked(folder: Path, name: str, word: str) -> Any:  # noqa: ANN401  # JSON
    """What a node of the network answers on its control socket."""
    told = subprocess.run(
        [VIGILNET, word, "--json", "--state-folder", folder / name], capture_output=True, check=True
    )
    return json.loads(told.stdout)


def path_taken(facts: dict[str, Any]) -> list[str]:
    """The relays of the circuit that carried the page, guard first, as the client tells."""
    folder = Path(facts["dir"])
    names = {asked(folder, name, "status")["peer_id"]: name for name in facts["pids"]["relays"]}
    circuits = asked(folder, "client", "circuits")["circuits"]
    used = [circuit for circuit in circuits if circuit["streams"] or circuit["isolation"]] or circuits
    return [f"{names.get(hop['peer_id'], '?')} {hop['peer_id']}" for hop in used[0]["hops"]] if used else []


def show(facts: dict[str, Any], url: str) -> None:
    """Fetch once, and tell what happened and how to go on."""
    page, seconds = fetch(facts["http_proxy"], url)
    print(f"\nfetched {len(page)} octets of {url} in {seconds * 1000:.0f} ms:\n  {page.decode().strip()}")
    names = {pid: name for name, pid in facts["pids"]["relays"].items()}
    print(
        f"\nprocesses: client {facts['pids']['client']}, " + ", ".join(f"{n} {p}" for p, n in names.items())
    )
    print(f"first circuit after {facts['first_circuit_ms']:.0f} ms; path taken:\n  client")
    for place, hop in enumerate(path_taken(facts), 1):
        print(f"  └▶ hop {place}: {hop}")
    print(f"  └▶ {url}")
    socks, proxy = facts["socks"], facts["http_proxy"]
    command = VIGILNET.relative_to(Path.cwd()) if VIGILNET.is_relative_to(Path.cwd()) else VIGILNET
    print(
        f"""
try it yourself while this runs:
  curl --socks5-hostname {socks} {url}
  curl --proxy http://{proxy} {url}
  a browser: set the SOCKS v5 host to {socks.rpartition(":")[0]}, port {socks.rpartition(":")[2]},
             with "proxy DNS when using SOCKS v5" on (other sites work where this machine reaches them)
  {command} circuits --state-folder {facts["dir"]}/client

All relays are on this machine: this shows that it works, it gives no anonymity.""",
        flush=True,
    )


def main() -> int:
    """Run the demo; 0 when the page came through."""
    parser = argparse.ArgumentParser(description="VigilNet on this machine")
    parser.add_argument("--once", action="store_true", help="end after the page")
    parser.add_argument("--hops", type=int, default=3)
    options = parser.parse_args()
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # a background job begins deaf to Ctrl-C
        signal.signal(number, signal.default_int_handler)
    url = f"http://127.0.0.1:{serve_site()}/"
    with tempfile.TemporaryDirectory(prefix="vigilnet-demo-") as folder:
        ready = Path(folder) / "ready.json"
        print("starting a client and its relays, each a process of its own ...", flush=True)
        testnet = subprocess.Popen(
            [VIGILNET, "testnet", "--hops", str(options.hops), "--allow-private-targets",
             "--dir", f"{folder}/net", "--ready-file", ready],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            show(wait_until_ready(testnet, ready), url)
            if not options.once:
                print("\nCtrl-C ends it.", flush=True)
                testnet.wait()
        except KeyboardInterrupt:
            print("\nstopping")
        finally:
            testnet.terminate()
            testnet.wait(15)
    return 0


if __name__ == "__main__":
    sys.exit(main())
