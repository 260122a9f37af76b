"""Chromium without a window, steered over its debugging pipe: visits for `vigilnet htx record`."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from vigilnet.base.errors import EnvironmentRefusedError
from vigilnet.base.tasks import TaskGroup

ANSWER_S: Final = 25.0
MAX_ANSWER: Final = 1 << 26
_THEIRS: Final = (3, 4)  # where Chromium looks for the pipe


def _check_system() -> None:
    if sys.platform == "win32":
        raise EnvironmentRefusedError("recording a browser: not on Windows, which hands over no pipes")


def _far_from(descriptor: int) -> int:
    """Return a copy of a descriptor, of a higher number."""
    if sys.platform == "win32":
        return descriptor
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_DUPFD, 20)


class SteeredBrowser:
    """One Chromium and the pipe to it.

    Args:
        program: its path.
        folder: its profile; is thrown away with everything in it.
        hosts: where names are: host name to "address" or "address:port".
        flags: more of its own options.
    """

    def __init__(
        self, program: str, folder: Path, hosts: Mapping[str, str], flags: Sequence[str] = ()
    ) -> None:
        _check_system()
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        # far from where they are to go, or the second could fall on the first
        high = [_far_from(descriptor) for descriptor in (theirs_in, theirs_out)]
        rules = ",".join(f"MAP {name} {place}" for name, place in hosts.items())

        def join() -> None:
            for descriptor, place in zip(high, _THEIRS, strict=True):
                os.dup2(descriptor, place)

        self._process = subprocess.Popen(  # noqa: S603 a browser that the user has installed
            [
                program, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}",
                "--remote-debugging-pipe", "--disable-quic", "--disable-background-networking",
                "--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1280,800",
                f"--host-resolver-rules={rules}", "--autoplay-policy=no-user-gesture-required",
                *flags, "about:blank",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=join,  # noqa: PLW1509  # no threads hold locks here
            pass_fds=_THEIRS, start_new_session=True,
        )  # fmt: skip
        for descriptor in (theirs_in, theirs_out, *high):
            os.close(descriptor)
        self._in, self._out = ours_in, ours_out
        self._tasks = TaskGroup("browser")
        self._number = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def start(self) -> None:
        """Begin to read its answers."""
        reader = asyncio.StreamReader(limit=MAX_ANSWER)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(self._in, "rb"))
        self._tasks.start("answers", self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):  # it is gone: who waits is told by the time
            while True:
                message = json.loads((await reader.readuntil(b"\0"))[:-1])
                waiting = self._waiting.pop(message.get("id", 0), None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message.get("result", {}))

    async def ask(self, method: str, session: str | None = None, **params: object) -> dict[str, Any]:
        """Call one method of its protocol; raises TimeoutError, EnvironmentRefusedError."""
        self._number += 1
        waiting = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        message: dict[str, object] = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        try:
            os.write(self._out, json.dumps(message).encode() + b"\0")
        except OSError as error:
            raise EnvironmentRefusedError(f"the browser has ended ({error})") from error
        async with asyncio.timeout(ANSWER_S):
            answer: dict[str, Any] = await waiting
            return answer

    @contextlib.asynccontextmanager
    async def tab(self) -> AsyncIterator[str]:
        """A tab of a fresh visitor's; gives its session."""
        context = (await self.ask("Target.createBrowserContext"))["browserContextId"]
        try:
            target = await self.ask("Target.createTarget", url="about:blank", browserContextId=context)
            attached = await self.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            yield attached["sessionId"]
        finally:
            with contextlib.suppress(TimeoutError, EnvironmentRefusedError):
                await self.ask("Target.disposeBrowserContext", browserContextId=context)

    async def close(self) -> None:
        """End it."""
        with contextlib.suppress(TimeoutError, EnvironmentRefusedError):
            async with asyncio.timeout(5):
                await self.ask("Browser.close")
        await self._tasks.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        os.close(self._out)
