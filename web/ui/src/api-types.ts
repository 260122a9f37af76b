// Made by `npm run types` from docs/openapi.json; do not edit.

/** Something that a person may do about a state. */
export interface Button {
  /** what it does: an operation, or a place: connect, whole-device, doctor, ... */
  action: string;
  /** English label; the words of other languages are in states.json */
  label: string;
}

/** What an action did. */
export interface Changed {
  /** false: it was so already */
  changed: boolean;
  /** what is so now, one line in English */
  message: string;
  /** in effect after a restart */
  restart_needed: boolean;
}

/** One of our own circuits; hops in path order, guard first. */
export interface Circuit {
  id: number;
  /** building or open */
  state: string;
  hops: readonly Hop[];
  age_s: number;
  streams: number;
  build_ms: number | null;
  /** whose it is: a login of the proxy or a site */
  isolation: string;
}

/** Which circuit. */
export interface CircuitParams {
  /** its id */
  circuit: number;
}

/** A country with exits, as they declare. */
export interface Country {
  /** two letters; empty: not declared */
  country: string;
  exits: number;
}

/** One line of what is covered. */
export interface Cover {
  /** device, names, ipv6, lockdown or exceptions */
  what: string;
  /** all, proxy, waits, blocked, direct, exit, provider, path, on, off, none or list */
  how: string;
  /** ok; choice: so the person wants it; open: a gap */
  level: string;
  /** in English; of exceptions what was let out */
  text: string;
}

/** Reply to `device`. */
export interface Device {
  is_up: boolean;
  is_locked: boolean;
  has_helper: boolean;
  can_split: boolean;
  helper: string;
  dns: string;
  names_visible: boolean;
  scope: string;
  allow_lan: boolean;
  connections: number;
  taken: number;
  flows: number;
  datagrams: number;
  questions: number;
  own: number;
  outside: number;
  refused: number;
  firewall: readonly string[];
  programs: readonly string[];
  capture: string;
  portal: string;
}

/** What to do with the whole device. */
export interface DeviceParams {
  /** status, up, down, change, lockdown, portal or join */
  action?: string;
  /** of change: settings of the table [device] from now on */
  fields: Record<string, unknown>;
  /** of change: write it to the settings file */
  keep?: boolean;
  /** of lockdown */
  is_on?: boolean | null;
  /** of portal: the sign-in page; left out: look for it */
  url?: string | null;
  /** of portal: for how long */
  seconds?: number | null;
  /** of join: the process */
  pid?: number | null;
  /** of join: outside, inside or exit SE */
  group?: string | null;
}

/** What the doctor found. */
export interface Diagnosis {
  findings: readonly Finding[];
  passed: number;
  problems: number;
  notes: number;
  took_ms: number;
  /** one sentence */
  verdict: string;
  /** what was repaired, in English */
  repaired: readonly string[];
  /** how each known relay is reached, the linked ones first */
  peers: readonly PeerDiagnosis[];
}

export interface Error {
  error: Record<string, unknown>;
}

/** An exit that the node knows. */
export interface Exit {
  peer_id: string;
  name: string;
  country: string;
  /** accepted ports, like 80,443,1024-65535 */
  ports: string;
  bandwidth_kbps: number | null;
  /** the last hop of one of our paths */
  in_use: boolean;
}

/** Where the person chose to leave; both empty: anywhere. */
export interface ExitChoice {
  country: string;
  peer_id: string;
}

/** Where to leave; both empty: anywhere. */
export interface ExitParams {
  /** two letters */
  country?: string;
  /** this exit and no other */
  peer_id?: string;
  /** also after a restart */
  keep?: boolean;
}

/** Where one can leave, after the filters that were asked for. */
export interface Exits {
  exits: readonly Exit[];
  countries: readonly Country[];
  choice: ExitChoice;
}

/** One thing that the doctor looked at. */
export interface Finding {
  /** like clock.wrong */
  id: string;
  /** fail, note or pass */
  level: string;
  /** device, network, relays, paths, settings */
  group: string;
  /** in English */
  title: string;
  meaning: string;
  /** the next step, a command where there is one */
  next: string;
  /** what --repair would do; empty: nothing safe */
  repair: string;
  /** what was measured */
  evidence: readonly string[];
}

/** One hop of a circuit. */
export interface Hop {
  peer_id: string;
  /** its AEAD */
  suite: string;
}

/** How many hops new paths have. */
export interface HopsParams {
  /** 1 to 10; 1 is fast and not anonymous */
  hops: number;
  /** also after a restart */
  keep?: boolean;
}

/** One relay's invite. */
export interface Invite {
  uri: string;
  peer_id: string;
  /** Unix seconds */
  until: number;
  is_new: boolean;
}

/** A path in use, and whether to stay on it. */
export interface KeepParams {
  circuit: number;
  is_kept?: boolean;
}

/** One option. */
export interface KeyParams {
  /** like circuits.hops */
  key: string;
}

/** The last lines of the log. */
export interface Log {
  lines: readonly LogLine[];
  /** of the running log */
  level: string;
  /** older lines that are gone */
  dropped: number;
}

/** One line of the log; targets, addresses and names are left out unless log.show_sensitive is on. */
export interface LogLine {
  /** counts up; ask for what came after it */
  number: number;
  /** Unix seconds */
  at: number;
  /** error, warning, info or debug */
  level: string;
  /** the module */
  source: string;
  /** message and fields */
  text: string;
}

/** What this node is for others. */
export interface ModeParams {
  /** client, relay, bootstrap, exit or super */
  mode: string;
  /** the person has read the warning of the exit mode and agrees */
  accept_exit?: boolean;
  /** host:port as others reach this node; empty: as set */
  advertise?: string;
  /** an exit's e-mail address for complaints; empty: as set */
  abuse_contact?: string;
  /** also after a restart, unless the command line says otherwise */
  keep?: boolean;
}

/** How many circuits take no new streams any more. */
export interface NewIdentity {
  retired: number;
}

/** One option and its new value. */
export interface OptionParams {
  /** like circuits.hops */
  key: string;
  /** as one writes it with --set; lists with commas */
  value: string;
  /** write it to the settings file */
  keep?: boolean;
}

/** One path in use or ready, with who sees what. */
export interface Path {
  /** the circuit's */
  id: number;
  /** whose it is: an app's login, a site; empty: whoever asks next */
  label: string;
  /** built ahead, nobody uses it yet */
  is_ready: boolean;
  /** takes nothing new, ends with its last connection */
  is_retired: boolean;
  /** the person wants to stay on it */
  is_kept: boolean;
  age_s: number;
  streams: number;
  /** round trip through the whole path */
  ms: number | null;
  hops: readonly PathHop[];
  who_sees: readonly WhoSees[];
  /** why this path, in English */
  why: readonly string[];
}

/** One station of a path. */
export interface PathHop {
  /** entry, middle or exit */
  role: string;
  peer_id: string;
  /** short form of the id */
  name: string;
  /** two letters, as declared; empty: not declared */
  country: string;
  /** round trip of the link to it; only the entry's is measured */
  ms: number | null;
  /** how the entry is reached: TCP, HTX, ...; empty behind it */
  transport: string;
  /** the entry's host:port */
  address: string;
  /** for the entry: how long it has been ours, if known */
  kept_s: number | null;
  /** in English */
  sees: string;
  sees_not: string;
}

/** A relay that the node knows. */
export interface Peer {
  peer_id: string;
  /** kinds of sources that named it */
  found_by: readonly string[];
  /** of relay, guard, exit, directory */
  roles: readonly string[];
  /** we dialled it with success once */
  is_reached: boolean;
  is_linked: boolean;
  /** Unix seconds: then its record is over */
  until: number;
  /** short form of the id */
  name: string;
  country: string;
  /** direct, relayed, failed or none */
  link: string;
  /** why it is so, one sentence in English */
  why: string;
  /** the sentence's id, for other languages */
  why_id: string;
  /** one of our kept entries */
  is_entry: boolean;
  /** of the link: TCP, HTX, ... */
  transport: string;
  /** TRANSPORT host:port, as its record says */
  addresses: readonly string[];
  /** round trip of the link */
  ms: number | null;
  in_octets: number;
  out_octets: number;
  /** age of the link */
  linked_s: number | null;
  /** as declared, kbit/s */
  bandwidth_kbps: number | null;
  /** of an exit, like 80,443 */
  ports: string;
  software: string;
  /** of our last circuits over it */
  judged_circuits: number;
  /** how many of them died of a changed record; by whom, nobody knows */
  bad_tags: number;
  /** of the octets out, those sent for the link's shape */
  padding_octets: number;
  /** the longest that something waited for the link's shape */
  held_ms: number;
  /** profile of the link's shape: light, replay or constant; none if empty */
  shape: string;
  /** short ids of neighbours that ask it to dial */
  introducers: readonly string[];
}

/** How one relay is reached, and why so. */
export interface PeerDiagnosis {
  peer_id: string;
  /** short form of the id */
  name: string;
  /** direct, relayed, failed or none */
  link: string;
  /** one sentence in English */
  why: string;
  /** kinds of sources that named it */
  found_by: readonly string[];
  /** what would help, in English; empty: nothing is needed */
  help: string;
}

/** One of the twelve states, in words. */
export interface Protection {
  /** connected, names-visible, one-hop, apps-only, mesh, calibrating, portal, connecting, reconnecting, blocked, offline (no-daemon is said by whoever gets no answer) */
  id: string;
  /** offline, calibrating, connecting or connected */
  api: string;
  /** ok, busy, warn, hold or bad */
  tone: string;
  /** name of a Lucide icon */
  icon: string;
  title: string;
  /** all parts as one text */
  sentence: string;
  parts: readonly SentencePart[];
  /** the main one first */
  buttons: readonly Button[];
  /** ids of the reservations, the gravest first */
  reasons: readonly string[];
  hops: number;
  /** two letters of the exit's declared country; empty: not declared */
  country: string;
  /** host:port of the proxy for apps */
  proxy: string;
  /** while connecting: the hop that is being asked */
  hop: number;
  /** while reconnecting: entry, middle, exit or empty */
  broken: string;
  /** in the mesh: devices in reach */
  nearby: number;
  /** while calibrating: sources that have not answered */
  waiting: number;
  /** while calibrating: sources that were asked */
  sources: number;
  /** how long this state lasts */
  since_s: number;
  /** why the last try failed, in plain words; empty: nothing failed */
  reason: string;
  steps: readonly Step[];
}

/** One sentence of a state; `id` finds it in states.json, `values` of the protection fill it. */
export interface SentencePart {
  /** like connected.hops */
  id: string;
  /** in English, filled in */
  text: string;
}

/** One option of the node. */
export interface Setting {
  /** like circuits.hops */
  key: string;
  /** bool, int, float, text, octets, path, choice or list */
  kind: string;
  /** as one writes it with --set */
  value: string;
  default: string;
  meaning: string;
  /** what its table is about */
  table: string;
  /** of a choice */
  choices: readonly string[];
  /** may be empty */
  optional: boolean;
  /** default, a file and line, environment NAME, command line */
  origin: string;
  /** VIGILNET_TABLE_KEY */
  variable: string;
  /** takes effect at once; else after a restart */
  is_live: boolean;
  /** set by the environment or the command line: a change has no effect */
  is_locked: boolean;
  /** not at its default */
  is_changed: boolean;
  /** changed since the start, not yet in effect */
  restart_needed: boolean;
}

/** Every option, in the order of the file. */
export interface Settings {
  settings: readonly Setting[];
  /** where changes are kept */
  file: string;
}

/** How the node is. */
export interface Status {
  /** of the program */
  version: string;
  pid: number;
  /** starting, connecting, connected, serving, stopping, off */
  state: string;
  uptime_s: number;
  /** name of a private network; empty: the public one */
  network: string;
  /** of client, relay, exit */
  roles: readonly string[];
  /** of a relay; a client has none */
  peer_id: string;
  /** host:port of the SOCKS5 proxy; empty: off */
  socks: string;
  /** host:port of the HTTP proxy; empty: off */
  http_proxy: string;
  /** host:port where neighbours reach us */
  listen: readonly string[];
  /** relays known */
  peers: number;
  /** neighbours connected */
  links: number;
  /** open circuits of our own */
  circuits: number;
  /** circuits of others through us */
  relayed_circuits: number;
  /** streams of our own */
  streams: number;
  /** from the start to the first open circuit */
  first_circuit_ms: number | null;
  /** neighbours' clocks minus ours; null: too few said */
  clock_offset_s: number | null;
  /** discover, mesh or full: how far the node goes */
  phase: string;
  /** of a relay over HTX: `up`, or what is wrong with its web server */
  origin: string;
  /** relays left alone for an hour: somebody stands before their origin */
  intercepted: number;
  /** client, relay, bootstrap, exit, super or off */
  mode: string;
  /** asked of new paths */
  hops: number;
  exit: ExitChoice;
  /** null on a node without a client's side */
  protection: Protection | null;
  coverage: readonly Cover[];
  traffic: Traffic;
  /** found by the last doctor; null: not asked yet */
  problems: number | null;
  /** address of the dashboard; empty: off */
  dashboard: string;
  /** options that were changed and wait for a restart */
  restart_needed: readonly string[];
}

/** One step of what is under way. */
export interface Step {
  /** start, relays, entry, hop, path */
  id: string;
  /** in English */
  text: string;
  is_done: boolean;
  /** when it was done, from the beginning of the busy state */
  after_ms: number | null;
}

/** The node ends. */
export interface Stopping {
  stopping: boolean;
}

/** One of our own streams. */
export interface Stream {
  id: number;
  circuit: number;
  /** host:port */
  target: string;
  /** opening or open */
  state: string;
  age_s: number;
  /** octets from the application */
  sent: number;
  received: number;
}

/** How much crosses this node's links. */
export interface Traffic {
  /** bits in the last second */
  in_bps: number;
  out_bps: number;
  /** octets since the start */
  in_octets: number;
  out_octets: number;
}

/** The last minute, oldest first, one sample a second. */
export interface TrafficHistory {
  samples: readonly TrafficSample[];
  total: Traffic;
}

/** One second of the last minute. */
export interface TrafficSample {
  /** Unix seconds */
  at: number;
  in_bps: number;
  out_bps: number;
}

/** An invite. */
export interface UriParams {
  /** vigilnet:... */
  uri: string;
}

/** Of the program and of this protocol. */
export interface Version {
  version: string;
  control: number;
}

/** The text of a welcome list. */
export interface WelcomeList {
  text: string;
  relays: number;
  is_signed: boolean;
}

/** One row of "Who can see what"; each of `address`, `sites`, `content` is full, half or none. */
export interface WhoSees {
  /** network, entry, middle, exit or site */
  who: string;
  name: string;
  country: string;
  /** your address */
  address: string;
  /** which sites you visit */
  sites: string;
  /** what is said; half: only where the site does not encrypt */
  content: string;
  /** in English */
  words: string;
  /** knows both you and the sites */
  is_both: boolean;
}

/** What can be read, and its answer. */
export interface Reads {
  "version": Version;
  "status": Status;
  "circuits": readonly Circuit[];
  "streams": readonly Stream[];
  "paths": readonly Path[];
  "peers": readonly Peer[];
  "find-peer": readonly Peer[];
  "reachability": readonly Finding[];
  "exits": Exits;
  "settings": Settings;
  "traffic": TrafficHistory;
  "logs": Log;
  "doctor": Diagnosis;
  "invite": Invite;
  "welcome-list": WelcomeList;
}

/** What can be changed: parameters and answer. */
export interface Changes {
  "new-identity": { params: Record<string, never>; answer: NewIdentity };
  "new-path": { params: CircuitParams; answer: Changed };
  "keep-path": { params: KeepParams; answer: Changed };
  "close-circuit": { params: CircuitParams; answer: Changed };
  "set-hops": { params: HopsParams; answer: Changed };
  "set-exit": { params: ExitParams; answer: Changed };
  "set-mode": { params: ModeParams; answer: Changed };
  "set-option": { params: OptionParams; answer: Changed };
  "reset-option": { params: KeyParams; answer: Changed };
  "connect": { params: Record<string, never>; answer: Changed };
  "disconnect": { params: Record<string, never>; answer: Changed };
  "device": { params: DeviceParams; answer: Device };
  "restart": { params: Record<string, never>; answer: Changed };
  "add-invite": { params: UriParams; answer: Invite };
  "stop": { params: Record<string, never>; answer: Stopping };
}
