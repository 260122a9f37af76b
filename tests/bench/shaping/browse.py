"""Real visits: headless Chromium steered over its debugging pipe. `browse SECONDS PARALLEL SITES`. A process.

Each visit is a fresh context; two of three are a returning visitor's, with cookies of some hundred octets.
"""

import asyncio
import contextlib
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench.shaping.sites import Site, from_json
from vigilnet.surface.steered_browser import SteeredBrowser


async def visit(browser: SteeredBrowser, site: Site, rng: random.Random) -> None:
    """One visitor: some pages of one site, and some time on each."""
    async with browser.tab() as session:
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


async def main(seconds: float, parallel: int, sites: list[Site]) -> None:
    """Visit all sites in turn for so long."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        hosts = {site.name: site.address for site in sites}
        browser = SteeredBrowser("chromium", Path(folder), hosts, ("--ignore-certificate-errors",))
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
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2]), from_json(sys.argv[3])))
