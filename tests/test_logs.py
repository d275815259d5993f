"""Logs go to standard error, tell an operator one sentence a line, and keep secrets."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from keawatch.logs import configure, redact_text


class Stream(io.StringIO):
    """A standard error that is a terminal or is none."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal

    @property
    def lines(self) -> list[str]:
        return self.getvalue().splitlines()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave logging as it was."""
    for name in ("KEAWATCH_DEBUG", "INVOCATION_ID", "JOURNAL_STREAM"):
        monkeypatch.delenv(name, raising=False)
    root = logging.getLogger()
    handlers, level, raises = root.handlers[:], root.level, logging.raiseExceptions
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:], logging.raiseExceptions = handlers, raises
    root.setLevel(level)


Set = Callable[..., Stream]


@pytest.fixture
def set_up(monkeypatch: pytest.MonkeyPatch) -> Set:
    def done(*, terminal: bool = False, **options: Any) -> Stream:
        stream = Stream(terminal=terminal)
        monkeypatch.setattr("sys.stderr", stream)
        configure(**options)
        return stream

    return done


def log() -> Any:
    return structlog.get_logger("keawatch")


class TestForm:
    def test_is_for_people_on_a_terminal(self, set_up: Set) -> None:
        stream = set_up(terminal=True)
        log().info("started", pair="lan")

        assert "started" in stream.getvalue()
        assert not stream.getvalue().startswith("{")

    @pytest.mark.parametrize("variable", ["INVOCATION_ID", "JOURNAL_STREAM"])
    def test_is_json_under_a_service_manager(self, set_up: Set, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
        monkeypatch.setenv(variable, "8:1")
        stream = set_up(terminal=True)
        log().info("started", pair="lan")

        assert stream.records[0]["event"] == "started"

    def test_is_json_into_a_file(self, set_up: Set) -> None:
        stream = set_up()
        log().warning("withheld", pair="lan", guards=("cooldown",))

        (record,) = stream.records
        assert list(record)[:3] == ["timestamp", "level", "event"]
        assert record["timestamp"].endswith("Z")
        assert (record["level"], record["pair"], record["guards"]) == ("warning", "lan", ["cooldown"])

    @pytest.mark.parametrize("forced", [True, False])
    def test_can_be_forced(self, set_up: Set, forced: bool) -> None:
        stream = set_up(terminal=forced, json=forced)
        log().info("started")

        assert stream.lines[0].startswith("{") is forced

    def test_leaves_standard_output_alone(self, set_up: Set, capsys: pytest.CaptureFixture[str]) -> None:
        set_up()
        log().error("oh")
        logging.getLogger("uvicorn.error").error("oh")

        assert capsys.readouterr().out == ""

    def test_shows_nothing_below_its_level(self, set_up: Set) -> None:
        stream = set_up(level="warning")
        log().info("quiet")
        log().warning("loud")

        assert [record["event"] for record in stream.records] == ["loud"]

    def test_writes_down_whatever_it_is_given(self, set_up: Set) -> None:
        stream = set_up()
        log().info("odd", value=object, text="\udcff", keys={1: {2}}, deep=[[[[[[[[[[1]]]]]]]]]])

        assert stream.records[0]["keys"] == {"1": [2]}

    @pytest.mark.parametrize("terminal", [True, False])
    def test_is_one_line_a_record_whatever_kea_says(self, set_up: Set, terminal: bool) -> None:
        stream = set_up(terminal=terminal)
        log().info("refused\n2026-01-01 forged", reply="one\ntwo\x1b[2J\r")

        assert len(stream.lines) == 1
        assert "\x1b[2J" not in stream.getvalue()


class TestLibraries:
    def test_are_heard_in_the_same_form(self, set_up: Set) -> None:
        stream = set_up()
        logging.getLogger("uvicorn.error").error("address %s in use", "127.0.0.1:9745")

        (record,) = stream.records
        assert (record["event"], record["logger"]) == ("address 127.0.0.1:9745 in use", "uvicorn.error")

    @pytest.mark.parametrize("name", ["httpx", "httpcore.http11", "uvicorn.access", "asyncio"])
    def test_are_not_heard_about_their_daily_work(self, set_up: Set, name: str) -> None:
        stream = set_up()
        logging.getLogger(name).info("HTTP Request")

        assert stream.lines == []

    def test_lose_the_handlers_they_brought(self, set_up: Set) -> None:
        other = io.StringIO()
        logging.getLogger("uvicorn").addHandler(logging.StreamHandler(other))
        stream = set_up()
        logging.getLogger("uvicorn").warning("twice?")

        assert (len(stream.lines), other.getvalue()) == (1, "")

    def test_warnings_come_as_records(self, set_up: Set) -> None:
        stream = set_up()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(capture=True)
            warnings.warn("soon gone", DeprecationWarning, stacklevel=1)
            logging.captureWarnings(capture=False)

        assert "soon gone" in stream.records[0]["event"]

    def test_set_up_twice_speak_once(self, set_up: Set) -> None:
        set_up()
        stream = set_up()
        log().info("once")
        logging.getLogger("other").warning("once")

        assert len(stream.lines) == 2


class TestAnException:
    def fail(self) -> None:
        try:
            raise ValueError("the reply is empty")  # noqa: TRY301 - to have one with a traceback
        except ValueError:
            log().exception("an error inside keawatch")
            logging.getLogger("asyncio").exception("Task exception was never retrieved")

    @pytest.mark.parametrize("terminal", [True, False])
    def test_is_one_sentence(self, set_up: Set, terminal: bool) -> None:
        stream = set_up(terminal=terminal)
        self.fail()

        assert len(stream.lines) == 2
        assert all("ValueError: the reply is empty" in line for line in stream.lines)
        assert "Traceback" not in stream.getvalue()

    @pytest.mark.parametrize("terminal", [True, False])
    def test_shows_its_traceback_to_a_developer(
        self, set_up: Set, monkeypatch: pytest.MonkeyPatch, terminal: bool
    ) -> None:
        monkeypatch.setenv("KEAWATCH_DEBUG", "1")
        stream = set_up(terminal=terminal)
        self.fail()

        assert stream.getvalue().count("Traceback") == 2

    def test_of_writing_the_log_itself_is_kept_quiet(self, set_up: Set, monkeypatch: pytest.MonkeyPatch) -> None:
        stream = set_up()

        def full(_: str) -> int:
            raise OSError("no space left on device")

        monkeypatch.setattr(stream, "write", full)
        log().info("lost")

        assert logging.raiseExceptions is False


class TestASecret:
    @pytest.mark.parametrize("terminal", [True, False])
    @pytest.mark.parametrize(
        "fields",
        [
            {"password": "hunter2"},
            {"basic-auth-password": "hunter2"},
            {"headers": {"Authorization": "hunter2"}},
            {"peers": [{"name": "b", "basic-auth-password": "hunter2"}]},
            {"api_token": "hunter2"},
            {"url": "http://me:hunter2@10.77.0.3:8000/"},
            {"url": "http://me:p@hunter2@10.77.0.3:8000/"},
            {"reply": '{"basic-auth-password": "hunter2"}'},
            {"reply": '{"secret": "with \\" quote hunter2'},
            {"header": "Authorization: Basic hunter2"},
            {"error": ValueError("http://me:hunter2@10.77.0.3/ is wrong")},
        ],
    )
    def test_is_not_written(self, set_up: Set, fields: dict[str, Any], terminal: bool) -> None:
        stream = set_up(terminal=terminal)
        log().info("asked", **fields)

        assert "hunter2" not in stream.getvalue()
        assert "***" in stream.getvalue()

    def test_is_not_written_by_a_library_or_in_an_exception(self, set_up: Set, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEAWATCH_DEBUG", "1")
        stream = set_up()
        logging.getLogger("httpx").warning("HTTP Request: POST %s", "https://me:hunter2@10.77.0.3/")
        try:
            raise ValueError("https://me:hunter2@10.77.0.3/")  # noqa: TRY301
        except ValueError:
            log().exception("failed")

        assert "hunter2" not in stream.getvalue()

    def test_is_told_from_the_name_of_its_file(self, set_up: Set) -> None:
        stream = set_up()
        log().info("read", password_file="/etc/keawatch/b.password")

        assert stream.records[0]["password_file"] == "/etc/keawatch/b.password"

    @pytest.mark.parametrize(
        "text", ["mail me@example.org", "see http://10.77.0.2:8000/@x", "basic authentication fails"]
    )
    def test_is_not_seen_everywhere(self, text: str) -> None:
        assert redact_text(text) == text
