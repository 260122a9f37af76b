"""What a transport in Python that is installed beside us must be (docs/plugins.md).

A package declares an entry point of the group `vigilnet.transports`; its name is the transport's, its object
takes a `PluginContext` and returns a `Plugin`. It runs inside the node with all its rights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from vigilnet.traffic.transport.carrier import Transport

ENTRY_POINTS: Final = "vigilnet.transports"


@dataclass(frozen=True)
class PluginContext:
    """What a plug-in gets when it is made."""

    state: Path  # a folder of its own; may not exist yet
    random_bytes: Callable[[int], bytes]
    options: Mapping[str, str] = field(default_factory=dict)  # of pluggable.plugin_options


class Plugin(Transport, Protocol):
    """A `Transport` whose carriers are of kind PLUGGABLE; made inside the running event loop."""

    def address_params(self) -> Mapping[int, object]:
        """Return what `dial` needs beside host and port, for the relay's record.

        Keys from 1 on (0 is the transport's name); numbers, texts, octets and lists of them, at most
        200 octets in all. `dial` gets them back with key 0 added.
        """
        ...


PluginFactory = Callable[[PluginContext], Plugin]
