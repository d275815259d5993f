"""Says what each exit status means, and turns errors into one sentence and a status: no traceback reaches an operator."""

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from typing import NoReturn

from keawatch.errors import BackupError, BusyError, ConfigError, JournalError, KeaError, KeawatchError, LintError


class Exit(IntEnum):
    """What a command tells its caller."""

    WELL = 0
    PROBLEM = 1
    """A problem is there."""
    USAGE = 2
    """Wrong usage or configuration."""
    BLIND = 3
    """It can't see."""
    REFUSED = 4
    """A law or a guard forbids it."""
    FAILED = 5
    """It was tried, and failed."""


class RefusedError(KeawatchError):
    """A law or a guard forbids what was asked for."""


class UsageError(KeawatchError):
    """What was asked for can't be meant."""


_STATUS: tuple[tuple[type[KeawatchError], Exit], ...] = (
    (ConfigError, Exit.USAGE),
    (UsageError, Exit.USAGE),
    (RefusedError, Exit.REFUSED),
    (BusyError, Exit.REFUSED),
    (BackupError, Exit.USAGE),
    (LintError, Exit.USAGE),
    (JournalError, Exit.FAILED),
    (KeaError, Exit.BLIND),
    (KeawatchError, Exit.FAILED),
)


def status_of(error: KeawatchError) -> Exit:
    """Return the exit status that belongs to an error."""
    return next(status for kind, status in _STATUS if isinstance(error, kind))


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def open_streams() -> None:
    """Put what swallows all, or has nothing, where the caller has closed a standard stream: a file opened later would be taken for it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 - until the program ends


def guarded(run: Callable[[], object]) -> NoReturn:
    """Run the program, and end it with a status and at most a sentence."""
    try:
        _run_and_flush(run)
    except KeawatchError as error:
        _end(str(error), status_of(error))
    except KeyboardInterrupt:
        _end("interrupted", Exit.FAILED)
    except BrokenPipeError:
        _write_no_more()
        sys.exit(Exit.WELL)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM and error.filename is None:
            _write_no_more()
            _end(f"standard output can't be written ({error.strerror}); see where it leads to", Exit.FAILED)
        if os.environ.get("KEAWATCH_DEBUG"):
            raise
        _end(
            f"an error inside keawatch: {type(error).__name__}: {error}; run it again with KEAWATCH_DEBUG=1 and report that",
            Exit.FAILED,
        )
    sys.exit(Exit.WELL)


def _run_and_flush(run: Callable[[], object]) -> None:
    try:
        run()
    finally:
        # What can't be written is better found here than when Python ends, which makes a status of its own of it.
        sys.stdout.flush()


def _write_no_more() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(sentence: str, status: Exit) -> NoReturn:
    with suppress(OSError):  # The same full disk may be behind it, and the status is said all the same.
        sys.stderr.write(f"keawatch: {sentence}\n")
    sys.exit(status)
