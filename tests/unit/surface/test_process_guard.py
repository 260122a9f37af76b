import resource
import subprocess
import sys
from pathlib import Path

import pytest

from vigilnet.surface import process_guard


def python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_no_core_is_ever_written() -> None:
    assert python(
        "from vigilnet.surface.process_guard import forbid_core_dumps as f; import resource; f();"
        "print(resource.getrlimit(resource.RLIMIT_CORE), open('/proc/self/coredump_filter').read().strip())"
    ) == "(0, 0) 00000000"  # fmt: skip


def test_memory_is_locked_where_the_system_allows_it() -> None:
    told, kib = python(
        "from vigilnet.surface.process_guard import lock_memory as f; told = f();"
        "locked = [l.split()[1] for l in open('/proc/self/status') if l.startswith('VmLck')][0];"
        "print(told, locked)"
    ).split()
    assert (told == "True") == (int(kib) > 0)


def test_memory_is_not_locked_under_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8 << 20, 8 << 20))
    monkeypatch.setattr(Path, "read_text", lambda _: "Name:\tx\nCapEff:\t0000000000000000\n")
    assert process_guard.lock_memory() is False


def test_child_ends_with_its_parent() -> None:
    # The middle process starts a child that guards itself, and is then killed.
    child = (
        "from vigilnet.surface.process_guard import end_with_parent as f; import time; f();"
        "print('guarded', flush=True); time.sleep(60)"
    )
    middle = (
        "import subprocess,sys,os,signal;"
        f"p=subprocess.Popen([sys.executable,'-c',{child!r}],stdout=subprocess.PIPE,text=True);"
        "p.stdout.readline(); print(p.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", middle], capture_output=True, text=True, check=False, timeout=60
    )
    pid = int(done.stdout)
    # It is init's child now; wait until it is gone.
    for _ in range(500):
        if not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text():
            return
        subprocess.run(["sleep", "0.02"], check=True)
    raise AssertionError(f"process {pid} lives on")


def test_freed_memory_is_kept_and_used_again() -> None:
    # Page faults of a buffer that is freed and taken again and again: next to none once it is kept.
    faults = int(
        python(
            "from vigilnet.surface.process_guard import keep_freed_memory as f; import resource; f();"
            "use = lambda: bytearray(b'x' * 400_000); use();"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt;"
            "all(use() for _ in range(20));"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
        )
    )
    assert faults < 1000  # 20 * 2 * 98 pages otherwise
