"""A super peer under steady use: does it stay up, and as small as it was?

usage: python -m tests.bench.bench_soak [--minutes 60] [--json FILE]

Processes on loopback with the times of the product: a super peer (directory and exit), three relays that
register with it each 30 s, and a client that knows the directory alone. Each second the client fetches a page
over three hops and somebody asks the directory; each minute the super peer's memory and open files are noted.
"""

import argparse
import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.bench.bench_operators import resident_mb
from tests.support.helper_nodes import CONSENT, PAGE, HelperNode, exit_settings, web_server
from tests.support.waiting import pause, wait_until

RELAYS = 3
SETTLED = 5  # minutes until all that is kept has been seen once: growth counts from there
GROWTH_BAR_MB = 8.0


@dataclass
class Soak:
    """What was seen; one entry a minute in the lists, of the super peer."""

    fetched: int = 0
    failed: int = 0
    listed_wrong: int = 0  # the directory did not list all relays
    memory_mb: list[float] = field(default_factory=list)
    open_files: list[int] = field(default_factory=list)

    @property
    def growth_mb(self) -> float:
        """The last five minutes' median above that of the five behind the first ones."""
        settled = self.memory_mb[SETTLED:] or self.memory_mb
        return statistics.median(settled[-5:]) - statistics.median(settled[:5])

    def look(self, peer: HelperNode) -> None:
        """Note the process's size."""
        assert peer.process is not None
        self.memory_mb.append(round(resident_mb(peer), 1))
        self.open_files.append(len(list(Path(f"/proc/{peer.process.pid}/fd").iterdir())))


@contextlib.contextmanager
def network(folder: Path) -> Iterator[tuple[HelperNode, HelperNode, int]]:
    """Give the super peer, the client and the port of a page."""
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(web_server())
        peer = stack.enter_context(
            HelperNode(folder / "super", "super", ("--accept-exit-notice",), exit_settings(target), CONSENT)
        )
        operators = ("--operators", peer.url)
        for number in range(RELAYS):
            stack.enter_context(HelperNode(folder / f"relay{number}", "relay", operators))
        wait_until(lambda: len(peer.listed()) == RELAYS, "all relays are listed")
        client = stack.enter_context(HelperNode(folder / "client", "client", operators))
        client.wait_state("connected")
        yield peer, client, target


def soak(folder: Path, seconds: int, wait: Callable[[float], None] = pause) -> Soak:
    """Use it for so many rounds of a second and a little."""
    seen = Soak()
    with network(folder) as (peer, client, target):
        for second in range(seconds):
            if second % 60 == 0:
                seen.look(peer)
                print(
                    f"{second // 60:3} min  {seen.memory_mb[-1]} MB  {seen.open_files[-1]} files", flush=True
                )
            if client.fetch(target) == PAGE:
                seen.fetched += 1
            else:
                seen.failed += 1
            seen.listed_wrong += len(peer.listed()) != RELAYS
            wait(1.0)
        seen.look(peer)
    return seen


def main() -> int:
    """Run it, and hold it to the bar."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vigilnet-soak-") as folder:
        seen = soak(Path(folder), 60 * given.minutes)
    if given.json:
        given.json.write_text(json.dumps(asdict(seen), indent=2) + "\n")
    print(
        f"{given.minutes} minutes: {seen.fetched} pages fetched, {seen.failed} not; relays missing from the"
        f" directory {seen.listed_wrong} times; memory {seen.memory_mb[0]} MB at first, {seen.memory_mb[-1]}"
        f" at last, grown by {seen.growth_mb:+.1f} (bar {GROWTH_BAR_MB:.0f}); files {seen.open_files[0]} to"
        f" {max(seen.open_files)}"
    )
    return int(bool(seen.failed or seen.listed_wrong or seen.growth_mb > GROWTH_BAR_MB))


if __name__ == "__main__":
    sys.exit(main())
