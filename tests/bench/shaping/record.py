"""Records browsers and links of ours in one run: `python -m tests.bench.shaping.record FOLDER` (root)."""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench.shaping.sites import DOMAIN, all_sites, as_json, write_sites
from tests.support.netns import Lab, Namespace, wait_for_port
from tests.support.origins import make_certificates, nginx_program

PACKAGE = "tests.bench.shaping"


def start(
    host: Namespace, module: str, *words: object, is_awaited: bool = False
) -> "subprocess.Popen[bytes]":
    """Run one of our processes in a namespace."""
    command = (sys.executable, "-m", f"{PACKAGE}.{module}", *words)
    process = host.start(*command, stdout=subprocess.PIPE)
    if is_awaited:
        assert process.stdout is not None
        line = process.stdout.readline()
        if line != b"ready\n":
            raise OSError(f"{module}: {(line + process.stdout.read()).decode()}")
    return process


def record(
    folder: Path, *, seconds: float, visitors: int, profiles: Sequence[str], rounds: int, clients: int
) -> list[dict[str, object]]:
    """Fill `folder`/flows; return the facts of our own flows."""
    folder.mkdir(parents=True, exist_ok=True)
    flows = folder / "flows"
    flows.mkdir(exist_ok=True)
    visits = folder / "visits"
    sites = all_sites()
    text = as_json(sites)
    make_certificates(folder, f"*.{DOMAIN}")
    config = write_sites(folder, sites)
    with Lab() as lab:
        near, far = lab.namespace("near"), lab.namespace("far")
        command = [sys.executable, "-m", f"{PACKAGE}.tap", str(flows), near.name, far.name, text]
        tap = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert tap.stdout is not None
        try:
            if tap.stdout.readline() != b"ready\n":
                raise OSError("the tap does not start")
            far.start(nginx_program() or "nginx", "-c", config, "-p", folder)
            start(far, "backend")
            for site in sites:
                wait_for_port(far, site.address, 443)
            # First the relays record visits of their own; then the adversary's visits, and ours, at once.
            visits.mkdir(exist_ok=True)
            start(near, "visits", str(seconds), str(visitors), str(visits), text).wait(seconds + 90)
            start(far, "tunnels", "serve", folder, text, is_awaited=True)
            browsers = start(near, "browse", str(seconds), str(visitors), text)
            words = ("visit", ",".join(profiles), str(rounds), str(clients), folder, text)
            tunnels = start(near, "tunnels", *words)
            assert tunnels.stdout is not None
            facts = []
            for line in tunnels.stdout:
                with contextlib.suppress(json.JSONDecodeError):
                    facts.append(json.loads(line))
                    continue
                sys.stderr.write(line.decode())
            browsers.wait(seconds + 90)
            time.sleep(1)
        finally:
            tap.send_signal(signal.SIGTERM)
            tap.wait(20)
            tap.stdout.close()
    (folder / "facts.json").write_text(json.dumps(facts))
    return facts


def main() -> None:
    """Record."""
    parser = argparse.ArgumentParser(description="record browsers and links of ours")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--visitors", type=int, default=4)
    parser.add_argument("--profiles", default="off,light,replay")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    facts = record(
        options.folder,
        seconds=options.seconds,
        visitors=options.visitors,
        profiles=options.profiles.split(","),
        rounds=options.rounds,
        clients=options.clients,
    )
    failed = [fact["error"] for fact in facts if "error" in fact]
    print(len(facts), "flows of ours,", len(failed), "failed", set(map(str, failed)))
    print(sum(1 for _ in (options.folder / "flows").iterdir()), "connections seen")


if __name__ == "__main__":
    main()
