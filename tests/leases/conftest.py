"""Fixtures for everything that works on leases."""

from __future__ import annotations

from typing import Any

import pytest

from tests.daemon.fakes import TimelessLoop


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": TimelessLoop}
