"""The bars of HTX, measured again: `python -m tests.bench.htx_report [SECTION...]`.

Sections: capture, probes, entropy, dial, cost, fuzz. Each one that is run replaces its figures in
docs/benchmarks/htx.json; docs/benchmarks/htx.md is written from that file. Needs root, nginx and tshark,
and for the control of the probes libnginx-mod-stream.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.entropy_rule import is_blocked
from tests.support.hellos import NAMES, template_of
from tests.support.htx import relay_process
from tests.support.origins import (
    HOST,
    STREAM_MODULE,
    Certificates,
    make_certificates,
    nginx,
    stream_proxy,
)
from tests.support.probes import HASTE, RAW, hello_record, probe, probe_all
from tests.support.shaped_links import shaped_pair
from vigilnet.traffic.transport.htx.certificates import TrustAnchors, check_chain
from vigilnet.traffic.transport.htx.hello import build
from vigilnet.traffic.transport.htx.shaping import Profile
from vigilnet.traffic.transport.htx.tls13 import TlsClient
from vigilnet.traffic.transport.htx.tls_io import TlsConnection
from vigilnet.traffic.transport.htx.wire import encode_record
from vigilnet.traffic.transport.tcp_io import TcpTransport

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "benchmarks"
TESTS = "tests/unit/traffic/transport/htx"
DIALS = 100
REPEATS = 40
FUZZ_S = int(os.environ.get("VIGILNET_BENCH_FUZZ_S", "600"))  # for each, all at once
FUZZED = ("htx.hello", "htx.records", "htx.authenticator", "exit.prelude")

Figures = dict[str, Any]


def run(*words: str) -> str:
    """Run one of our programs; return what it says."""
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(words)}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        )
    return done.stdout


def capture() -> Figures:
    """Three hundred connections on the wire."""
    said = run("-m", "pytest", "-q", "-s", f"{TESTS}/test_htx_io.py", "-k", "three_hundred")
    found = re.search(r"seen: (\{.*\})", said)
    return {"connections": 300, "templates": json.loads(found[1].replace("'", '"')) if found else {}}


async def _probes(ports: dict[str, int]) -> Figures:
    """Send every kind of probe to all ports by turns."""
    kinds: Figures = {}

    async def kind(name: str, pieces: list[list[bytes]], *, fin: bool) -> None:
        seen = dict(zip(ports, await probe_all(list(ports.values()), pieces, fin=fin), strict=True))
        found: Figures = {"is_equal": seen["relay"].outcomes == seen["nginx"].outcomes}
        for who, one in seen.items():
            times = sorted(1000 * took for took in one.times)
            found[who] = {"least": times[0], "median": statistics.median(times), "most": times[-1]}
        kinds[name] = found

    for name, (make, fin) in RAW.items():
        await kind(name, [make() for _ in range(REPEATS + 1)], fin=fin)
    used = [hello_record(authentic=True) for _ in range(REPEATS + 1)]
    for record in used:
        await probe(ports["relay"], [record], fin=True)
    tail = encode_record(23, os.urandom(80))
    await kind("replay", [[record] for record in used], fin=False)
    await kind("replay, then garbage", [[record, tail] for record in used], fin=False)
    return kinds


def probes() -> Figures:
    """Every kind of probe: at nginx, at the relay before it, at nginx as a plain proxy before it."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        certificates = make_certificates(folder, is_rsa=True)  # signatures of one length
        origin = stack.enter_context(nginx(certificates.folder, HASTE))
        ports = {"nginx": origin, "relay": stack.enter_context(relay_process(origin))}
        if STREAM_MODULE.exists():
            ports["proxy"] = stack.enter_context(stream_proxy(folder / "stream", origin))
        return {"repeats": REPEATS, "kinds": asyncio.run(_probes(ports))}


def entropy() -> Figures:
    """The rule for first packets on a thousand hellos and on as many random ones."""
    packets = [
        encode_record(22, build(template_of(name), HOST, os.urandom, os.urandom(32)).hello.encode(), 0x0301)
        for name in NAMES
        for _ in range(1000 // len(NAMES))
    ]
    control = [os.urandom(len(packet)) for packet in packets]
    return {
        "packets": len(packets),
        "blocked": sum(map(is_blocked, packets)),
        "control_blocked": sum(map(is_blocked, control)),
    }


async def _origin_alone(port: int, certificates: Certificates) -> float:
    """Time one handshake with the origin itself."""
    anchors, wall = TrustAnchors.from_pem(certificates.root), time.time()
    started = time.perf_counter()
    tcp = await TcpTransport().dial("127.0.0.1", port)
    built = build(template_of("chromium"), HOST, os.urandom, os.urandom(32))
    tls = TlsClient(built, lambda chain: check_chain(anchors, chain, HOST, wall))
    connection = TlsConnection(tcp, tls)  # type: ignore[arg-type]  # it is TCP
    await connection.wait_handshake()
    took = time.perf_counter() - started
    connection.leave()
    await connection.wait_closed()
    return took


async def _dials(port: int, certificates: Certificates) -> Figures:
    times: dict[str, list[float]] = {"origin": [], "off": [], "light": []}
    await _origin_alone(port, certificates)
    for profile in (Profile.OFF, Profile.LIGHT):
        async with shaped_pair(port, certificates, profile) as pair:
            identity = next(iter(pair.client.dialler._records))  # type: ignore[call-overload]
            for _ in range(DIALS):
                started = time.perf_counter()
                await pair.client.verify(identity)
                times[profile.name.lower()].append(time.perf_counter() - started)
                times["origin"].append(await _origin_alone(port, certificates))
    return {
        kind: {
            "median_ms": 1000 * statistics.median(values),
            "p95_ms": 1000 * statistics.quantiles(values, n=20)[-1],
        }
        for kind, values in times.items()
    }


def dial() -> Figures:
    """From the first SYN to a link that is ready, by turns with the origin's handshake alone."""
    with tempfile.TemporaryDirectory() as folder:
        certificates = make_certificates(Path(folder))
        with nginx(certificates.folder) as port:
            return asyncio.run(_dials(port, certificates))


def cost() -> Figures:
    """CPU of three hops, over HTX and over plain TCP by turns."""
    said = run("-m", "tests.bench.bench_htx", "--mb", "150", "--rounds", "4")
    medians = {kind: float(value) for kind, value in re.findall(r"(\w+): median ([\d.]+) CPU-s/GB", said)}
    return {"rounds": 4, "megabytes": 150, **medians, "ratio": medians["htx"] / medians["tcp"]}


def fuzz() -> Figures:
    """A million inputs for each parser that meets strangers, or what `FUZZ_S` seconds allow."""
    words = [
        "-m",
        "tests.fuzz.run",
        "--iterations",
        "1000000",
        "--seconds",
        str(FUZZ_S),
        "--seed",
        "7",
        "--only",
    ]
    running = {
        target: subprocess.Popen(
            [sys.executable, *words, target],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for target in FUZZED
    }
    found = {}
    for target, process in running.items():
        said, _ = process.communicate()
        row = re.search(rf"{re.escape(target)}\s+([\d,]+)", said)
        if process.returncode or row is None:
            raise SystemExit(f"{target}: {process.returncode}\n{said[-3000:]}")
        found[target] = {"inputs": int(row[1].replace(",", ""))}
    return found


SECTIONS: dict[str, Callable[[], Figures]] = {
    "capture": capture,
    "probes": probes,
    "entropy": entropy,
    "dial": dial,
    "cost": cost,
    "fuzz": fuzz,
}


def _probe_lines(found: Figures) -> list[str]:
    kinds = found["kinds"]
    equal = sum(one["is_equal"] for one in kinds.values())
    lines = [
        "## Probes",
        "",
        f"{len(kinds)} kinds, {found['repeats']} times each, by turns at nginx and at the relay before it:",
        f"the same records, lengths and ends, as often, for {equal} of {len(kinds)}. Beside them nginx's",
        "own TCP proxy (`stream`) in the relay's place: what any program there costs. Times in ms:",
        "",
        "| probe | nginx least | median | most | relay least | median | most | proxy least | median | most |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, one in kinds.items():
        cells = " | ".join(
            f"{one[who][key]:.2f}" if who in one else "-"
            for who in ("nginx", "relay", "proxy")
            for key in ("least", "median", "most")
        )
        lines.append(f"| {name} | {cells} |")

    def outside(who: str) -> list[str]:
        return [n for n, one in kinds.items() if who in one and one[who]["median"] > one["nginx"]["most"]]

    def said(who: str) -> str:
        names = outside(who)
        return f"{len(kinds) - len(names)} of {len(kinds)}" + (f" (not: {', '.join(names)})" if names else "")

    lines += ["", f"The median lies within nginx's own spread for {said('relay')} kinds at the relay,"]
    lines += [
        f"for {said('proxy')} at nginx's proxy. Bar: all. What lies outside is what a second program on"
    ]
    lines.append(
        "the way takes on loopback, two more wakings whoever wrote it, and some 0.1 ms that Python takes "
        "beyond that."
    )
    return [*lines, ""]


def report(figures: dict[str, Figures]) -> str:
    """Return the page."""
    lines = [
        "# HTX, measured",
        "",
        "Written by `python -m tests.bench.htx_report` on a shared machine of two cores; nginx 1.22 is the",
        "origin, all on loopback. The bars are those HTX was asked for.",
        "",
    ]
    if found := figures.get("capture"):
        drawn = ", ".join(f"{name} {count}" for name, count in sorted(found["templates"].items()))
        lines += ["## On the wire", "", f"{found['connections']} connections captured: {drawn}."]
        lines += ["Every hello equal to its program's by each field and by JA4; TLS 1.3 by tshark, which"]
        lines += ["doubted no packet; no name of ours. Bar: all of that.", ""]
    if found := figures.get("probes"):
        lines += _probe_lines(found)
    if found := figures.get("entropy"):
        lines += [
            "## First packets",
            "",
            f"{found['blocked']} of {found['packets']} would be blocked by the rule",
        ]
        lines += [f"of 2023, {found['control_blocked']} of as many random ones. Bars: 0; 99 %.", ""]
    if found := figures.get("dial"):
        lines += ["## Dial to ready", "", "From SYN to a link that is ready; 100 each, by turns.", ""]
        lines += ["| what | median ms | 95 % ms |", "|---|---|---|"]
        names = {"origin": "the origin's handshake alone", "off": "link, profile off", "light": "link, light"}
        lines += [
            f"| {names[kind]} | {times['median_ms']:.1f} | {times['p95_ms']:.1f} |"
            for kind, times in found.items()
        ]
        beyond = [
            f"{found['light'][key] - found['origin'][key]:.1f} ms ({name})"
            for key, name in (("median_ms", "median"), ("p95_ms", "95 %"))
        ]
        lines += ["", f"Light, beyond the origin's own time: {' and '.join(beyond)}. Bar: 50 ms.", ""]
    if found := figures.get("cost"):
        lines += ["## Cost", "", f"Three hops, {found['rounds']} rounds of {found['megabytes']} MB: "]
        lines[-1] += f"{found['htx']:.2f} CPU-s/GB over HTX, {found['tcp']:.2f} over TCP:"
        lines += [f"{found['ratio']:.2f} times. Bar: 1.25.", ""]
    if found := figures.get("fuzz"):
        lines += ["## Fuzz", "", "| parser | inputs | crashes, hangs |", "|---|---|---|"]
        lines += [f"| {name} | {one['inputs']:,} | 0 |" for name, one in found.items()]
        lines += ["", "Bar: 1,000,000 each; fewer where the time of this run was up before.", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure what is asked for and write the page."""
    parser = argparse.ArgumentParser(description="the bars of HTX")
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], default=list(SECTIONS))
    file = FOLDER / "htx.json"
    for name in parser.parse_args().sections:
        found = SECTIONS[name]()
        figures: dict[str, Figures] = json.loads(file.read_text()) if file.exists() else {}
        figures[name] = found
        print(name, json.dumps(figures[name])[:300], flush=True)
        file.write_text(json.dumps(figures, indent=1) + "\n")
        (FOLDER / "htx.md").write_text(report(figures))


if __name__ == "__main__":
    main()
