"""Runs one of our modules as if Python were Windows': what it lacks is gone from our own code.

    python -m tests.support.as_windows vigilnet.surface.daemon ARGUMENTS

Only our code is changed, while it is imported: `sys.platform` reads "win32", modules and names that Windows'
Python does not have are not found, and the few that only it has stand for something of this system. So this
shows that nothing of ours asks for what is not there; what Windows does with the rest: tests/test_windows.py.
"""

import ast
import asyncio
import ctypes
import fcntl
import importlib.machinery
import os
import runpy
import signal
import socket
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Final

MODULES: Final = {"fcntl", "grp", "pty", "pwd", "resource", "termios", "tty", "uvloop"}
NAMES: Final = {
    "os": {
        "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "chown", "fchmod", "fork", "getegid",
        "geteuid", "getgid", "getuid", "killpg", "readv", "set_blocking", "setsid", "sysconf", "uname",
        "writev",
    },
    "select": {"epoll", "poll"},
    "signal": {"SIGCHLD", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2"},
    "socket": {
        "AF_NETLINK", "AF_PACKET", "AF_UNIX", "CMSG_SPACE", "SCM_RIGHTS", "SO_PEERCRED",
        "SO_REUSEPORT",
    },
    "time": {"CLOCK_BOOTTIME", "clock_gettime"},
}  # fmt: skip
METHODS: Final = {
    "add_signal_handler", "connect_read_pipe", "create_unix_server", "recvmsg", "sendmsg",
    "start_unix_server",
}  # fmt: skip
_GONE: Final = "not_there_on_windows_"


class _Windows(ast.NodeTransformer):
    """Rewrites a module."""

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        of = node.value.id if isinstance(node.value, ast.Name) else ""
        if (of, node.attr) == ("sys", "platform"):
            return ast.copy_location(ast.Constant("win32"), node)
        if node.attr in METHODS or node.attr in NAMES.get(of, ()):
            node.attr = _GONE + node.attr
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in ("hasattr", "getattr"):
            of, name = node.args[:2]
            gone = METHODS | NAMES.get(of.id, set()) if isinstance(of, ast.Name) else METHODS
            if isinstance(name, ast.Constant) and name.value in gone:
                name.value = _GONE + str(name.value)
        return node

    def visit_Import(self, node: ast.Import) -> ast.AST:
        for name in node.names:
            if name.name in MODULES:
                name.name, name.asname = _GONE + name.name, name.asname or name.name
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        if node.module in MODULES or NAMES.get(node.module or "", set()) & {name.name for name in node.names}:
            node.module = _GONE + str(node.module)
        return node


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> types.CodeType:
        """Compile anew: what is cached is for this system."""
        path = self.get_filename(fullname)
        tree = ast.fix_missing_locations(_Windows().visit(ast.parse(self.get_data(path), path)))
        return compile(tree, path, "exec")


class _Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find our modules alone."""
        if fullname.partition(".")[0] != "vigilnet":
            return None
        spec = super().find_spec(fullname, path, target)
        if spec is not None and spec.origin is not None:
            spec.loader = _Loader(fullname, spec.origin)
        return spec


def pretend() -> None:
    """Change what is imported from now on."""

    def locking(handle: int, mode: int, _: int) -> None:
        del mode
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def take_folder(folder: Path) -> bool:
        folder.chmod(0o700)
        return True

    only_there: dict[str, dict[str, object]] = {
        "msvcrt": {"LK_NBLCK": 2, "locking": locking},
        "vigilnet.base.windows_rights_io": {"take_folder": take_folder},
        "vigilnet.base.windows_loop_io": {"new_loop": asyncio.SelectorEventLoop},
    }
    for name, values in only_there.items():
        module = types.ModuleType(name)
        vars(module).update(values)
        sys.modules[name] = module
    vars(os).update(O_NOINHERIT=os.O_CLOEXEC, O_BINARY=0)
    vars(socket).update(SO_EXCLUSIVEADDRUSE=socket.SO_REUSEADDR)
    vars(signal).update(SIGBREAK=signal.SIGHUP)
    vars(subprocess).update(CREATE_NO_WINDOW=0, CREATE_NEW_PROCESS_GROUP=0)
    administrator = types.SimpleNamespace(IsUserAnAdmin=lambda: 0)
    vars(ctypes).update(windll=types.SimpleNamespace(shell32=administrator))
    sys.meta_path.insert(0, _Finder)
    import vigilnet.base

    vars(vigilnet.base).update(
        {name.rpartition(".")[2]: sys.modules[name] for name in only_there if "." in name}
    )


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    pretend()
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
