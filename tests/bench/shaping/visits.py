"""The relays' own recordings, by the product's recorder: `visits SECONDS PARALLEL FOLDER SITES`. A process.

They go to another port of the same servers, which the watcher does not look at.
"""

import asyncio
import shutil
import sys
from pathlib import Path

from tests.bench.shaping.sites import from_json
from vigilnet.surface.htx_record import PROGRAMS, Recorder, record
from vigilnet.traffic.transport.htx.recordings import format_recording

PORT = 4443


async def main(seconds: float, parallel: int, folder: Path, text: str) -> None:
    """Visit all sites in turn for so long; the WAN is a wire, none is made up."""
    sites = from_json(text)
    program = next(found for found in map(shutil.which, PROGRAMS) if found)
    recorders = [
        Recorder(
            site.name, (site.address, PORT), [f"/p{at}.html" for at in range(site.pages)], has_wire=False
        )
        for site in sites
    ]
    await record(recorders, program, ("--ignore-certificate-errors",), 1000, seconds, parallel)
    for site, recorder in zip(sites, recorders, strict=True):
        if recorder.found:
            text = "".join(format_recording(found) + "\n" for found in recorder.found)
            (folder / f"{site.number}.jsonl").write_text(text)


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]))
