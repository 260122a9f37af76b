"""What the control API shows: one frozen dataclass for each answer (docs/spec/control.md).

The words beside a field are its documentation: the OpenAPI document and the spec page are made from them.
A field marked `PRIVATE` tells what a person does or where (targets, logins, addresses); a read-only
caller gets it empty. Within one version fields are added, never renamed or dropped; every field but the
first few has a default, so that a reader of today understands a node of yesterday.
"""

from dataclasses import dataclass
from typing import Annotated, Final

PRIVATE: Final = "private"
"""Mark of a field that a read-only caller does not get."""

Text = Annotated[str, "text"]


@dataclass(frozen=True, slots=True)
class Button:
    """Something that a person may do about a state."""

    action: Annotated[str, "what it does: an operation, or a place: connect, whole-device, doctor, ..."]
    label: Annotated[str, "English label; the words of other languages are in states.json"]


@dataclass(frozen=True, slots=True)
class SentencePart:
    """One sentence of a state; `id` finds it in states.json, `values` of the protection fill it."""

    id: Annotated[str, "like connected.hops"]
    text: Annotated[str, "in English, filled in"]


@dataclass(frozen=True, slots=True)
class Step:
    """One step of what is under way."""

    id: Annotated[str, "start, relays, entry, hop, path"]
    text: Annotated[str, "in English"]
    is_done: bool = False
    after_ms: Annotated[float | None, "when it was done, from the beginning of the busy state"] = None


@dataclass(frozen=True, slots=True)
class Protection:
    """One of the twelve states, in words."""

    id: Annotated[
        str,
        "connected, names-visible, one-hop, apps-only, mesh, calibrating, portal, connecting, reconnecting, "
        "blocked, offline (no-daemon is said by whoever gets no answer)",
    ]
    api: Annotated[str, "offline, calibrating, connecting or connected"]
    tone: Annotated[str, "ok, busy, warn, hold or bad"]
    icon: Annotated[str, "name of a Lucide icon"]
    title: str = ""
    sentence: Annotated[str, "all parts as one text"] = ""
    parts: tuple[SentencePart, ...] = ()
    buttons: Annotated[tuple[Button, ...], "the main one first"] = ()
    reasons: Annotated[tuple[str, ...], "ids of the reservations, the gravest first"] = ()
    hops: int = 0
    country: Annotated[str, "two letters of the exit's declared country; empty: not declared"] = ""
    proxy: Annotated[str, "host:port of the proxy for apps"] = ""
    hop: Annotated[int, "while connecting: the hop that is being asked"] = 0
    broken: Annotated[str, "while reconnecting: entry, middle, exit or empty"] = ""
    nearby: Annotated[int, "in the mesh: devices in reach"] = 0
    waiting: Annotated[int, "while calibrating: sources that have not answered"] = 0
    sources: Annotated[int, "while calibrating: sources that were asked"] = 0
    since_s: Annotated[float, "how long this state lasts"] = 0.0
    reason: Annotated[str, "why the last try failed, in plain words; empty: nothing failed"] = ""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Cover:
    """One line of what is covered."""

    what: Annotated[str, "device, names, ipv6, lockdown or exceptions"]
    how: Annotated[str, "all, proxy, waits, blocked, direct, exit, provider, path, on, off, none or list"]
    level: Annotated[str, "ok; choice: so the person wants it; open: a gap"]
    text: Annotated[str, "in English; of exceptions what was let out"] = ""


@dataclass(frozen=True, slots=True)
class Traffic:
    """How much crosses this node's links."""

    in_bps: Annotated[float, "bits in the last second"] = 0.0
    out_bps: float = 0.0
    in_octets: Annotated[int, "octets since the start"] = 0
    out_octets: int = 0


@dataclass(frozen=True, slots=True)
class TrafficSample:
    """One second of the last minute."""

    at: Annotated[float, "Unix seconds"]
    in_bps: float = 0.0
    out_bps: float = 0.0


@dataclass(frozen=True, slots=True)
class ExitChoice:
    """Where the person chose to leave; both empty: anywhere."""

    country: str = ""
    peer_id: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """How the node is."""

    version: Annotated[str, "of the program"]
    pid: int
    state: Annotated[str, "starting, connecting, connected, serving, stopping, off"]
    uptime_s: float
    network: Annotated[str, "name of a private network; empty: the public one"] = ""
    roles: Annotated[tuple[str, ...], "of client, relay, exit"] = ()
    peer_id: Annotated[str, "of a relay; a client has none"] = ""
    socks: Annotated[str, "host:port of the SOCKS5 proxy; empty: off"] = ""
    http_proxy: Annotated[str, "host:port of the HTTP proxy; empty: off"] = ""
    listen: Annotated[tuple[str, ...], "host:port where neighbours reach us"] = ()
    peers: Annotated[int, "relays known"] = 0
    links: Annotated[int, "neighbours connected"] = 0
    circuits: Annotated[int, "open circuits of our own"] = 0
    relayed_circuits: Annotated[int, "circuits of others through us"] = 0
    streams: Annotated[int, "streams of our own"] = 0
    first_circuit_ms: Annotated[float | None, "from the start to the first open circuit"] = None
    clock_offset_s: Annotated[float | None, "neighbours' clocks minus ours; null: too few said"] = None
    phase: Annotated[str, "discover, mesh or full: how far the node goes"] = ""
    origin: Annotated[str, "of a relay over HTX: `up`, or what is wrong with its web server"] = ""
    intercepted: Annotated[int, "relays left alone for an hour: somebody stands before their origin"] = 0
    mode: Annotated[str, "client, relay, bootstrap, exit, super or off"] = ""
    hops: Annotated[int, "asked of new paths"] = 0
    exit: ExitChoice = ExitChoice()
    protection: Annotated[Protection | None, "null on a node without a client's side"] = None
    coverage: tuple[Cover, ...] = ()
    traffic: Traffic = Traffic()
    problems: Annotated[int | None, "found by the last doctor; null: not asked yet"] = None
    dashboard: Annotated[str, "address of the dashboard; empty: off"] = ""
    restart_needed: Annotated[tuple[str, ...], "options that were changed and wait for a restart"] = ()


@dataclass(frozen=True, slots=True)
class Hop:
    """One hop of a circuit."""

    peer_id: str
    suite: Annotated[str, "its AEAD"] = ""


@dataclass(frozen=True, slots=True)
class Circuit:
    """One of our own circuits; hops in path order, guard first."""

    id: int
    state: Annotated[str, "building or open"]
    hops: tuple[Hop, ...] = ()
    age_s: float = 0.0
    streams: int = 0
    build_ms: float | None = None
    isolation: Annotated[str, PRIVATE, "whose it is: a login of the proxy or a site"] = ""


@dataclass(frozen=True, slots=True)
class Stream:
    """One of our own streams."""

    id: int
    circuit: int
    target: Annotated[str, PRIVATE, "host:port"]
    state: Annotated[str, "opening or open"]
    age_s: float = 0.0
    sent: Annotated[int, "octets from the application"] = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class PathHop:
    """One station of a path."""

    role: Annotated[str, "entry, middle or exit"]
    peer_id: str
    name: Annotated[str, "short form of the id"] = ""
    country: Annotated[str, "two letters, as declared; empty: not declared"] = ""
    ms: Annotated[float | None, "round trip of the link to it; only the entry's is measured"] = None
    transport: Annotated[str, "how the entry is reached: TCP, HTX, ...; empty behind it"] = ""
    address: Annotated[str, PRIVATE, "the entry's host:port"] = ""
    kept_s: Annotated[float | None, "for the entry: how long it has been ours, if known"] = None
    sees: Annotated[str, "in English"] = ""
    sees_not: str = ""


@dataclass(frozen=True, slots=True)
class WhoSees:
    """One row of "Who can see what"; each of `address`, `sites`, `content` is full, half or none."""

    who: Annotated[str, "network, entry, middle, exit or site"]
    name: str = ""
    country: str = ""
    address: Annotated[str, "your address"] = "none"
    sites: Annotated[str, "which sites you visit"] = "none"
    content: Annotated[str, "what is said; half: only where the site does not encrypt"] = "none"
    words: Annotated[str, "in English"] = ""
    is_both: Annotated[bool, "knows both you and the sites"] = False


@dataclass(frozen=True, slots=True)
class Path:
    """One path in use or ready, with who sees what."""

    id: Annotated[int, "the circuit's"]
    label: Annotated[str, PRIVATE, "whose it is: an app's login, a site; empty: whoever asks next"] = ""
    is_ready: Annotated[bool, "built ahead, nobody uses it yet"] = False
    is_retired: Annotated[bool, "takes nothing new, ends with its last connection"] = False
    is_kept: Annotated[bool, "the person wants to stay on it"] = False
    age_s: float = 0.0
    streams: int = 0
    ms: Annotated[float | None, "round trip through the whole path"] = None
    hops: tuple[PathHop, ...] = ()
    who_sees: tuple[WhoSees, ...] = ()
    why: Annotated[tuple[str, ...], "why this path, in English"] = ()


@dataclass(frozen=True, slots=True)
class Peer:
    """A relay that the node knows."""

    peer_id: str
    found_by: Annotated[tuple[str, ...], "kinds of sources that named it"] = ()
    roles: Annotated[tuple[str, ...], "of relay, guard, exit, directory"] = ()
    is_reached: Annotated[bool, "we dialled it with success once"] = False
    is_linked: bool = False
    until: Annotated[int, "Unix seconds: then its record is over"] = 0
    name: Annotated[str, "short form of the id"] = ""
    country: str = ""
    link: Annotated[str, "direct, relayed, failed or none"] = "none"
    why: Annotated[str, "why it is so, one sentence in English"] = ""
    why_id: Annotated[str, "the sentence's id, for other languages"] = ""
    is_entry: Annotated[bool, "one of our kept entries"] = False
    transport: Annotated[str, "of the link: TCP, HTX, ..."] = ""
    addresses: Annotated[tuple[str, ...], PRIVATE, "TRANSPORT host:port, as its record says"] = ()
    ms: Annotated[float | None, "round trip of the link"] = None
    in_octets: int = 0
    out_octets: int = 0
    linked_s: Annotated[float | None, "age of the link"] = None
    bandwidth_kbps: Annotated[int | None, "as declared, kbit/s"] = None
    ports: Annotated[str, "of an exit, like 80,443"] = ""
    software: str = ""
    judged_circuits: Annotated[int, "of our last circuits over it"] = 0
    bad_tags: Annotated[int, "how many of them died of a changed record; by whom, nobody knows"] = 0
    padding_octets: Annotated[int, "of the octets out, those sent for the link's shape"] = 0
    held_ms: Annotated[float, "the longest that something waited for the link's shape"] = 0.0
    shape: Annotated[str, "profile of the link's shape: light, replay or constant; none if empty"] = ""
    introducers: Annotated[tuple[str, ...], "short ids of neighbours that ask it to dial"] = ()


@dataclass(frozen=True, slots=True)
class Exit:
    """An exit that the node knows."""

    peer_id: str
    name: str = ""
    country: str = ""
    ports: Annotated[str, "accepted ports, like 80,443,1024-65535"] = ""
    bandwidth_kbps: int | None = None
    in_use: Annotated[bool, "the last hop of one of our paths"] = False


@dataclass(frozen=True, slots=True)
class Country:
    """A country with exits, as they declare."""

    country: Annotated[str, "two letters; empty: not declared"]
    exits: int = 0


@dataclass(frozen=True, slots=True)
class Exits:
    """Where one can leave, after the filters that were asked for."""

    exits: tuple[Exit, ...] = ()
    countries: tuple[Country, ...] = ()
    choice: ExitChoice = ExitChoice()


@dataclass(frozen=True, slots=True)
class Setting:
    """One option of the node."""

    key: Annotated[str, "like circuits.hops"]
    kind: Annotated[str, "bool, int, float, text, octets, path, choice or list"]
    value: Annotated[str, PRIVATE, "as one writes it with --set"]
    default: str = ""
    meaning: str = ""
    table: Annotated[str, "what its table is about"] = ""
    choices: Annotated[tuple[str, ...], "of a choice"] = ()
    optional: Annotated[bool, "may be empty"] = False
    origin: Annotated[str, "default, a file and line, environment NAME, command line"] = "default"
    variable: Annotated[str, "VIGILNET_TABLE_KEY"] = ""
    is_live: Annotated[bool, "takes effect at once; else after a restart"] = False
    is_locked: Annotated[bool, "set by the environment or the command line: a change has no effect"] = False
    is_changed: Annotated[bool, "not at its default"] = False
    restart_needed: Annotated[bool, "changed since the start, not yet in effect"] = False


@dataclass(frozen=True, slots=True)
class Settings:
    """Every option, in the order of the file."""

    settings: tuple[Setting, ...] = ()
    file: Annotated[str, PRIVATE, "where changes are kept"] = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the doctor looked at."""

    id: Annotated[str, "like clock.wrong"]
    level: Annotated[str, "fail, note or pass"]
    group: Annotated[str, "device, network, relays, paths, settings"]
    title: Annotated[str, "in English"]
    meaning: str = ""
    next: Annotated[str, "the next step, a command where there is one"] = ""
    repair: Annotated[str, "what --repair would do; empty: nothing safe"] = ""
    evidence: Annotated[tuple[str, ...], PRIVATE, "what was measured"] = ()


@dataclass(frozen=True, slots=True)
class PeerDiagnosis:
    """How one relay is reached, and why so."""

    peer_id: str
    name: Annotated[str, "short form of the id"] = ""
    link: Annotated[str, "direct, relayed, failed or none"] = "none"
    why: Annotated[str, "one sentence in English"] = ""
    found_by: Annotated[tuple[str, ...], "kinds of sources that named it"] = ()
    help: Annotated[str, "what would help, in English; empty: nothing is needed"] = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the doctor found."""

    findings: tuple[Finding, ...] = ()
    passed: int = 0
    problems: int = 0
    notes: int = 0
    took_ms: float = 0.0
    verdict: Annotated[str, "one sentence"] = ""
    repaired: Annotated[tuple[str, ...], "what was repaired, in English"] = ()
    peers: Annotated[tuple[PeerDiagnosis, ...], "how each known relay is reached, the linked ones first"] = ()


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the log; targets, addresses and names are left out unless log.show_sensitive is on."""

    number: Annotated[int, "counts up; ask for what came after it"]
    at: Annotated[float, "Unix seconds"]
    level: Annotated[str, "error, warning, info or debug"]
    source: Annotated[str, "the module"] = ""
    text: Annotated[str, PRIVATE, "message and fields"] = ""


@dataclass(frozen=True, slots=True)
class Log:
    """The last lines of the log."""

    lines: tuple[LogLine, ...] = ()
    level: Annotated[str, "of the running log"] = ""
    dropped: Annotated[int, "older lines that are gone"] = 0


@dataclass(frozen=True, slots=True)
class TrafficHistory:
    """The last minute, oldest first, one sample a second."""

    samples: tuple[TrafficSample, ...] = ()
    total: Traffic = Traffic()


@dataclass(frozen=True, slots=True)
class NewIdentity:
    """How many circuits take no new streams any more."""

    retired: int


@dataclass(frozen=True, slots=True)
class Changed:
    """What an action did."""

    changed: Annotated[bool, "false: it was so already"]
    message: Annotated[str, "what is so now, one line in English"] = ""
    restart_needed: Annotated[bool, "in effect after a restart"] = False


@dataclass(frozen=True, slots=True)
class Invite:
    """One relay's invite."""

    uri: str
    peer_id: str
    until: Annotated[int, "Unix seconds"]
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class WelcomeList:
    """The text of a welcome list."""

    text: str
    relays: int
    is_signed: bool


@dataclass(frozen=True, slots=True)
class Version:
    """Of the program and of this protocol."""

    version: str
    control: int = 1


@dataclass(frozen=True, slots=True)
class Session:
    """A token for the loopback HTTP API, and where the dashboard is opened with it."""

    token: Annotated[str, "send it as Authorization: Bearer TOKEN"]
    role: Annotated[str, "full or read-only"]
    until: Annotated[int, "Unix seconds"]
    url: Annotated[str, "of the dashboard, the token behind the #"] = ""


@dataclass(frozen=True, slots=True)
class Stopping:
    """The node ends."""

    stopping: bool = True


@dataclass(frozen=True, slots=True)
class Watching:
    """Events follow on this session."""

    watching: tuple[str, ...] = ()
