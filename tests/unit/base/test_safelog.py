"""Logs keep to themselves whom we talk to."""

import io
import logging
from collections.abc import Iterator

import pytest

from vigilnet.base import safelog
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.base.safelog import RepeatFilter, SafeFormatter, get_logger, sensitive, set_up


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    level, ours = root.level, logging.getLogger("vigilnet").level
    out = io.StringIO()
    set_up("debug", stream=out, show_time=False)
    yield out
    root.handlers = [handler for handler in root.handlers if not isinstance(handler.formatter, SafeFormatter)]
    root.setLevel(level)
    logging.getLogger("vigilnet").setLevel(ours)


log = get_logger("vigilnet.test")


def test_sensitive_values_are_hidden_everywhere(stream: io.StringIO) -> None:
    log.info("stream opened", target=sensitive("example.org"), circuit=7)
    assert stream.getvalue() == "info vigilnet.test: stream opened target=[hidden] circuit=7\n"
    assert f"{sensitive('x')} {sensitive('x')!r} {[sensitive('x')]}" == "[hidden] [hidden] [[hidden]]"


def test_the_user_may_ask_to_see_them() -> None:
    out = io.StringIO()
    before = list(logging.getLogger().handlers)
    set_up("warning", stream=out, show_sensitive=True)
    log.warning("stream opened", target=sensitive("example.org"), error=OSError(111, "refused", "10.0.0.1"))
    logging.getLogger("asyncio").error("late %s", "callback")
    logging.getLogger().handlers = before
    assert "target=example.org" in out.getvalue()
    assert "10.0.0.1" in out.getvalue()
    assert "asyncio: 'late callback'" in out.getvalue()


def test_octets_show_as_their_length_only(stream: io.StringIO) -> None:
    log.debug("key", a=b"secret", b=bytearray(3), c=memoryview(b"12"))
    assert stream.getvalue() == "debug vigilnet.test: key a=<6 octets> b=<3 octets> c=<2 octets>\n"


def test_errors_of_others_show_class_and_errno_only(stream: io.StringIO) -> None:
    log.warning("dial failed", error=ConnectionRefusedError(111, "Connect call failed ('10.9.8.7', 80)"))
    log.warning("dial failed", error=OSError("no errno: 10.9.8.7"))
    log.warning("dial failed", error=ValueError("10.9.8.7"))
    log.warning("peer failed", error=RemoteProtocolError("frame length: 9, at most 8"))
    lines = stream.getvalue().splitlines()
    assert [line.partition("error=")[2] for line in lines] == [
        "'ConnectionRefusedError ECONNREFUSED'",
        "OSError",
        "ValueError",
        "'frame length: 9, at most 8'",
    ]


def test_unexpected_errors_show_their_places_without_values(stream: io.StringIO) -> None:
    with pytest.raises(ValueError, match="literal") as caught:
        int("10.9.8.7")
    log.failure("task failed", caught.value, task="x")
    first, *places = stream.getvalue().splitlines()
    assert first == "error vigilnet.test: task failed task=x error=ValueError"
    assert "test_safelog.py" in places[0]
    assert "10.9.8.7" not in stream.getvalue()


def test_lines_of_other_libraries_are_withheld(stream: io.StringIO) -> None:
    logging.getLogger("asyncio").error("Task exception: %s", "10.9.8.7")
    logging.getLogger("asyncio").info("chatter")
    assert stream.getvalue() == "error asyncio: a line of another library (withheld)\n"


def test_a_value_cannot_forge_a_line(stream: io.StringIO) -> None:
    log.info("hello", name="x\nerror vigilnet: all keys lost\x1b[31m", empty="", long="y" * 5000)
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()
    assert len(stream.getvalue()) < 500


def test_level_below_the_threshold_is_silent() -> None:
    out = io.StringIO()
    before = list(logging.getLogger().handlers)
    set_up("error", stream=out)
    log.warning("quiet")
    log.error("loud")
    logging.getLogger().handlers = before
    assert "quiet" not in out.getvalue()
    assert out.getvalue().endswith("error vigilnet.test: loud\n")


def test_one_text_is_written_a_bounded_number_of_times(stream: io.StringIO) -> None:
    for number in range(1000):
        log.warning("cookie flood", number=number)
    assert stream.getvalue().count("\n") == safelog.REPEATS


def record_at(created: float, text: str = "flood") -> logging.LogRecord:
    record = logging.makeLogRecord({"name": "vigilnet.x", "msg": text, safelog._FIELDS: {}})
    record.created = created
    return record


def test_after_a_minute_the_dropped_ones_are_counted() -> None:
    repeats = RepeatFilter()
    written = [repeats.filter(record_at(1000.0 + index)) for index in range(30)]
    assert written == [True] * 20 + [False] * 10
    late = record_at(1061.0)
    assert repeats.filter(late)
    assert SafeFormatter(show_time=False).format(late).endswith("flood dropped=10")
    assert repeats.filter(record_at(10.0)), "a clock that went back does not silence"


def test_the_table_of_texts_is_bounded() -> None:
    repeats = RepeatFilter()
    for index in range(safelog.MAX_TEXTS + 100):
        assert repeats.filter(record_at(1.0, f"text {index}"))
    assert len(repeats._seen) == safelog.MAX_TEXTS


def test_set_up_twice_writes_once(stream: io.StringIO) -> None:
    second = io.StringIO()
    set_up("info", stream=second)
    log.info("hello")
    assert stream.getvalue() == ""
    assert second.getvalue().count("hello") == 1
