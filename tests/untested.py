"""What a test says that this machine can't run."""

import os
from typing import NoReturn

import pytest

_SAYS = " WAS NOT TESTED"


def not_tested(what: str, why: str, *, may: bool = False) -> NoReturn:
    """
    Skip a test, which the end of the run tells in red (tests/conftest.py); where CI is set, fail, unless it *may* be so there.
    """
    said = f"{what}{_SAYS}: {why}"
    if os.environ.get("CI") and not may:
        pytest.fail(said, pytrace=False)
    pytest.skip(said)


def told_of(error: BaseException) -> tuple[str, str] | None:
    """Return the heading and the reason of what ``not_tested`` said, or None if this is something else."""
    what, said, why = str(error).partition(f"{_SAYS}: ")
    ours = said and isinstance(error, pytest.skip.Exception | pytest.fail.Exception)
    return (f"{what}{_SAYS}", why) if ours else None
