"""The link room's settings (the file's `[link]` table)."""

from dataclasses import dataclass, field

from vigilnet.base.errors import ConfigurationError
from vigilnet.traffic.link.framing import KeyLimits

TRANSPORTS = ("htx", "pluggable", "shadowsocks", "quic", "tcp")


@dataclass(frozen=True)
class Options:
    """How links behave; the defaults are right for a public node."""

    allow_classical: bool = False  # accept suites without ML-KEM: LANs and tests
    dial_classical: bool = False  # ask for them too
    allow_private_addresses: bool = False  # dial loopback and private ranges: LANs and tests
    handshake_timeout_s: float = 10.0
    ping_after_s: float = 30.0  # of silence
    probe_after_s: float = 3.0  # of silence after we sent something
    ping_timeout_s: float = 4.0  # a neighbour that hangs is found in 15 s, as TCP finds one that is gone
    pings_missed: int = 3  # then the link is dead
    probe_timeout_s: float = 3.0  # one missed probe is enough after a jump of the clock
    tick_s: float = 2.0  # how often the clock is looked at for jumps
    max_age_s: float = 86_400.0  # then a link is replaced by a new one
    drain_s: float = 3_600.0  # how long a replaced link may still carry its circuits
    retry_first_s: float = 0.5
    retry_max_s: float = 60.0
    # What we dial with, in this order of preference; a relay's other addresses are left alone. "quic" is off.
    transports: tuple[str, ...] = ("htx", "pluggable", "shadowsocks", "tcp")
    stagger_s: float = 0.25  # between dials of one record's addresses
    max_unfinished: int = 256  # handshakes
    cookie_above_unfinished: int = 64
    cookie_above_rate: int = 200  # new handshakes a second
    max_client_links_per_prefix: int = 64  # /24 or /48
    batch_octets: int = 128 * 1024  # sealed and written at once; nothing overtakes it then
    batch_frames: int = 64
    key_limits: KeyLimits = field(default_factory=KeyLimits)  # can only be lowered

    def __post_init__(self) -> None:
        for name in self.transports:
            if name not in TRANSPORTS:
                raise ConfigurationError(
                    f"transports: got {name!r}, expected some of {', '.join(TRANSPORTS)}"
                )
        highest, given = KeyLimits(), self.key_limits
        for name in ("frames", "octets", "seconds"):
            if not 2 <= getattr(given, name) <= getattr(highest, name):
                raise ConfigurationError(
                    f"key_limits.{name}: got {getattr(given, name)}, 2 to {getattr(highest, name)} expected"
                )
        for name in (
            "batch_octets",
            "batch_frames",
            "max_unfinished",
            "pings_missed",
            "tick_s",
            "ping_after_s",
        ):
            if getattr(self, name) <= 0:
                raise ConfigurationError(f"{name}: got {getattr(self, name)}, more than 0 expected")
