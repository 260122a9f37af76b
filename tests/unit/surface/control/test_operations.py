import re
from pathlib import Path

from tests.support.fake_node import FakeHost, FakeNode
from vigilnet.surface.control.operations import OPERATIONS, TOPICS
from vigilnet.surface.control.steering import Steering

SPEC = Path(__file__).parents[4] / "docs" / "spec" / "control.md"


def test_each_operation_is_served_and_nothing_else(tmp_path: Path) -> None:
    steering = Steering(FakeHost(FakeNode(), tmp_path / "x.toml"), "0")
    assert set(steering._handlers) == set(OPERATIONS)


def test_the_spec_page_names_each_operation_and_topic() -> None:
    text = SPEC.read_text()
    named = set(re.findall(r"^\| `([a-z-]+)`", text, re.MULTILINE))
    assert set(OPERATIONS) <= named
    assert set(TOPICS) <= set(re.findall(r"`([a-z]+)`", text))


def test_whatever_changes_or_reveals_needs_the_full_role() -> None:
    readable = {name for name, operation in OPERATIONS.items() if not operation.needs_full}
    assert readable == {
        "version", "status", "circuits", "streams", "paths", "peers", "exits", "settings", "traffic", "logs",
        "doctor", "watch", "find-peer", "reachability",
    }  # fmt: skip
