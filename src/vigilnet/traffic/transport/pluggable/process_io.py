"""A managed proxy as a process of ours: started, heard out, and never outliving us."""

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from vigilnet.base.errors import EnvironmentRefusedError, RemoteProtocolError
from vigilnet.base.safelog import get_logger, sensitive
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.transport.pluggable.messages import MAX_LINE, ProxyOutput

STOP_S: Final = 2.0  # from the end of its standard input to SIGTERM, and from that to SIGKILL
_KEPT: Final = (
    "PATH",
    "LANG",
    "TMPDIR",
    "SYSTEMROOT",
)  # nothing else of our environment is a proxy's business

_log = get_logger(__name__)


class ManagedProxy:
    """One running proxy.

    Args:
        command: program and arguments.
        environment: what the interface tells it, beside the little of ours that it gets.
        state: its folder; made if it is not there.
        output: reads what it says.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], state: Path, output: ProxyOutput
    ) -> None:
        self._command = command
        self._state = state
        self._environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self._environment |= {"HOME": str(state), **environment}
        self.output: Final = output
        self._process: asyncio.subprocess.Process | None = None
        self._tasks = TaskGroup("managed proxy")
        self.on_ended: Callable[[], None] = lambda: None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self, timeout_s: float) -> None:
        """Start it and wait until it is ready.

        Raises:
            EnvironmentRefusedError: it cannot be started, ends, refuses, or is not ready in time.
        """
        program = self._command[0]
        try:
            self._state.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env=self._environment,
                cwd=self._state,
                limit=MAX_LINE,
                start_new_session=True,  # Ctrl-C is for us; we end it in order
            )
        except OSError as error:
            raise EnvironmentRefusedError(
                f"pluggable transport {program}: cannot be started ({error.strerror or error})"
            ) from error
        except NotImplementedError as error:  # the loop that has readers starts no programs on Windows
            raise EnvironmentRefusedError(f"pluggable transport {program}: not on Windows") from error
        try:
            async with asyncio.timeout(timeout_s):
                await self._hear_out(self._process)
        except TimeoutError as error:
            await self.close()
            raise EnvironmentRefusedError(f"pluggable transport {program}: not ready in time") from error
        except (RemoteProtocolError, ValueError) as error:
            await self.close()
            raise EnvironmentRefusedError(f"{program}: {error}") from error
        except BaseException:
            await self.close()
            raise
        self._tasks.start("output", self._follow(self._process))

    async def _hear_out(self, process: asyncio.subprocess.Process) -> None:
        while not self.output.is_ready:
            line = await _line_of(process)
            if not line:
                raise RemoteProtocolError("pluggable transport: ended before it was ready")
            self.output.line_received(line.rstrip(b"\n"))

    async def _follow(self, process: asyncio.subprocess.Process) -> None:
        """Read on until it ends, so that its pipe never fills."""
        with contextlib.suppress(ValueError):  # a line without end
            while line := await _line_of(process):
                if line.startswith(b"LOG"):
                    _log.debug(
                        "pluggable transport says", line=sensitive(line.decode("utf-8", "replace").strip())
                    )
        if process.returncode is None:
            await process.wait()
        self.on_ended()

    async def close(self) -> None:
        """End it: politely, then not."""
        await self._tasks.close()
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            await self._end(process)
        # Processes of its own may hold its output open; there is no public way to let go of it.
        process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.stdin is not None:
            process.stdin.close()
        for end in (process.terminate, process.kill):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await process.wait()
                return
            with contextlib.suppress(ProcessLookupError):
                end()
        await process.wait()


async def _line_of(process: asyncio.subprocess.Process) -> bytes:
    return b"" if process.stdout is None else await process.stdout.readline()
