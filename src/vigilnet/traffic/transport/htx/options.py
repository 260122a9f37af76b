"""HTX's settings (the file's `[htx]` table)."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.traffic.transport.htx.ech import decode_configs
from vigilnet.traffic.transport.htx.shaping import PROFILES


@dataclass(frozen=True)
class Options:
    """How links pass for a browser's HTTPS; a client needs none of it."""

    origin: str = ""  # relay: host:port of the web server behind us, which everybody else gets
    host_name: str = ""  # relay: the name that clients ask for; must be in the origin's certificate
    is_own_site: bool = True  # relay: the origin is ours, on this machine or beside it
    certificate: Path | None = None  # relay without an origin: PEM chain of the site that it starts itself
    certificate_key: Path | None = None  # of that certificate, PEM
    acme_directory: str = ""  # relay: URL of an ACME authority that is asked for that certificate instead
    acme_contact: str = ""  # e-mail address for that authority; may stay empty
    acme_accepts_terms: bool = False  # you have read the authority's terms of service, and agree
    acme_roots: Path | None = (
        None  # PEM bundle of roots to believe of the authority itself; "": the usual ones
    )
    site_folder: Path | None = None  # its pages; "": one page of our own
    ech_configs: str = ""  # relay: the origin's ECHConfigList in base64; clients hide host_name with it
    pins_issuer: bool = False  # relay: its record names who issues the origin's certificate; see the spec
    trust_anchors: Path | None = None  # PEM bundle of roots to believe; "": the system's
    templates: tuple[Path, ...] = ()  # files of `vigilnet htx capture`, beside those of the program
    weights: tuple[str, ...] = ()  # NAME=WEIGHT: how often a browser's hello is drawn
    shaping: str = "light"  # of links that a client dials: off, light, replay or constant
    relay_shaping: str = "off"  # of links that a relay dials: the other end is on a public list anyway
    visits: Path | None = None  # relay: file of `vigilnet htx record`: what links to us look like
    constant_octets_s: int = 65_536  # each way, of the constant profile
    shaping_octets_s: int = 5_000_000  # relay: for replay and constant of all clients; beyond, they go slower
    max_spliced: int = 1024  # connections under way to the origin; then no more are accepted
    max_spliced_per_prefix: int = 64  # of one /24 or /48; more wait

    def __post_init__(self) -> None:
        self.weights_by_name()
        self.ech_octets()
        for name in ("shaping", "relay_shaping"):
            if (got := getattr(self, name)) not in PROFILES:
                raise ConfigurationError(f"{name}: got {got!r}, one of {', '.join(PROFILES)} expected")
        if self.acme_directory and not self.acme_directory.startswith("https://"):
            raise ConfigurationError(f"acme_directory: got {self.acme_directory!r}, an https:// URL expected")
        if not 1024 <= self.constant_octets_s <= 125_000_000:
            raise ConfigurationError(
                f"constant_octets_s: got {self.constant_octets_s}, 1024 to 125000000 expected"
            )
        for name in ("max_spliced", "max_spliced_per_prefix", "shaping_octets_s"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name}: got {getattr(self, name)}, at least 1 expected")

    def ech_octets(self) -> bytes:
        """Return `ech_configs` decoded; empty if there are none."""
        try:
            octets = base64.b64decode(self.ech_configs, validate=True)
            if octets and not decode_configs(octets):
                raise ConfigurationError("ech_configs: none of them can be used (X25519 and HKDF-SHA256)")
        except (binascii.Error, RemoteProtocolError) as error:
            raise ConfigurationError(f"ech_configs: not the base64 of an ECHConfigList ({error})") from error
        return octets

    def weights_by_name(self) -> Mapping[str, float]:
        """Return `weights` taken apart."""
        found: dict[str, float] = {}
        for text in self.weights:
            name, _, number = text.partition("=")
            try:
                found[name.strip()] = float(number)
            except ValueError as error:
                raise ConfigurationError(f"weights: got {text!r}, expected NAME=WEIGHT") from error
            if not 0 <= found[name.strip()] < float("inf"):
                raise ConfigurationError(f"weights: got {text!r}, a weight of at least 0 expected")
        return found
