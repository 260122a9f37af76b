"""`vigilnet htx capture`: makes a hello template from a live browser, on loopback.

A program of its own that `vigilnet htx` becomes. A listener answers nothing and keeps the first record of
each connection; the browser, started with a fresh profile that is thrown away, is told that the name to visit
is this machine. Programs known by name: chromium, firefox, curl; any other is opened by hand.
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from vigilnet.base.errors import ConfigurationError, EnvironmentRefusedError, RemoteProtocolError
from vigilnet.base.store_io import write_file
from vigilnet.surface import htx_record
from vigilnet.surface.cli.output import write
from vigilnet.surface.exits import ExitCode, OneLineParser, run_guarded
from vigilnet.traffic.transport.htx.client_hello import ClientHello, decode_client_hello
from vigilnet.traffic.transport.htx.fingerprint import ja4, template_from
from vigilnet.traffic.transport.htx.templates import Template, format_template, parse_template
from vigilnet.traffic.transport.htx.wire import RecordReader

HOST_NAME: Final = "www.example.test"
DEFAULT_COUNT: Final = 24  # enough to see each of four sizes of a pretended ech, 99.6 times in 100
LAUNCH_S: Final = 20.0
READ_S: Final = 2.0
MAX_LAUNCHES: Final = 40
_FIREFOX_PROFILE: Final = """user_pref("network.dns.forceResolve", "127.0.0.1");
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("app.update.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
"""

Captured = tuple[int, ClientHello]  # record version and hello
_now = time.monotonic  # noqa: TID251 a command, not a machine


def _chromium(program: str, profile: Path, port: int) -> list[str]:
    return [
        program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={profile}", f"--host-resolver-rules=MAP {HOST_NAME} 127.0.0.1:{port}",
        "--dump-dom", f"https://{HOST_NAME}/",
    ]  # fmt: skip


def _firefox(program: str, profile: Path, port: int) -> list[str]:
    (profile / "user.js").write_text(_FIREFOX_PROFILE)
    return [program, "--headless", "--no-remote", "--profile", str(profile), f"https://{HOST_NAME}:{port}/"]


def _curl(program: str, _: Path, port: int) -> list[str]:
    return [program, "-s", "-k", "--connect-to", f"::127.0.0.1:{port}", f"https://{HOST_NAME}/"]


KNOWN: Final[dict[str, tuple[tuple[str, ...], Callable[[str, Path, int], list[str]]]]] = {
    "chromium": (("chromium", "chromium-browser", "google-chrome"), _chromium),
    "firefox": (("firefox-esr", "firefox"), _firefox),
    "curl": (("curl",), _curl),
}


def new_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser: argparse.ArgumentParser = OneLineParser(
        prog="vigilnet htx", description="What links over HTX look like: hellos and visits of real browsers."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    command = commands.add_parser(
        "capture", help="make a hello template from a live browser on this machine",
        description="Starts a browser with a fresh profile against a listener on loopback, and writes what "
        "it says hello with as a template: name the file in htx.templates.",
    )  # fmt: skip
    command.add_argument("browser", help=f"{', '.join(KNOWN)}; or a name of yours with --by-hand")
    command.add_argument("--output", type=Path, metavar="FILE", help="default: BROWSER.json")
    command.add_argument("--count", type=int, default=DEFAULT_COUNT, metavar="N", help="hellos wanted")
    command.add_argument("--weight", type=float, default=1.0, help="how often it is drawn")
    command.add_argument(
        "--by-hand", action="store_true", help="start no program: open the address shown, again and again"
    )
    command.set_defaults(run=_run)
    htx_record.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Capture; return the exit code."""
    arguments = new_parser().parse_args(argv)
    return run_guarded("vigilnet", lambda: arguments.run(arguments))


def _run(arguments: argparse.Namespace) -> ExitCode:
    output = arguments.output or Path(f"{arguments.browser}.json")
    if arguments.count < 1:
        raise ConfigurationError(f"--count {arguments.count}: at least 1 is needed")
    if output.exists():
        raise ConfigurationError(f"{output}: exists, and nothing is overwritten; name another --output")
    if arguments.by_hand:
        hellos, version = capture_by_hand(arguments.count), arguments.browser
    else:
        hellos, version = capture(arguments.browser, arguments.count)
    template = make_template(arguments.browser, version, hellos, arguments.weight)
    today = datetime.now(UTC).date().isoformat()
    text = format_template(template, today)
    parse_template(text, arguments.browser)  # what we write can be read
    write_file(output, text.encode(), 0o644)
    write(f"{output}: {template.browser}, {len(hellos)} hellos, {ja4(hellos[0][1])}")
    return ExitCode.OK


def make_template(name: str, version: str, hellos: Sequence[Captured], weight: float) -> Template:
    """Return the template of these hellos, whose first one stands for the browser."""
    try:
        made = template_from(
            hellos,
            name=name,
            browser=version,
            captured=0,
            source="captured from the real program on loopback",
            is_checked=True,
            weight=weight,
        )
    except RemoteProtocolError as error:
        raise EnvironmentRefusedError(f"{name}: its hellos make no template ({error})") from error
    return replace(made, name=name)


def capture(browser: str, count: int) -> tuple[list[Captured], str]:
    """Start a known browser until it has said hello so often; return the hellos and its version.

    Raises:
        ConfigurationError: a browser that is not known by name.
        EnvironmentRefusedError: it is not installed, or says nothing.
    """
    if browser not in KNOWN:
        raise ConfigurationError(f"{browser}: expected one of {', '.join(KNOWN)}, or --by-hand")
    names, command = KNOWN[browser]
    program = next((found for found in map(shutil.which, names) if found), None)
    if program is None:
        raise EnvironmentRefusedError(f"{browser}: not installed (looked for {', '.join(names)})")
    hellos: list[Captured] = []
    with _listener() as listener:
        for _ in range(MAX_LAUNCHES):
            hellos += _launch(program, command, listener, count - len(hellos), hellos[:1])
            if len(hellos) >= count or not hellos:
                break
    if not hellos:
        raise EnvironmentRefusedError(f"{browser}: started, but said no hello in {LAUNCH_S:.0f} s")
    return hellos, _version_of(program)


def _launch(
    program: str,
    command: Callable[[str, Path, int], list[str]],
    listener: socket.socket,
    wanted: int,
    first: Sequence[Captured],
) -> list[Captured]:
    """Run the program once; return hellos like the first of all: later ones may be a fallback's."""
    found: list[Captured] = []
    with tempfile.TemporaryDirectory(prefix="vigilnet-capture-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(  # noqa: S603 a browser that the user named
            command(program, Path(profile), listener.getsockname()[1]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            give_up = _now() + LAUNCH_S
            while len(found) < wanted and _now() < give_up:
                hello = _accept(listener)
                if hello is None and process.poll() is not None:
                    break
                if hello is None:
                    continue
                if any(not _is_alike(hello, other) for other in [*first, *found[:1]]):
                    break
                found.append(hello)
        finally:
            if sys.platform == "win32":
                process.kill()
            else:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return found


def _is_alike(one: Captured, other: Captured) -> bool:
    """Whether two hellos have the same versions, ciphers, algorithms and kinds of extensions."""
    return one[0] == other[0] and ja4(one[1]) == ja4(other[1])


def capture_by_hand(count: int) -> list[Captured]:
    """Ask the user to open an address again and again."""
    hellos: list[Captured] = []
    with _listener() as listener:
        port = listener.getsockname()[1]
        write(f"open https://localhost:{port}/ in the browser, {count} times, each in a new private window")
        while len(hellos) < count:
            hello = _accept(listener)
            if hello is not None:
                hellos.append(hello)
                write(f"{len(hellos)} of {count}", stream=sys.stderr)
    return hellos


@contextlib.contextmanager
def _listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.5)
        yield listener


def _accept(listener: socket.socket) -> Captured | None:
    """Take one connection; return its hello, if it says one."""
    try:
        connection, _ = listener.accept()
    except TimeoutError:
        return None
    with connection, contextlib.suppress(OSError, RemoteProtocolError):
        connection.settimeout(READ_S)
        reader = RecordReader()
        while data := connection.recv(65_536):
            for record in reader.feed(data):
                return int.from_bytes(record.header[1:3], "big"), decode_client_hello(record.fragment)
    return None


def _version_of(program: str) -> str:
    asked = subprocess.run(  # noqa: S603 as above
        [program, "--version"], capture_output=True, text=True, check=False, timeout=LAUNCH_S
    )
    lines = asked.stdout.strip().splitlines()
    return lines[0].strip()[:120] if lines else Path(program).name


if __name__ == "__main__":
    sys.exit(main())
