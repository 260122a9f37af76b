"""What a relay's settings say of it is in the record that others take, and they keep to it."""

from pathlib import Path

import pytest

from tests.support.helper_nodes import CONSENT, PAGE, HelperNode, exit_settings, web_server
from vigilnet.crypto.aead import Suite
from vigilnet.peer.descriptor import decode_record
from vigilnet.peer.issuing import family_id
from vigilnet.routing.discovery.invite import parse_invite
from vigilnet.surface.control.client import ControlClient

pytestmark = pytest.mark.slow


def test_cipher_country_and_family_of_a_relay_are_what_its_owner_set(tmp_path: Path) -> None:
    suite = Suite.CHACHA20_POLY1305  # all others of these tests are reached by the default
    with web_server() as target:
        settings = exit_settings(target) | {
            "relay.suite": suite.name.lower(), "relay.family": "example.org", "relay.country": "SE",
        }  # fmt: skip
        with HelperNode(tmp_path / "exit", "exit", ("--accept-exit-notice",), settings, CONSENT) as relay:
            with ControlClient(relay.folder) as control:
                invite = control.invite().uri
            record = decode_record(parse_invite(invite), "operators")
            assert (record.preferred_suite, record.country) == (suite, "SE")
            assert record.family == (family_id("example.org", "operators"),)
            words = ("--invite", invite)
            with HelperNode(tmp_path / "client", "client", words, {"circuits.hops": "1"}) as client:
                client.wait_state("connected")
                assert client.fetch(target) == PAGE
