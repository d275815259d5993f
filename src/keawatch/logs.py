"""
Sets up logging: readable lines on a terminal, JSON lines for a machine, always on standard error.

What libraries log through ``logging`` comes out the same way, and only from a warning up. No secret and, unless
KEAWATCH_DEBUG=1 is set, no traceback gets through.
"""

import json as jsonlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

_NOISY = ("asyncio", "httpcore", "httpx", "multipart", "uvicorn", "uvicorn.access", "uvicorn.error")
"""Libraries that tell at level "info" what is no news here; uvicorn also brings handlers of its own."""

_SECRET_KEY = re.compile(
    r"passw|passphrase|secret|authorization|token|credential|api[-_]?key|private[-_]?key|cookie", re.IGNORECASE
)
_HARMLESS_KEY = re.compile(r"[-_](file|path)$", re.IGNORECASE)
"""``password_file`` names a file, and an operator wants to see which."""

_SECRET_IN_TEXT = (
    (re.compile(r"(?<=://)[^/\s\"']+@"), "***@"),
    (re.compile(r"(\"[^\"]*(?:passw|secret|token)[^\"]*\"\s*:\s*)\"(?:\\.|[^\"\\])*\"?", re.IGNORECASE), r'\1"***"'),
    (re.compile(r"(authorization[\"']?\s*[:=]\s*[\"']?)(?:(?:basic|bearer)\s+)?[^\s\"']+", re.IGNORECASE), r"\1***"),
)
"""User and password in a URL, a password in a piece of JSON, the value of an Authorization header."""

_DEPTH = 8
"""How deep a logged value is looked into."""


def configure(*, json: bool | None = None, level: str = "info") -> None:
    """
    Set up all logging of this process; *json* None means JSON unless a person reads along on a terminal.

    KEAWATCH_DEBUG=1 lowers the level to "debug" and shows tracebacks.
    """
    stream = sys.stderr
    debug = os.environ.get("KEAWATCH_DEBUG", "") not in {"", "0"}
    as_json = _is_for_machine(stream, os.environ) if json is None else json
    _configure_structlog()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(as_json=as_json, debug=debug, colours=not as_json and stream.isatty()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if debug else level.upper())
    logging.captureWarnings(capture=True)
    logging.raiseExceptions = debug  # a log that can't be written is no reason to write a traceback into it
    for name in _NOISY:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.DEBUG if debug and name != "asyncio" else logging.WARNING)


def _is_for_machine(stream: TextIO, environment: Mapping[str, str]) -> bool:
    return not stream.isatty() or bool(environment.get("INVOCATION_ID") or environment.get("JOURNAL_STREAM"))


def _configure_structlog() -> None:
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_COMMON,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _formatter(*, as_json: bool, debug: bool, colours: bool) -> structlog.stdlib.ProcessorFormatter:
    exceptions: list[Processor] = [with_traceback] if debug else []
    last: list[Processor] = (
        [in_order, structlog.processors.JSONRenderer(serializer=_dumps)]
        if as_json
        else [on_one_line, structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=0, exception_formatter=_plain)]
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_COMMON,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *exceptions,
            without_traceback,
            redact,
            *last,
        ],
    )


def _dumps(value: Any, **options: Any) -> str:
    # A library may log what JSON has no form for; a log line must come out all the same.
    return jsonlib.dumps(value, **{**options, "default": str, "skipkeys": True})


def _plain(stream: TextIO, exc_info: Any) -> None:
    stream.write("".join(traceback.format_exception(*exc_info)))


def with_traceback(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Put an exception's traceback into the event as text, beside the sentence that ``without_traceback`` makes."""
    error = _exception(event.get("exc_info"))
    if error:
        event["traceback"] = "".join(traceback.format_exception(error))
    return event


def without_traceback(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Put an exception into one sentence: its traceback is for developers."""
    error = _exception(event.pop("exc_info", None))
    event.pop("stack_info", None)
    if error:
        event.setdefault("error", f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
    return event


def _exception(found: Any) -> BaseException | None:
    match found:
        case BaseException():
            return found
        case (_, BaseException() as error, _):
            return error
        case None | False:
            return None
        case _:
            return sys.exc_info()[1]


def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Replace every secret, by the name of its key or by its form."""
    return {key: _redacted(key, value, _DEPTH) for key, value in event.items()}


def _redacted(key: object, value: Any, depth: int) -> Any:
    if isinstance(key, str) and value and _SECRET_KEY.search(key) and not _HARMLESS_KEY.search(key):
        return "***"
    match value:
        case str():
            return redact_text(value)
        case bool() | int() | float() | None:
            return value
        case Mapping() if depth:
            return {str(name): _redacted(name, item, depth - 1) for name, item in value.items()}
        case list() | tuple() | set() | frozenset() if depth:
            return [_redacted(None, item, depth - 1) for item in value]
        case _:
            return redact_text(str(value))


def redact_text(text: str) -> str:
    """Return *text* without what looks like a password in it."""
    for pattern, instead in _SECRET_IN_TEXT:
        text = pattern.sub(instead, text)
    return text


def in_order(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Put first what every line has, so that a person can read JSON as well."""
    first = {key: event[key] for key in ("timestamp", "level", "event") if key in event}
    return {**first, **event}


def on_one_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Keep what others wrote from breaking a line, or a terminal: a reply of Kea's must not look like a line of ours."""
    kept = event.pop("traceback", None)
    event = {key: _visible(value) if isinstance(value, str) else value for key, value in event.items()}
    return {**event, "exception": kept} if kept else event


def _visible(text: str) -> str:
    return text if text.isprintable() else "".join(letter if letter.isprintable() else " " for letter in text)


_COMMON: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]
