"""Real visits: headless Chromium steered over its debugging pipe. `browse SECONDS PARALLEL SITES`. A process.

Each visit is a fresh context; two of three are a returning visitor's, with cookies of some hundred octets.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

from tests.bench.shaping.sites import Site, from_json

ANSWER_S = 25.0


class Browser:
    """Chromium and the pipe to it."""

    def __init__(self, sites: list[Site], folder: str) -> None:
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 20) for descriptor in (theirs_in, theirs_out)]
        rules = ",".join(f"MAP {site.name} {site.address}" for site in sites)

        def join() -> None:
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            [
                "chromium", "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}",
                "--remote-debugging-pipe", "--ignore-certificate-errors", "--disable-background-networking",
                "--disable-component-update", "--disable-sync", "--no-first-run", "--window-size=1280,800",
                f"--host-resolver-rules={rules}", "--autoplay-policy=no-user-gesture-required", "about:blank",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=join,  # noqa: PLW1509  # no threads hold locks here
            pass_fds=(3, 4), start_new_session=True,
        )  # fmt: skip
        for descriptor in (theirs_in, theirs_out, *high):
            os.close(descriptor)
        self._in, self._out = ours_in, ours_out
        self._number = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def start(self) -> None:
        """Begin to read its answers."""
        reader = asyncio.StreamReader(limit=1 << 26)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(self._in, "rb"))
        self._reading = loop.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while True:
            message = json.loads((await reader.readuntil(b"\0"))[:-1])
            waiting = self._waiting.pop(message.get("id", 0), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(message.get("result", {}))

    async def ask(self, method: str, session: str | None = None, **params: object) -> dict[str, Any]:
        """Call one method."""
        self._number += 1
        waiting = self._waiting[self._number] = asyncio.get_running_loop().create_future()
        message: dict[str, object] = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        async with asyncio.timeout(ANSWER_S):
            answer: dict[str, Any] = await waiting
            return answer


async def visit(browser: Browser, site: Site, rng: random.Random) -> None:
    """One visitor: some pages of one site, and some time on each."""
    context = (await browser.ask("Target.createBrowserContext"))["browserContextId"]
    try:
        target = await browser.ask("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await browser.ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        session = attached["sessionId"]
        url = f"https://{site.name}/"
        if rng.random() < 0.67:
            left = max(60, min(5000, rng.lognormvariate(0, 0.9) * 900))
            for number in range(20):
                size = int(min(left, rng.uniform(20, 700)))
                value = os.urandom(size).hex()[:size]
                await browser.ask("Network.setCookie", session, name=f"c{number}", value=value, url=url)
                left -= size
                if left < 20:
                    break
        stays = site.kind in ("chat", "video", "app", "mail")
        for _ in range(min(6, 1 + int(rng.expovariate(1 / 1.6)))):
            await browser.ask("Page.navigate", session, url=f"{url}p{rng.randrange(site.pages)}.html")
            await asyncio.sleep(rng.uniform(3, 12) if stays else min(12, rng.lognormvariate(1.0, 0.7)))
        if rng.random() < 0.25:
            await asyncio.sleep(rng.uniform(3, 10))
    finally:
        await browser.ask("Target.disposeBrowserContext", browserContextId=context)


async def main(seconds: float, parallel: int, sites: list[Site]) -> None:
    """Visit all sites in turn for so long."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        browser = Browser(sites, folder)
        await browser.start()
        now: Callable[[], float] = asyncio.get_running_loop().time
        end = now() + seconds
        order: list[Site] = []
        rng = random.Random()

        async def visitor() -> None:
            while now() < end:
                if not order:
                    order.extend(rng.sample(sites, len(sites)))
                with contextlib.suppress(TimeoutError, KeyError):
                    async with asyncio.timeout(60):
                        await visit(browser, order.pop(), rng)
                await asyncio.sleep(rng.uniform(0.1, 0.8))

        await asyncio.gather(*[visitor() for _ in range(parallel)])
        with contextlib.suppress(TimeoutError):
            await browser.ask("Browser.close")
        browser.process.terminate()
        browser.process.wait(10)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2]), from_json(sys.argv[3])))
