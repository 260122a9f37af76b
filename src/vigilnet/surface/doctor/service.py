"""Runs all checks, and repairs what is safe to repair."""

import contextlib
import dataclasses
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from vigilnet.base.errors import VigilnetError
from vigilnet.base.system_io import module_command
from vigilnet.surface.control.client import ControlClient
from vigilnet.surface.control.models import Diagnosis, Finding
from vigilnet.surface.control.socket_path import socket_of
from vigilnet.surface.doctor.finding import Situation
from vigilnet.surface.doctor.network import Network, check_network, check_relays
from vigilnet.surface.doctor.running_node import check_node, judge_peers
from vigilnet.surface.doctor.settings import check_settings
from vigilnet.surface.doctor.this_machine import Machine, check_machine

_ORDER: Final = {"fail": 0, "note": 1, "pass": 2}
REPAIRS: Final = ("device.open", "node.stale", "device.leftover", "settings.waiting")


def examine(situation: Situation, machine: Machine, network: Network, port: int = 0) -> Diagnosis:
    """Run every check."""
    started = time.perf_counter()
    found = list(_all(situation, machine, network, port))
    found.sort(key=lambda finding: _ORDER[finding.level])
    diagnosis = summed_up(found, round((time.perf_counter() - started) * 1000))
    return dataclasses.replace(diagnosis, peers=judge_peers(situation.node))


def _all(situation: Situation, machine: Machine, network: Network, port: int) -> Iterator[Finding]:
    yield from check_settings(situation)
    yield from check_machine(situation, machine)
    yield from check_network(situation, network)
    yield from check_node(situation, port)
    node = situation.node
    if node is not None and node.status.protection is not None and not node.status.circuits:
        yield from check_relays(
            [text.rpartition(" ")[2] for peer in node.peers for text in peer.addresses[:1]]
        )


def summed_up(findings: Iterable[Finding], took_ms: float, repaired: tuple[str, ...] = ()) -> Diagnosis:
    """Return a diagnosis of findings."""
    found = tuple(findings)
    counts = {level: sum(one.level == level for one in found) for level in _ORDER}
    problems, notes = counts["fail"], counts["note"]
    if problems:
        verdict = next(one.title for one in found if one.level == "fail")
        verdict += f", and {problems - 1} more" if problems > 1 else ""
    else:
        verdict = f"{counts['pass']} checks passed. Nothing to do." if not notes else "Nothing is broken."
    return Diagnosis(found, counts["pass"], problems, notes, took_ms, verdict, repaired)


def repair(situation: Situation, diagnosis: Diagnosis) -> tuple[str, ...]:
    """Do what the findings say can be done; returns what was done, in words."""
    done = []
    for finding in diagnosis.findings:
        if finding.repair and finding.id in REPAIRS:
            with contextlib.suppress(OSError, VigilnetError, subprocess.SubprocessError):
                _repair(finding.id, situation.folder)
                done.append(finding.repair)
    return tuple(done)


def _repair(identifier: str, folder: Path) -> None:
    if identifier == "device.open":
        folder.chmod(0o700)
    elif identifier == "node.stale":
        socket_of(folder).unlink()
    elif identifier == "device.leftover":
        command = [*module_command("vigilnet.surface.device_helper"), "--repair"]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    elif identifier == "settings.waiting":
        with ControlClient(folder, 60.0) as control:
            control.call("restart")
