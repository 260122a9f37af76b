"""A whole network in one process: an unlisted relay, its invited client, and what the others learn."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.needs import needs_programs
from tests.support.origins import HOST, make_certificates, nginx
from vigilnet.base.clock import SystemClock
from vigilnet.base.errors import ConfigurationError, RemoteProtocolError
from vigilnet.node import unlisted_renewal
from vigilnet.node.assembly import Node
from vigilnet.node.options import NodeOptions, Options, RelayOptions
from vigilnet.peer.identity import parse_peer_id
from vigilnet.routing.circuits.pool import Options as CircuitsOptions
from vigilnet.traffic.exit.options import Options as ExitOptions
from vigilnet.traffic.ingress.options import Options as IngressOptions
from vigilnet.traffic.link.options import Options as LinkOptions
from vigilnet.traffic.transport.htx.options import Options as HtxOptions

NO_INGRESS = IngressOptions(socks_enabled=False, http_enabled=False)


class LateClock(SystemClock):
    """A wall clock that a test puts forward."""

    def __init__(self) -> None:
        self.late_s = 0.0

    def wall(self) -> float:
        return super().wall() + self.late_s


def options_of(folder: Path, name: str, **rooms: object) -> Options:
    node = NodeOptions(state_folder=folder / name, network="lab", work_bits=0, peers_folder=folder / "peers")
    link = LinkOptions(allow_private_addresses=True)
    return replace(Options(node=node, link=link, ingress=NO_INGRESS), **rooms)  # type: ignore[arg-type]


async def wait_until(condition: Callable[[], object], what: str) -> None:
    try:
        async with asyncio.timeout(60):
            while not condition():  # noqa: ASYNC110 rooms of many kinds have to get there
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(what) from None


@asynccontextmanager
async def running(options: Options, clock: SystemClock | None = None) -> AsyncIterator[Node]:
    node = Node(options, clock, os.urandom)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


def plain_relay(folder: Path, name: str, **rooms: object) -> Options:
    relay = RelayOptions(enabled=True, listen=("127.0.0.1:0",))
    return options_of(folder, name, relay=relay, **rooms)


def exit_options() -> ExitOptions:
    return ExitOptions(
        enabled=True,
        policy="open",
        allow_private_targets=True,
        accept_notice=True,
        abuse_contact="a@example.test",
    )


@pytest.mark.slow
@needs_programs("nginx")
def test_an_unlisted_relay_serves_who_is_invited_and_nobody_else_hears_of_it(
    tmp_path: Path,
) -> None:
    make_certificates(tmp_path)

    async def scenario(origin: int) -> None:
        htx = HtxOptions(origin=f"127.0.0.1:{origin}", host_name=HOST, trust_anchors=tmp_path / "root.pem")
        hidden = RelayOptions(enabled=True, listen=(), listen_htx=("127.0.0.1:0",), is_unlisted=True)
        clock = LateClock()
        async with AsyncExitStack() as nodes:
            listed = [
                await nodes.enter_async_context(running(plain_relay(tmp_path, "relay"), clock)),
                await nodes.enter_async_context(
                    running(plain_relay(tmp_path, "exit", exit=exit_options()), clock)
                ),
            ]
            bridge = await nodes.enter_async_context(
                running(options_of(tmp_path, "bridge", relay=hidden, htx=htx), clock)
            )
            invite = bridge.invite("")
            client_options = options_of(
                tmp_path, "client", ingress=IngressOptions(socks_port=0, http_enabled=False),
                htx=HtxOptions(trust_anchors=tmp_path / "root.pem"), circuits=CircuitsOptions(hops=3),
            )  # fmt: skip
            client = await nodes.enter_async_context(
                running(
                    replace(client_options, node=replace(client_options.node, invites=(invite.uri,))), clock
                )
            )
            await wait_until(lambda: client.status().circuits, "a circuit of three hops")
            for circuit in client.circuits():
                assert circuit.hops[0].peer_id == invite.peer_id
            others = {hop.peer_id for circuit in client.circuits() for hop in circuit.hops[1:]}
            assert invite.peer_id not in others
            # Nobody was told: not by gossip, not by the links that the bridge opened, not by the folder.
            for node in listed:
                assert node._known is not None
                assert node._known.get(parse_peer_id(invite.peer_id)) is None
            assert len(list((tmp_path / "peers").iterdir())) == 2
            assert client.discovery is not None
            assert client.discovery.invites.welcome_list().relays == 2
            with pytest.raises(Exception, match="only itself"):
                client.invite(invite.peer_id)
            with pytest.raises(RemoteProtocolError, match="passes records on"):
                listed[0].add_invite(invite.uri)
            assert bridge.invite("new").uri != bridge.invite("").uri == invite.uri
            # Hours later the relay has a new record; who is invited gets it from the relay itself.
            assert client._known is not None
            assert bridge._own is not None
            before = client._known.get(parse_peer_id(invite.peer_id))
            assert before is not None
            clock.late_s = unlisted_renewal.AGE_S + 60
            bridge._own.refresh()
            assert client._circuits is not None
            assert client.discovery.invites._held is not None
            renewal = unlisted_renewal.UnlistedRenewal(
                client._circuits, client._known, client.discovery.invites._held.identities, clock
            )
            await renewal.look()
            after = client._known.get(parse_peer_id(invite.peer_id))
            assert after is not None
            assert after.sequence > before.sequence

    with nginx(tmp_path) as port:
        asyncio.run(scenario(port))


def test_an_unlisted_relay_listens_over_htx_alone(tmp_path: Path) -> None:
    async def scenario(relay: RelayOptions) -> None:
        with pytest.raises(ConfigurationError, match="is_unlisted"):
            async with running(options_of(tmp_path, "bridge", relay=relay)):
                pass

    asyncio.run(scenario(RelayOptions(enabled=True, listen=("127.0.0.1:0",), is_unlisted=True)))
    asyncio.run(scenario(RelayOptions(enabled=True, listen=(), is_unlisted=True)))
