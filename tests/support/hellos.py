"""Captured hellos of real programs, and helpers to compare with them."""

from pathlib import Path

from vigilnet.traffic.transport.htx.client_hello import ClientHello, decode_client_hello
from vigilnet.traffic.transport.htx.templates import Template
from vigilnet.traffic.transport.htx.templates_io import bundled_templates
from vigilnet.traffic.transport.htx.wire import RecordReader

FOLDER = Path(__file__).parents[1] / "vectors" / "htx-hellos"
NAMES = ("chromium", "curl", "edge", "firefox", "safari")


def template_of(name: str) -> Template:
    """Return the bundled template of this name."""
    return next(template for template in bundled_templates() if template.name == name)


def read_hello(record: bytes) -> tuple[int, ClientHello]:
    """Return the record version and the hello in one captured record."""
    (found,) = RecordReader().feed(record)
    return int.from_bytes(found.header[1:3], "big"), decode_client_hello(found.fragment)


def captured(name: str) -> list[tuple[int, ClientHello]]:
    """Return the stored captures of one program."""
    return [read_hello(path.read_bytes()) for path in sorted(FOLDER.glob(f"{name}.*.bin"))]
