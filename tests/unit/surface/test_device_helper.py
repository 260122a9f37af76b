"""The helper's own command line, with a kernel that only remembers."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_kernel import FakeKernel
from vigilnet.surface import device_helper
from vigilnet.surface.exits import ExitCode
from vigilnet.traffic.device.helper_io import Helper


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKernel]:
    made = FakeKernel(tmp_path)
    monkeypatch.setattr(device_helper, "choose_backend", lambda *_: made)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(device_helper, "forbid_core_dumps", lambda: None)
    yield made
    made.device.close()
    made.applications.close()


def test_it_needs_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(device_helper, "forbid_core_dumps", lambda: None)
    assert device_helper.main(["--repair"]) == ExitCode.NO_RIGHTS
    assert "needs root" in capsys.readouterr().err


def test_repair_puts_everything_back(kernel: FakeKernel) -> None:
    assert device_helper.main(["--repair"]) == 0
    assert kernel.said == [("restore", True)]


def test_boot_closes_the_firewall_only_if_lockdown_is_on(kernel: FakeKernel) -> None:
    assert device_helper.main(["--boot"]) == 0
    assert not kernel.is_locked
    kernel.set_lockdown(is_on=True)
    assert device_helper.main(["--boot"]) == 0
    assert kernel.is_locked


def test_it_serves_until_sigterm_and_puts_everything_back(kernel: FakeKernel, tmp_path: Path) -> None:
    reader, writer = os.pipe()

    def end_when_ready() -> None:
        assert os.read(reader, 10) == b"ready\n"
        os.kill(os.getpid(), signal.SIGTERM)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    thread = threading.Thread(target=end_when_ready)
    thread.start()
    try:
        folder = str(tmp_path / "run")
        words = ["--owner", str(os.getuid()), "--run-folder", folder, "--ready-fd", str(writer)]
        assert device_helper.main(words) == 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        thread.join()
        os.close(reader)
    assert kernel.said == [("restore", False)]
    assert not (tmp_path / "run" / "helper.sock").exists()


def test_after_a_fault_of_its_own_everything_stays_closed(
    kernel: FakeKernel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Helper) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Helper, "serve", fail)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        words = ["--owner", str(os.getuid()), "--run-folder", str(tmp_path / "run")]
        assert device_helper.main(words) == ExitCode.FAILED
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert kernel.said == []  # nothing was put back, and so nothing opened
