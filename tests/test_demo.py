"""`make demo` does what the readme says."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[1] / "examples" / "demo.py"

pytestmark = pytest.mark.slow


def test_demo_fetches_a_page_over_three_hops() -> None:
    done = subprocess.run(
        [sys.executable, DEMO, "--once"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "You came here through three onion hops." in done.stdout
    assert re.findall(r"hop (\d): relay\d 12D3KooW\w+", done.stdout) == ["1", "2", "3"]
    assert "curl --socks5-hostname 127.0.0.1:" in done.stdout


def deaf_to_interrupts() -> None:
    """As a shell starts its background jobs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_demo_stays_up_until_ctrl_c_and_leaves_no_process() -> None:
    with subprocess.Popen(
        [sys.executable, DEMO],
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=deaf_to_interrupts,  # noqa: PLW1509 no threads here
    ) as demo:
        try:
            said = try_it(demo)
            demo.send_signal(signal.SIGINT)
            assert demo.wait(60) == 0
        finally:
            demo.kill()
    pids = re.findall(r"(?:client|relay\d) (\d+)\b", said)
    assert len(pids) == 4
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def try_it(demo: "subprocess.Popen[str]") -> str:
    """Read on until the demo is up, then run the command that it shows; returns what it said."""
    assert demo.stdout is not None
    said = ""
    while "Ctrl-C ends it" not in said:
        line = demo.stdout.readline()
        assert line, said
        said += line
    shown = re.search(r"vigilnet (circuits --state-folder \S+)", said)
    assert shown is not None
    vigilnet = Path(sys.executable).with_name("vigilnet")
    told = subprocess.run([vigilnet, *shown[1].split()], capture_output=True, text=True, check=True)
    assert "CONNECTIONS" in told.stdout
    return said
