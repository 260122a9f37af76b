"""`vigilnet htx record`: visits of a browser to an origin, as a relay before that origin repeats them.

A program of its own that `vigilnet htx` becomes. Chromium visits the site through a proxy on loopback that
notes the lengths and times of TLS records; nothing is decrypted. No visitor but this one is recorded: what
strangers do would show again in our own connections, and who watches could recognise what he did.
"""

import argparse
import asyncio
import contextlib
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError
from vigilnet.base.store_io import write_file
from vigilnet.base.tasks import TaskGroup
from vigilnet.surface.cli.output import write
from vigilnet.surface.exits import ExitCode
from vigilnet.surface.recording_proxy import Passed, RecordingProxy, Wire
from vigilnet.surface.steered_browser import SteeredBrowser
from vigilnet.traffic.transport.htx.recordings import Recording, format_recording, read_recording
from vigilnet.traffic.transport.htx.visits import NEW_VISITORS, Dice

PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")
DEFAULT_VISITS: Final = 60
PARALLEL: Final = 3
VISIT_S: Final = 60.0
MAX_PAGES: Final = 6
RATES: Final = (1_500_000, 2_500_000, 5_000_000, 10_000_000)  # octets a second
MAX_COOKIES: Final = 20
MAX_PATHS: Final = 200
LEAST_COOKIE: Final = 20  # octets
_LINKS: Final = "JSON.stringify([...document.links].map(a=>a.href).filter(h=>h.startsWith(location.origin)))"

_dice = Dice(os.urandom)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `record` to `vigilnet htx`."""
    command = commands.add_parser(
        "record", help="record visits to a relay's own origin, for its shaping",
        description="Starts Chromium, visits the site again and again, and writes what its records looked "
        "like: name the file in htx.visits of the relay before that site. Nothing is sent anywhere else.",
    )  # fmt: skip
    command.add_argument("host", help="the site's name, as clients ask for it (htx.host_name)")
    command.add_argument("--origin", metavar="HOST:PORT", help="where its server is; default: HOST:443")
    command.add_argument("--output", type=Path, metavar="FILE", help="default: HOST.visits")
    command.add_argument("--visits", type=int, default=DEFAULT_VISITS, metavar="N", help="how many")
    command.add_argument("--seconds", type=float, default=3600, metavar="S", help="stop after so long")
    command.add_argument("--parallel", type=int, default=PARALLEL, metavar="N", help="visitors at once")
    command.add_argument(
        "--page", action="append", default=[], metavar="PATH", help="default: / and its links"
    )
    command.add_argument("--no-wire", action="store_true", help="the site is far away already: add no delay")
    command.add_argument("--any-certificate", action="store_true", help="take whatever the server shows")
    command.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> ExitCode:
    output: Path = arguments.output or Path(f"{arguments.host}.visits")
    if output.exists():
        raise ConfigurationError(f"{output}: exists, and nothing is overwritten; name another --output")
    host, _, port = (arguments.origin or f"{arguments.host}:443").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ConfigurationError(f"--origin {arguments.origin}: HOST:PORT expected")
    if arguments.visits < 1 or arguments.parallel < 1:
        raise ConfigurationError("--visits, --parallel: at least 1")
    program = next((found for found in map(shutil.which, PROGRAMS) if found), None)
    if program is None:
        raise EnvironmentRefusedError(f"no browser to record with (looked for {', '.join(PROGRAMS)})")
    recorder = Recorder(
        arguments.host, (host.strip("[]"), int(port)), arguments.page, has_wire=not arguments.no_wire
    )
    flags = ("--ignore-certificate-errors",) if arguments.any_certificate else ()
    asyncio.run(record([recorder], program, flags, arguments.visits, arguments.seconds, arguments.parallel))
    found = recorder.found
    if not found:
        raise EnvironmentRefusedError(
            f"{arguments.host}: no visit could be recorded (is it h2 over TLS 1.3, and the certificate good?)"
        )
    wall = SystemClock().wall()
    write_file(
        output, "".join(format_recording(recording, wall) + "\n" for recording in found).encode(), 0o600
    )
    write(f"{output}: {len(found)} visits; {recorder.left_out} connections were of no use")
    return ExitCode.OK


class Recorder:
    """Visits one site and keeps what passed.

    Args:
        host: its name.
        origin: where it is.
        pages: paths to visit; empty: what the first page links to.
        has_wire: whether to pretend a wire of some length before it.
    """

    def __init__(self, host: str, origin: tuple[str, int], pages: Sequence[str], *, has_wire: bool) -> None:
        self.host: Final = host
        self._pages = list(pages)
        self._has_wire = has_wire
        self.proxy: Final = RecordingProxy(origin, self._wire, self._passed)
        self.found: list[Recording] = []
        self.left_out = 0
        self._is_first = True

    def _wire(self) -> Wire:
        if not self._has_wire:
            return Wire()
        return Wire(_dice.between(0.006, 0.045), float(_dice.one_of(RATES)))

    def _passed(self, passed: Passed) -> None:
        recording = read_recording(passed.visit(), passed.rtt)
        if recording is None:
            self.left_out += 1
        else:
            self.found.append(recording)

    async def visit(self, browser: SteeredBrowser) -> None:
        """One visitor: some pages, and some time on each; two of three were there before and have cookies."""
        address = f"https://{self.host}"
        async with browser.tab() as session:
            is_first, self._is_first = (
                self._is_first,
                False,
            )  # its request shows what one without cookies takes
            if not is_first and not _dice.chance(NEW_VISITORS):
                await self._set_cookies(browser, session, address)
            long = _dice.chance(0.5)
            for _ in range(min(MAX_PAGES, 1 + int(-1.6 * math.log(_dice.unit())))):
                path = self._pages[_dice.whole(0, len(self._pages) - 1)] if self._pages else "/"
                await browser.ask("Page.navigate", session, url=address + path)
                await asyncio.sleep(_dice.between(3, 12) if long else _dice.around(2.7, 0.7, 0.1, 12))
                if not self._pages:
                    await self._look_for_links(browser, session)

    async def _look_for_links(self, browser: SteeredBrowser, session: str) -> None:
        answer = await browser.ask("Runtime.evaluate", session, expression=_LINKS)
        links = answer.get("result", {}).get("value", "[]").strip('[]"').split('","')
        origin = f"https://{self.host}"
        paths = [link.removeprefix(origin) for link in links if link.startswith(f"{origin}/")]
        self._pages = paths[:MAX_PATHS] or ["/"]

    async def _set_cookies(self, browser: SteeredBrowser, session: str, address: str) -> None:
        left = _dice.around(900, 0.9, 60, 5000)
        for number in range(MAX_COOKIES):
            size = int(min(left, _dice.between(20, 700)))
            value = os.urandom(size).hex()[:size]
            await browser.ask("Network.setCookie", session, name=f"c{number}", value=value, url=address)
            left -= size
            if left < LEAST_COOKIE:
                break


async def record(
    recorders: Sequence[Recorder],
    program: str,
    flags: Sequence[str],
    visits: int,
    seconds: float,
    parallel: int,
) -> None:
    """Visit each site so often, or all for so long."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    order = [recorder for _ in range(visits) for recorder in reversed(recorders)]
    for recorder in recorders:
        await recorder.proxy.start()
    with tempfile.TemporaryDirectory(prefix="vigilnet-record-", ignore_cleanup_errors=True) as profile:
        hosts = {recorder.host: f"127.0.0.1:{recorder.proxy.port}" for recorder in recorders}
        browser = SteeredBrowser(program, Path(profile), hosts, flags)
        await browser.start()
        tasks = TaskGroup("visits")

        async def visitor() -> None:
            while order and loop.time() < end:
                recorder = order.pop()
                with contextlib.suppress(TimeoutError, KeyError):
                    async with asyncio.timeout(VISIT_S):
                        await recorder.visit(browser)
                await asyncio.sleep(_dice.between(0.1, 0.8))

        try:
            await asyncio.gather(*[tasks.start("visitor", visitor()) for _ in range(parallel)])
        finally:
            await tasks.close()
            await browser.close()
            for recorder in recorders:
                await recorder.proxy.close()
