"""A machine that systemd boots: a container over this machine's files, whose network is a host of a lab.

    with Machine(folder, host, units) as machine:
        machine.boot()
        machine.run("systemctl", "is-active", "vigilnet-helper")

What it writes goes to memory. Only the units of ours and those that each boot needs are started.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import vigilnet
from tests.support.netns import RUN_NETNS, Namespace
from tests.support.waiting import wait_until

UNITS = Path(__file__).parents[2] / "packaging" / "systemd"
SOURCE = Path(vigilnet.__file__).parents[1]
TARGET = """
[Unit]
Requires=basic.target
After=basic.target
AllowIsolate=yes
"""
# A packaged system has its programs in /usr; here they lie wherever the checkout and its interpreter are.
DROP_IN = """
[Service]
ProtectHome=read-only
BindReadOnlyPaths={source} {environment}
"""
COMMAND = """#!/bin/sh
export PYTHONPATH={source}
exec {python} -m vigilnet.surface.cli.main "$@"
"""


class Machine:
    """One machine, which can boot, be switched off and boot again; its disk is kept meanwhile."""

    def __init__(self, folder: Path, host: Namespace, units: dict[str, str]) -> None:
        self._memory = folder / "machine"
        self.root = self._memory / "root"
        self._host = host
        self._units = units
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "machine.log"

    def __enter__(self) -> Self:
        self._memory.mkdir()
        _run("mount", "-t", "tmpfs", "vnmachine", self._memory)
        for name in ("upper", "work", "root"):
            (self._memory / name).mkdir()
        layers = f"lowerdir=/,upperdir={self._memory}/upper,workdir={self._memory}/work"
        _run("mount", "-t", "overlay", "overlay", "-o", layers, self.root)
        self._install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.switch_off()
        for path in (self.root, self._memory):
            subprocess.run(["umount", "-l", str(path)], check=False)

    def _install(self) -> None:
        command = self.root / "usr" / "bin" / "vigilnet"
        command.unlink(missing_ok=True)
        command.write_text(COMMAND.format(source=SOURCE, python=sys.executable))
        command.chmod(0o755)
        folder = self.root / "etc" / "systemd" / "system"
        (folder / "vntest.target").write_text(TARGET)
        # It would empty /tmp, where a test's files lie.
        (folder / "systemd-tmpfiles-setup.service").symlink_to("/dev/null")
        wanted = {"sysinit.target": ["vigilnet-lockdown.service"], "vntest.target": list(self._units)}
        wanted["vntest.target"].append("vigilnet-helper.service")
        environment = Path(sys.executable).parents[1]
        for unit in ("vigilnet-lockdown.service", "vigilnet-helper.service"):
            (folder / unit).write_text((UNITS / unit).read_text())
            (folder / f"{unit}.d").mkdir()
            drop_in = DROP_IN.format(source=SOURCE, environment=environment)
            (folder / f"{unit}.d" / "here.conf").write_text(drop_in)
        for unit, text in self._units.items():
            (folder / unit).write_text(text)
        for target, units in wanted.items():
            (folder / f"{target}.wants").mkdir(exist_ok=True)
            for unit in units:
                (folder / f"{target}.wants" / unit).symlink_to(Path("/etc/systemd/system") / unit)

    def boot(self) -> None:
        """Start it and wait until its target is reached."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--machine=vn{os.getpid()}",
                    "-D", str(self.root), f"--network-namespace-path={RUN_NETNS / self._host.name}",
                    "--capability=all", "--system-call-filter=bpf", "--bind=/dev/net/tun", "--console=pipe",
                    "-b", "systemd.unit=vntest.target", "systemd.log_target=console",
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, "SYSTEMD_NSPAWN_TMPFS_TMP": "0", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
            )  # fmt: skip
        wait_until(self._has_booted, "the machine has booted", timeout=60)

    @property
    def said(self) -> str:
        """What its console has shown."""
        return self._log.read_text(errors="replace")

    def _has_booted(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.said
        return self.state_of("vntest.target") == "active"

    def state_of(self, unit: str) -> str:
        """What systemd says of a unit: active, inactive, failed, activating."""
        with contextlib.suppress(IndexError, OSError):
            return self.run("systemctl", "is-active", unit, check=False).stdout.strip()
        return ""

    def _leader(self) -> int:
        """The first process within."""
        assert self._process is not None
        file = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return int(file.read_text().split()[0])

    def run(
        self, *words: object, check: bool = True, timeout: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command within."""
        enter = ("nsenter", "-t", str(self._leader()), "-m", "-u", "-i", "-n", "-p", "-C")
        done = subprocess.run(
            [*enter, *map(str, words)], capture_output=True, text=True, check=False, timeout=timeout
        )
        if check and done.returncode:
            raise AssertionError(
                f"{words}: exit {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.said}"
            )
        return done

    def switch_off(self) -> None:
        """Take its power away."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(OSError, IndexError):
                os.kill(self._leader(), signal.SIGKILL)
            self._process.wait(60)
        self._process = None


def _run(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True)
