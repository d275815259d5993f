"""Healing by a person's order, without a daemon, keeps an eye on the pair as the daemon does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from keawatch.cli import acting
from keawatch.config import Config, PairConfig
from keawatch.core.model import HaState
from tests.builders import POLICY
from tests.daemon.kea_like import FAST, FakeLeases, seconds
from tests.daemon.test_loop import Stage

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> Any:
    return FAST


async def test_work_on_leases_stops_when_the_primary_serves_nobody_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, POLICY, leases=FakeLeases(takes=300.0))
    await stage.loop.start()
    for _ in range(8):
        await stage.loop.look()
        await asyncio.sleep(2.0)

    @asynccontextmanager
    async def actor(*_: object) -> AsyncIterator[SimpleNamespace]:
        yield SimpleNamespace(loop=stage.loop)

    def lost() -> None:
        a = stage.pair.a
        a.enter(HaState.TERMINATED)
        a.scopes, a.off = (), {1001}
        stage.pair.advance = lambda: None  # type: ignore[method-assign]

    monkeypatch.setattr(acting, "actor", actor)
    stage.leases.when_asked = lambda: cast("None", asyncio.get_running_loop().call_later(10.0, lost))
    began = seconds()
    outcome = await acting.heal_here(cast("Config", None), cast("PairConfig", None), None, lambda _: None, None)
    assert outcome["result"] == "failed"
    assert "was stopped" in outcome["reason"]
    assert seconds() - began < 60.0
    await stage.loop.stop()
