"""What the control API shows: the node's snapshots joined with words, states and the last minute."""

import dataclasses
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from vigilnet.node.modes import Mode
from vigilnet.node.option_list import option_list, values_of
from vigilnet.node.options import Loaded, Options
from vigilnet.node.status import ClientFacts, NodeState, NodeStatus, PeerStatus
from vigilnet.routing.discovery.reachability import ReachFinding
from vigilnet.surface.control import models
from vigilnet.surface.control.host import SteeredHost, is_live
from vigilnet.surface.control.schema import ControlError, ErrorCode
from vigilnet.surface.control.states import Facts, country_name, coverage_of, protection_of, state_of
from vigilnet.surface.control.who_sees import path_of

HISTORY_S: Final = 60
SAMPLE_S: Final = 1.0
_OTHER_PEER_WHY: Final = {
    "dialled-us": "It opened the link to this relay.",
    "dialled-back": "Behind a router: it was told by a neighbour, and opened the link to this relay.",
    "punched": "Behind a router, as this relay is: both dialled at once.",
    "behind-router": "Behind a router: its neighbours tell it when somebody wants a link.",
    "on-path-entry": "Reached through your path now; it has been your entry, so it knows your address.",
    "on-path": "Reached through your path, so it never learns your address.",
    "not-needed": "Known, not connected: a client connects to its entry only.",
}


_SHARED: Final = tuple(
    field.name
    for field in dataclasses.fields(NodeStatus)
    if field.name in {other.name for other in dataclasses.fields(models.Status)}
)  # what a node's status and ours have in common


class Showing:
    """Builds what is shown; keeps the last minute of traffic and when the present state began."""

    def __init__(self, host: SteeredHost) -> None:
        self._host = host
        self._samples: deque[models.TrafficSample] = deque(maxlen=HISTORY_S)
        self._carried = (0, 0)
        self._sampled_at = 0.0
        self._state = ""
        self._state_since = host.clock.now()
        self._busy_since = host.clock.now()
        self._compared: tuple[Options, Options, tuple[str, ...]] | None = None  # and what differs
        self._settings: tuple[Loaded, Options, models.Settings] | None = None
        self._done_at: dict[str, float] = {}  # step to when it was done, of the present busy time

    # --- each second -----------------------------------------------------------------------------

    def sample(self) -> models.TrafficSample:
        """Take the sample of this second; called about once a second."""
        now = self._host.clock.now()
        carried = self._host.node.carried()
        passed = max(0.001, now - self._sampled_at) if self._sampled_at else SAMPLE_S
        received, sent = (max(0, new - old) for new, old in zip(carried, self._carried, strict=True))
        if not self._sampled_at:
            received = sent = 0
        self._carried, self._sampled_at = carried, now
        sample = models.TrafficSample(
            round(self._host.clock.wall(), 1), round(received * 8 / passed), round(sent * 8 / passed)
        )
        self._samples.append(sample)
        self.facts()
        return sample

    # --- status ----------------------------------------------------------------------------------

    def facts(self, status: NodeStatus | None = None) -> Facts:
        """Return what the state follows from, and note when it changes."""
        device, client = self._host.device(), self._host.node.client_facts()
        status = status or self._host.node.status()
        is_on = self._host.is_on and client is not None
        client = client or ClientFacts(self._host.options.circuits.hops)
        facts = Facts(
            is_on=is_on,
            hops=client.hops,
            has_path=client.has_path,
            had_path=client.had_path,
            enough_relays=client.enough_relays,
            relays=client.relays,
            hop=min(client.hop, client.hops),
            country=client.country,
            proxy=status.socks or status.http_proxy,
            whole_device=device.whole_device,
            names=device.names,
            lockdown=device.lockdown,
            is_held=device.is_held,
            exceptions=device.exceptions,
            portal=device.portal,
            broken=client.broken,
            reason=client.reason,
        )
        return dataclasses.replace(facts, since_s=self._note(facts), steps=self._steps(facts))

    def _note(self, facts: Facts) -> float:
        """Remember when states and steps came; returns for how long this state has lasted."""
        now, state = self._host.clock.now(), state_of(facts)
        is_busy = facts.is_on and not facts.has_path
        if state != self._state:
            was_busy = self._state in ("calibrating", "connecting", "reconnecting", "portal")
            self._state, self._state_since = state, now
            if is_busy and not was_busy:
                self._busy_since, self._done_at = now, {}
        done = {
            "relays": facts.enough_relays,
            "entry": facts.enough_relays and facts.hop > 1,
            "path": facts.has_path,
        }
        for step, is_done in done.items():
            if facts.is_on and (is_done or facts.has_path):
                self._done_at.setdefault(step, now)
        return now - self._state_since

    def _steps(self, facts: Facts) -> tuple[models.Step, ...]:
        if not facts.is_on or facts.has_path:
            return ()
        texts = {
            "relays": f"Relays known: {facts.relays}",
            "entry": "Reach the entry",
            "path": f"Build a path of {facts.hops} hops, hop {facts.hop} now",
        }
        return tuple(
            models.Step(step, text, step in self._done_at, self._after(step)) for step, text in texts.items()
        )

    def _after(self, step: str) -> float | None:
        at = self._done_at.get(step)
        return None if at is None else round((at - self._busy_since) * 1000)

    def status(self) -> models.Status:
        """Return how the node is, in words too."""
        host, node = self._host, self._host.node.status()
        facts = self.facts(node)
        is_client = facts.is_on or not host.options.relay.enabled
        choice = host.options.circuits
        received, sent = host.node.carried()
        last = self._samples[-1] if self._samples else models.TrafficSample(0.0)
        state = NodeState.OFF if not host.is_on and node.state is NodeState.SERVING else node.state
        known: dict[str, Any] = {name: getattr(node, name) for name in _SHARED}
        known["state"] = state.value if not host.options.relay.enabled else node.state.value
        return models.Status(
            **known,
            mode=self._mode(),
            hops=choice.hops,
            exit=models.ExitChoice(choice.exit_country, choice.exit_peer),
            protection=protection_of(facts) if is_client else None,
            coverage=coverage_of(facts) if is_client else (),
            traffic=models.Traffic(last.in_bps, last.out_bps, received, sent),
            problems=host.diagnosis.problems if host.diagnosis is not None else None,
            dashboard=host.dashboard,
            restart_needed=self._waiting_options(),
        )

    def _mode(self) -> str:
        mode = self._host.options.node.mode or Mode.CLIENT
        return mode.value if self._host.is_on or mode is not Mode.CLIENT else "off"

    def history(self) -> models.TrafficHistory:
        """Return the last minute."""
        received, sent = self._host.node.carried()
        last = self._samples[-1] if self._samples else models.TrafficSample(0.0)
        total = models.Traffic(last.in_bps, last.out_bps, received, sent)
        return models.TrafficHistory(tuple(self._samples), total)

    # --- paths and peers -------------------------------------------------------------------------

    def paths(self) -> tuple[models.Path, ...]:
        """Return our paths, with who sees what."""
        names = self._host.device()
        return tuple(
            path_of(path, whole_device=names.whole_device, names=names.names)
            for path in self._host.node.paths()
        )

    def streams(self) -> tuple[models.Stream, ...]:
        """Return our streams."""
        return tuple(models.Stream(**_fields(stream)) for stream in self._host.node.streams())

    def peers(self) -> tuple[models.Peer, ...]:
        """Return the relays that are known, and why each is reached as it is."""
        return tuple(_peer(peer) for peer in self._host.node.peers())

    def exits(self, country: str, port: int) -> models.Exits:
        """Return where one can leave.

        Raises:
            ControlError: exits are known, and none of them is as asked.
        """
        found = self._host.node.exits(country, port)
        everywhere = self._host.node.exits()
        if everywhere and not found:
            raise self._no_exit(country, port)
        counts: dict[str, int] = {}
        for one in found:
            counts[one.country] = counts.get(one.country, 0) + 1
        choice = self._host.options.circuits
        return models.Exits(
            tuple(models.Exit(**_fields(one)) for one in found),
            tuple(models.Country(name, counts[name]) for name in sorted(counts)),
            models.ExitChoice(choice.exit_country, choice.exit_peer),
        )

    def check_exit(self, country: str, peer_id: str) -> None:
        """Refuse a choice that no known exit fulfils."""
        node = self._host.node
        if peer_id and not any(one.peer_id == peer_id for one in node.exits()):
            raise ControlError(ErrorCode.NO_EXIT, "this exit is not known", "", "vigilnet exits")
        if country and not node.exits(country):
            raise self._no_exit(country, 0)

    def _no_exit(self, country: str, port: int) -> ControlError:
        name = country_name(country)
        where = f" in {name}" if country else ""
        what = f" allows port {port}" if port else " is known"
        here = self._host.node.exits(country)
        elsewhere = self._host.node.exits("", port)
        if here:
            known = "1 exit" if len(here) == 1 else f"{len(here)} exits"
            why = f"known{where}: {known}, for {'; '.join(sorted({one.ports for one in here}))}"
        else:
            why = f"no known exit declares {name}" if country else "no exit is known"
        step = f"vigilnet exits --port {port}" if port and elsewhere else "vigilnet exits"
        return ControlError(ErrorCode.NO_EXIT, f"no exit{where}{what}", why, step)

    # --- settings --------------------------------------------------------------------------------

    def settings(self) -> models.Settings:
        """Return every option; made anew only when one was changed."""
        loaded, running = self._host.loaded, self._host.options
        if self._settings is None or self._settings[0] is not loaded or self._settings[1] is not running:
            self._settings = (loaded, running, self._settings_of_now())
        return self._settings[2]

    def _settings_of_now(self) -> models.Settings:
        loaded = self._host.loaded
        now, started = values_of(loaded.options), values_of(self._host.options)
        shown = tuple(
            models.Setting(
                key=info.key,
                kind=info.kind,
                value=now[info.key],
                default=info.default,
                meaning=info.meaning,
                table=info.table,
                choices=info.choices,
                optional=info.optional,
                origin=loaded.origins.get(info.key, "default"),
                variable=info.variable,
                is_live=is_live(info.key),
                is_locked=is_locked(loaded.origins.get(info.key, "default")),
                is_changed=now[info.key] != info.default and info.key in loaded.origins,
                restart_needed=now[info.key] != started[info.key],
            )
            for info in option_list()
        )
        return models.Settings(shown, str(self._host.settings_file))

    def setting(self, key: str) -> models.Setting:
        """Return one option.

        Raises:
            ControlError: there is none of this name.
        """
        for setting in self.settings().settings:
            if setting.key == key:
                return setting
        raise ControlError(
            ErrorCode.UNKNOWN_OPTION,
            f"option {key!r}: there is none of this name",
            "",
            "vigilnet config list",
        )

    def _waiting_options(self) -> tuple[str, ...]:
        """Return the options that wait for a restart; looked at anew only when something was changed."""
        loaded, running = self._host.loaded.options, self._host.options
        if self._compared is None or self._compared[0] is not loaded or self._compared[1] is not running:
            now, started = values_of(loaded), values_of(running)
            waiting = tuple(key for key, value in now.items() if value != started[key])
            self._compared = (loaded, running, waiting)
        return self._compared[2]


def _fields(snapshot: object) -> dict[str, Any]:
    """Return a snapshot's fields; not `asdict`, which copies each value anew."""
    return {name: getattr(snapshot, name) for name in snapshot.__dataclass_fields__}  # type: ignore[attr-defined]  # a dataclass


def is_locked(origin: str) -> bool:
    """Whether a change of the settings file would have no effect."""
    return origin.startswith(("environment", "command line"))


def _peer(peer: PeerStatus) -> models.Peer:
    fields = _fields(peer)
    retry_s = fields.pop("retry_s")
    if peer.why_id == "dialled":
        port = peer.addresses and peer.transport
        why = f"Answers over {port}." if port else "Answers."
    elif peer.why_id == "no-answer":
        why = f"It did not answer. Next try in {max(1, round(retry_s))} s."
    else:
        why = _OTHER_PEER_WHY[peer.why_id]
    return models.Peer(**fields, why=why)


def reach_findings(found: Sequence[ReachFinding]) -> tuple[models.Finding, ...]:
    """Return what the node says of its connection as the doctor says it."""
    return tuple(
        models.Finding(one.id, one.level, "network", one.title, one.meaning, one.next) for one in found
    )
