"""The API shows what is so, obeys who holds the token, and lets no foreign page in."""

import asyncio
import re
import signal
import socket
import stat
from base64 import b64encode
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from keawatch.core.codes import Diagnosis
from keawatch.core.decision import Decision, Guard, Withheld
from keawatch.core.model import HaState, History
from keawatch.core.policy import Policy
from keawatch.daemon.api import ApiState, make_app, open_listener, serve_on
from keawatch.daemon.leasekeeper import LeaseKeeper
from keawatch.daemon.leasework import LeaseWork
from keawatch.daemon.loop import PairView
from keawatch.daemon.metrics import Metrics
from keawatch.daemon.token import TOKEN_FILE, ensure_token
from keawatch.errors import JournalError, KeawatchError
from tests.builders import PLAN, SICK, Stage, healthy, silent, snapshot, stage

pytestmark = pytest.mark.anyio

TOKEN = "t" * 43
BEARER = {"Authorization": f"Bearer {TOKEN}"}
TERMINATED = snapshot(HaState.TERMINATED, HaState.TERMINATED)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class Api:
    """The application over one pair, and a client of it."""

    http: httpx.AsyncClient
    stage: Stage
    metrics: Metrics

    async def order(self, what: str, body: Any = None, **headers: str) -> httpx.Response:
        return await self.http.post(f"/api/v1/pairs/lan/{what}", json=body, headers={**BEARER, **headers})


def sick(history: History, policy: Policy, *, by_operator: bool = False) -> Decision:
    """Decide as for a terminated pair whose owner only lets keawatch watch."""
    held = (Withheld(Guard.AUTONOMY, PLAN.strategy, "it only watches"),)
    return Decision(SICK, plan=PLAN, withheld=() if by_operator else held, serving=True)


def hopeless(history: History, policy: Policy, *, by_operator: bool = False) -> Decision:
    return Decision(SICK, plan=PLAN, withheld=(Withheld(Guard.CLOCK_SKEW, PLAN.strategy, "the clocks differ by 70 s"),))


def client(staged: Stage, metrics: Metrics, host: str = "127.0.0.1:9745") -> httpx.AsyncClient:
    state = ApiState(
        loops={"lan": staged.loop},
        journal=staged.journal,
        registry=metrics.registry,
        token=TOKEN,
        interval=2.0,
        listen="127.0.0.1:9745",
        clock=staged.clock,
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(make_app(state)), base_url=f"http://{host}")


async def api_over(staged: Stage, metrics: Metrics) -> AsyncIterator[Api]:
    async with client(staged, metrics) as http:
        yield Api(http, staged, metrics)
    await staged.loop.stop()
    staged.journal.close()


@pytest.fixture
async def well(tmp_path: Path) -> AsyncIterator[Api]:
    metrics = Metrics()
    staged = stage(tmp_path, healthy(), watchers=(metrics,))
    await staged.loop.run_once()
    async for api in api_over(staged, metrics):
        yield api


@pytest.fixture
async def ill(tmp_path: Path) -> AsyncIterator[Api]:
    metrics = Metrics()
    staged = stage(tmp_path, TERMINATED, decided=sick, watchers=(metrics,))
    await staged.loop.run_once()
    async for api in api_over(staged, metrics):
        yield api


@pytest.fixture
async def fresh(tmp_path: Path) -> AsyncIterator[Api]:
    """Give an API whose pair was not looked at yet."""
    metrics = Metrics()
    async for api in api_over(stage(tmp_path, healthy(), watchers=(metrics,)), metrics):
        yield api


class TestLooking:
    async def test_pairs(self, well: Api) -> None:
        answer = await well.http.get("/api/v1/pairs")

        assert answer.json()["pairs"][0]["diagnosis"]["code"] == "OK"
        assert answer.headers["x-keawatch"]
        assert (await well.http.get("/api/v1/pairs/lan")).json() == answer.json()["pairs"][0]

    async def test_unknown_pair_is_named_with_those_there_are(self, well: Api) -> None:
        answer = await well.http.get("/api/v1/pairs/wan")

        assert answer.status_code == 404
        assert answer.json() == {"error": "there is no pair 'wan'; there are: lan"}

    async def test_pair_not_looked_at_yet_is_no_error_of_ours(self, fresh: Api) -> None:
        assert (await fresh.http.get("/api/v1/pairs")).json() == {"pairs": []}
        assert (await fresh.http.get("/api/v1/pairs/lan")).status_code == 503
        assert (await fresh.order("heal")).status_code == 503
        assert "Not looked at yet" in (await fresh.http.get("/")).text

    async def test_history_is_limited_and_by_pair(self, well: Api) -> None:
        for _ in range(3):
            well.stage.journal.acknowledge("lan", "eva")

        entries = (await well.http.get("/api/v1/history?pair=lan&limit=2")).json()["entries"]

        assert [entry["kind"] for entry in entries] == ["ack", "ack"]
        assert entries[0]["number"] < entries[1]["number"]
        assert (await well.http.get("/api/v1/history?pair=wan")).status_code == 404

    @pytest.mark.parametrize("limit", ["0", "-1", "x", "²", "", "999999999999", "9" * 5000])
    async def test_senseless_limit_is_refused(self, well: Api, limit: str) -> None:
        answer = await well.http.get("/api/v1/history", params={"limit": limit})

        assert answer.status_code == 400
        assert "limit should be" in answer.json()["error"]

    async def test_metrics_in_both_forms(self, well: Api) -> None:
        plain = await well.http.get("/metrics")
        opened = await well.http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

        assert 'keawatch_pair_redundant{pair="lan",service="dhcp4"} 1.0' in plain.text
        assert plain.headers["content-type"].startswith("text/plain")
        assert opened.headers["content-type"].startswith("application/openmetrics-text")
        assert opened.text.endswith("# EOF\n")

    async def test_head_works(self, well: Api) -> None:
        for path in ("/", "/metrics", "/livez", "/readyz", "/api/v1/pairs"):
            assert (await well.http.head(path)).status_code == 200

    async def test_every_error_is_json_with_a_sentence(self, well: Api) -> None:
        assert (await well.http.get("/api/v2")).json() == {"error": "there is nothing at /api/v2"}
        wrong = await well.http.get("/api/v1/pairs/lan/heal")
        assert (wrong.status_code, wrong.json()) == (405, {"error": "GET is not for /api/v1/pairs/lan/heal"})


class TestHealth:
    async def test_is_alive_while_rounds_end(self, well: Api) -> None:
        assert (await well.http.get("/livez")).status_code == 200
        well.stage.clock.move(29)
        assert (await well.http.get("/livez")).status_code == 200

    async def test_hanging_loop_is_told_by_name(self, well: Api) -> None:
        well.stage.clock.move(31)

        answer = await well.http.get("/livez")

        assert answer.status_code == 503
        assert answer.json()["error"] == "lan was last looked at 31 s ago, and should be every 2 s"

    async def test_first_round_that_never_ends_is_told_too(self, fresh: Api) -> None:
        assert (await fresh.http.get("/livez")).status_code == 200
        fresh.stage.clock.move(31)
        assert (await fresh.http.get("/livez")).status_code == 503

    async def test_is_ready_when_every_pair_was_seen(self, well: Api, fresh: Api) -> None:
        assert (await well.http.get("/readyz")).status_code == 200
        answer = await fresh.http.get("/readyz")
        assert (answer.status_code, answer.json()["reasons"]) == (503, ["lan was not looked at yet"])

    async def test_is_ready_though_the_pair_is_ill(self, ill: Api) -> None:
        assert (await ill.http.get("/readyz")).status_code == 200

    async def test_is_not_ready_without_a_journal(self, well: Api) -> None:
        well.stage.journal.close()

        answer = await well.http.get("/readyz")

        assert answer.status_code == 503
        assert "the journal" in answer.json()["error"]
        assert (await well.http.get("/")).status_code == 200


class TestToken:
    @pytest.mark.parametrize("what", ["heal", "pause", "resume", "ack"])
    @pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer x", f"Basic {TOKEN}", "Bearer ünï"])
    async def test_nothing_is_changed_without_it(self, ill: Api, what: str, given: str | None) -> None:
        headers = [] if given is None else [(b"authorization", given.encode("latin-1"))]

        answer = await ill.http.post(f"/api/v1/pairs/lan/{what}", json={}, headers=headers)

        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert "token" in answer.json()["error"]
        assert not ill.stage.servers[1].sent
        assert {entry.kind for entry in ill.stage.journal.entries()} == {"diagnosis"}

    async def test_answer_never_shows_it(self, ill: Api) -> None:
        for path in ("/", "/api/v1/pairs", "/metrics", "/livez"):
            assert TOKEN not in (await ill.http.get(path)).text

    def test_is_made_once_and_for_its_owner_alone(self, tmp_path: Path) -> None:
        token = ensure_token(tmp_path / "state")

        assert len(token) >= 32
        assert ensure_token(tmp_path / "state") == token
        assert stat.S_IMODE((tmp_path / "state" / TOKEN_FILE).stat().st_mode) == 0o600

    def test_one_that_others_may_read_is_closed(self, tmp_path: Path) -> None:
        token = ensure_token(tmp_path)
        (tmp_path / TOKEN_FILE).chmod(0o644)

        assert ensure_token(tmp_path) == token
        assert stat.S_IMODE((tmp_path / TOKEN_FILE).stat().st_mode) == 0o600

    @pytest.mark.parametrize("left", ["", "abc\n"])
    def test_one_cut_short_by_a_crash_is_made_anew(self, tmp_path: Path, left: str) -> None:
        (tmp_path / TOKEN_FILE).write_text(left)
        (tmp_path / f"{TOKEN_FILE}.new").write_text("left behind")

        assert len(ensure_token(tmp_path)) >= 32

    def test_state_directory_that_is_none_is_a_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")

        with pytest.raises(KeawatchError, match="can't be kept"):
            ensure_token(tmp_path / "file")


class TestDoor:
    @pytest.mark.parametrize("host", ["127.0.0.1:9745", "localhost:1234", "LOCALHOST", "[::1]:9745", "10.77.0.2"])
    async def test_lets_in_who_asks_for_this_host(self, well: Api, host: str) -> None:
        assert (await well.http.get("/api/v1/pairs", headers={"Host": host})).status_code == 200

    async def test_lets_in_who_asks_by_this_hosts_name(self, well: Api) -> None:
        answer = await well.http.get("/api/v1/pairs", headers={"Host": f"{socket.gethostname()}:9745"})

        assert answer.status_code == 200

    @pytest.mark.parametrize(
        "host", ["evil.example", "127.0.0.1.evil.example:9745", "localhost.evil.example", "", "[::1"]
    )
    @pytest.mark.parametrize("path", ["/", "/api/v1/pairs", "/api/v1/history"])
    async def test_keeps_out_a_name_that_was_rebound_to_us(self, well: Api, host: str, path: str) -> None:
        answer = await well.http.get(path, headers={"Host": host})

        assert answer.status_code == 421
        assert "Host" in answer.json()["error"]

    async def test_prometheus_may_scrape_by_any_name(self, well: Api) -> None:
        for path in ("/metrics", "/livez", "/readyz"):
            assert (await well.http.get(path, headers={"Host": "kea1.lan:9745"})).status_code == 200

    @pytest.mark.parametrize(
        "origin", ["http://evil.example", "null", "http://evil127.0.0.1:9745", "http://127.0.0.1:80"]
    )
    async def test_keeps_out_a_page_of_another_origin(self, ill: Api, origin: str) -> None:
        answer = await ill.order("pause", {}, Origin=origin)

        assert answer.status_code == 403
        assert ill.stage.journal.pause("lan") is None

    async def test_lets_in_a_page_of_its_own(self, ill: Api) -> None:
        assert (await ill.order("pause", {}, Origin="http://127.0.0.1:9745")).status_code == 200


class TestHeal:
    async def test_gives_the_plan_that_a_person_would_get(self, ill: Api) -> None:
        shown_now = (await ill.http.get("/api/v1/pairs/lan")).json()
        entry = (await ill.http.get("/api/v1/pairs/lan/plan")).json()

        assert not shown_now["plan"]["act"]
        assert entry["plan"]["act"]
        assert entry["withheld"] == []
        assert not ill.stage.servers[1].sent

    async def test_is_carried_out_and_its_outcome_returned(self, ill: Api) -> None:
        answer = await ill.order("heal", {"strategy": None, "wait": True})

        assert answer.status_code == 200
        assert (answer.json()["result"], answer.json()["plan_id"]) == ("ok", PLAN.id)
        assert ill.stage.servers[1].sent == ["ha-reset"]
        begun = next(entry for entry in ill.stage.journal.entries() if entry.kind == "plan")
        assert begun.body["by"] == "operator"

    async def test_is_counted_and_shown_afterwards(self, ill: Api) -> None:
        await ill.order("heal", {})
        await ill.stage.loop.run_once()

        pair = (await ill.http.get("/api/v1/pairs/lan")).json()
        text = (await ill.http.get("/metrics")).text

        assert pair["last_outcome"]["result"] == "ok"
        counted = 'keawatch_healings_total{code="TERMINATED_UNKNOWN",pair="lan",result="ok",service="dhcp4",trigger="operator"} 1.0'
        assert counted in {_sorted_labels(line) for line in text.splitlines()}

    async def test_is_refused_with_the_reasons(self, ill: Api) -> None:
        ill.stage.loop._parts.decide = hopeless

        answer = await ill.order("heal", {})

        assert answer.status_code == 409
        assert answer.json()["error"] == "the clocks differ by 70 s"
        assert answer.json()["withheld"][0]["guard"] == "clock-skew"
        assert not ill.stage.servers[1].sent

    async def test_of_a_well_pair_is_refused_with_the_diagnosis(self, well: Api) -> None:
        answer = await well.order("heal", {})

        assert answer.status_code == 409
        assert answer.json()["error"].startswith("nothing to be done: ")

    async def test_is_refused_while_another_is_under_way(self, ill: Api) -> None:
        ill.stage.servers[1].hold = asyncio.Event()
        first = await ill.order("heal", {"wait": False})

        second = await ill.order("heal", {})

        assert (first.status_code, first.json()) == (202, {"plan_id": PLAN.id})
        assert (second.status_code, second.json()["result"]) == (409, "refused")
        ill.stage.servers[1].hold.set()
        await ill.stage.loop.finish_left_over()
        assert ill.stage.servers[1].sent == ["ha-reset"]

    async def test_goes_on_when_the_caller_hangs_up(self, ill: Api) -> None:
        hold = ill.stage.servers[1].hold = asyncio.Event()
        caller = asyncio.create_task(ill.order("heal", {}))
        await ill.stage.servers[1].told.wait()

        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        hold.set()
        await ill.stage.loop.finish_left_over()

        assert [entry.body["result"] for entry in ill.stage.journal.entries() if entry.kind == "end"] == ["ok"]

    async def test_by_an_unknown_strategy_is_a_sentence(self, ill: Api) -> None:
        for answer in (
            await ill.order("heal", {"strategy": "magic"}),
            await ill.http.get("/api/v1/pairs/lan/plan?strategy=magic"),
        ):
            assert answer.status_code == 400
            assert answer.json()["error"] == "there is no strategy 'magic'; there are: seamless, cover, reset"

    async def test_without_a_journal_sends_nothing(self, ill: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: Any, **__: Any) -> None:
            raise JournalError("the journal can't be written (disk full)")

        monkeypatch.setattr(ill.stage.journal, "write", full)

        answer = await ill.order("heal", {})

        assert (answer.status_code, answer.json()) == (503, {"error": "the journal can't be written (disk full)"})
        assert not ill.stage.servers[1].sent


class TestSettings:
    async def test_pause_is_kept_and_ends_by_itself(self, well: Api) -> None:
        answer = await well.order("pause", {"seconds": 60, "reason": "upgrade", "owner": "eva"})

        assert answer.json()["paused"]["until"] == "2026-08-01T12:01:00.000Z"
        kept = well.stage.journal.pause("lan")
        assert kept
        assert (kept.reason, kept.owner) == ("upgrade", "eva")
        well.stage.clock.move(61)
        assert well.stage.journal.pause("lan") is None

    async def test_half_a_letter_in_a_reason_does_not_spoil_every_answer(self, well: Api) -> None:
        order = b'{"reason": "a \\ud800 b\\u001b", "owner": "\\udfff"}'
        answer = await well.http.post("/api/v1/pairs/lan/pause", content=order, headers=BEARER)
        await well.stage.loop.run_once()

        assert answer.status_code == 200
        assert (await well.http.get("/api/v1/pairs")).json()["pairs"][0]["paused"]["reason"] == "a ? b?"
        assert (await well.http.get("/")).status_code == 200

    async def test_pause_is_shown_after_the_next_round_and_ended_by_resume(self, well: Api) -> None:
        await well.order("pause", {"owner": "eva"})
        await well.stage.loop.run_once()
        assert (await well.http.get("/api/v1/pairs/lan")).json()["paused"]["until"] is None

        await well.order("resume")
        await well.stage.loop.run_once()
        assert (await well.http.get("/api/v1/pairs/lan")).json()["paused"] is None

    @pytest.mark.parametrize("seconds", ["0", "-1", "1e-9", '"60"', "true", "NaN", "Infinity", "1e99", "9" * 400, "[]"])
    async def test_senseless_pause_is_refused(self, well: Api, seconds: str) -> None:
        answer = await well.http.post(
            "/api/v1/pairs/lan/pause",
            content=f'{{"seconds": {seconds}}}',
            headers={**BEARER, "Content-Type": "application/json"},
        )

        assert answer.status_code == 400
        assert "seconds should be" in answer.json()["error"]
        assert well.stage.journal.pause("lan") is None

    @pytest.mark.parametrize("body", [b"[]", b"{", b'"x"', b"\xff", b"[" * 60000])
    async def test_body_that_is_no_object_is_refused(self, well: Api, body: bytes) -> None:
        answer = await well.http.post("/api/v1/pairs/lan/ack", content=body, headers=BEARER)

        assert (answer.status_code, answer.json()["error"]) == (400, "the body should be a JSON object")

    async def test_endless_body_is_refused(self, well: Api) -> None:
        assert (await well.http.post("/api/v1/pairs/lan/ack", content=b" " * 70_000, headers=BEARER)).status_code == 413

    async def test_acknowledging_closes_the_breaker_and_says_who(self, well: Api) -> None:
        assert (await well.order("ack", {"owner": "eva"})).status_code == 200

        assert well.stage.journal.acknowledged_at("lan") == well.stage.clock()
        assert well.stage.journal.entries()[-1].body == {"owner": "eva"}


class TestUndo:
    async def test_of_a_run_that_is_not_there_names_those_there_are(self, well: Api, tmp_path: Path) -> None:
        servers = cast("Any", well.stage.servers)
        work = LeaseWork("lan", servers, well.stage.loop.policy, tmp_path)
        well.stage.loop._parts.keeper = LeaseKeeper(work, well.stage.journal, None)

        answer = await well.order("undo", {"run": "no-such-run"})

        assert answer.status_code == 404
        assert answer.json()["error"].startswith("there is no run no-such-run in ")


class TestPage:
    async def test_says_it_in_plain_words(self, ill: Api) -> None:
        html = (await ill.http.get("/")).text

        for words in (
            "TERMINATED_UNKNOWN",
            "Both servers have terminated HA.",
            "it only watches",
            "b: ha-reset",
            "primary",
        ):
            assert words in html
        assert "<title>lan: look here" in html

    async def test_escapes_what_a_server_says(self, tmp_path: Path) -> None:
        evil = "<script>alert(1)</script>\"'>"
        staged = stage(tmp_path, snapshot(HaState.PARTNER_DOWN, silent("b", detail=evil)), decided=_saying(evil))
        await staged.loop.run_once()
        staged.loop.view = _troubled(staged.loop.view, evil)
        staged.loop.set_pause(None)
        staged.journal.acknowledge("lan", evil)

        async with client(staged, Metrics()) as http:
            html = (await http.get("/")).text
        staged.journal.close()

        assert "<script" not in html
        assert html.count("&lt;script&gt;") >= 4

    async def test_loads_and_runs_nothing(self, well: Api) -> None:
        answer = await well.http.get("/")

        policy = answer.headers["content-security-policy"]
        style = re.search(r"<style>(.*)</style>", answer.text, re.DOTALL)
        assert style
        assert "default-src 'none'" in policy
        assert b64encode(sha256(style[1].encode()).digest()).decode() in policy
        assert not re.search(
            r"<script|<link|<img|\ssrc=|\sstyle=|\son\w+=|https?://(?!b\.example|a\.example)", answer.text
        )
        assert 'http-equiv="refresh"' in answer.text

    async def test_shows_a_plan_under_way(self, ill: Api) -> None:
        hold = ill.stage.servers[1].hold = asyncio.Event()
        await ill.order("heal", {"wait": False})
        await ill.stage.servers[1].told.wait()
        await ill.stage.loop.run_once()

        html = (await ill.http.get("/")).text
        hold.set()

        assert "Healing: cover" in html
        assert "Reset b" in html


class TestListening:
    async def test_serves_until_told_to_stop(self, well: Api) -> None:
        listener, stop = open_listener("127.0.0.1:0"), asyncio.Event()
        host, port = listener.getsockname()
        before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        serving = asyncio.create_task(serve_on(well.http._transport.app, listener, stop))  # type: ignore[attr-defined]

        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"http://{host}:{port}/livez")
            head = await http.head(f"http://{host}:{port}/")
            signals = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        stop.set()
        await serving

        assert answer.status_code == 200
        assert answer.headers["x-keawatch"]
        assert "server" not in answer.headers
        assert signals == before
        assert (head.status_code, head.content) == (200, b"")
        with socket.socket() as again:
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind((host, port))

    def test_port_in_use_is_a_sentence(self) -> None:
        with open_listener("127.0.0.1:0") as taken:
            listen = f"127.0.0.1:{taken.getsockname()[1]}"

            with pytest.raises(KeawatchError, match=r"can't listen at .*in use.*http\.listen"):
                open_listener(listen)

    @pytest.mark.parametrize("listen", ["192.0.2.1:9745", "no.such.host.invalid:9745"])
    def test_address_that_is_not_ours_is_a_sentence(self, listen: str) -> None:
        with pytest.raises(KeawatchError, match="can't listen at"):
            open_listener(listen)

    def test_listens_on_every_address_when_told_so(self) -> None:
        with open_listener("0.0.0.0:0") as listener:
            assert listener.getsockname()[0] == "0.0.0.0"


def _saying(words: str) -> Any:
    def decided(history: History, policy: Policy, *, by_operator: bool = False) -> Decision:
        found = Diagnosis(SICK.code, SICK.severity, words, SICK.since)
        return Decision(found, plan=replace(PLAN, summary=words), withheld=(Withheld(Guard.BLIND, "cover", words),))

    return decided


def _troubled(view: PairView | None, words: str) -> PairView:
    assert view
    return replace(view, trouble=words)


def _sorted_labels(line: str) -> str:
    name, _, rest = line.partition("{")
    labels, _, value = rest.partition("}")
    return f"{name}{{{','.join(sorted(labels.split(',')))}}}{value}"
