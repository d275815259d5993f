"""
Shows the pairs over HTTP and takes orders from whoever holds the token: metrics, health, JSON and a status page.

Looking needs no token; changing does. A browser led here by a foreign page or name gets nothing (DNS rebinding). Every
error is JSON with one sentence.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import re
import secrets
import socket
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keawatch import __version__
from keawatch.core.decision import Decision
from keawatch.core.model import Pause
from keawatch.core.policy import Strategy
from keawatch.daemon import shown
from keawatch.daemon.clock import Clock, now
from keawatch.daemon.journal import Entry, Journal
from keawatch.daemon.jsonable import jsonable
from keawatch.daemon.loop import PairLoop, PairView
from keawatch.daemon.performer import PlanRefusedError
from keawatch.daemon.token import TOKEN_FILE
from keawatch.errors import JournalError, KeawatchError
from keawatch.kea.protocol import one_line
from keawatch.leases.backup import NoSuchRunError

LEAST_PATIENCE = 30.0
"""Seconds without a finished round before the daemon counts as hung, whatever the interval."""

MOST_ENTRIES = 10_000
MOST_BODY = 65_536


@dataclass(slots=True)
class ApiState:
    """What the API shows and where its orders go."""

    loops: Mapping[str, PairLoop]
    journal: Journal
    registry: CollectorRegistry
    token: str
    interval: float
    listen: str
    clock: Clock = now
    started: datetime = field(init=False)

    def __post_init__(self) -> None:
        """Note the start, before which no round can be missed."""
        self.started = self.clock()

    @property
    def views(self) -> list[PairView]:
        """Return every pair that was looked at."""
        return [loop.view for loop in self.loops.values() if loop.view]


# --- the application


def make_app(state: ApiState) -> Starlette:
    """Return the application."""
    routes = Routes(state)
    return Starlette(
        routes=[
            Route("/", routes.page),
            Route("/metrics", routes.metrics),
            Route("/livez", routes.livez),
            Route("/readyz", routes.readyz),
            Route("/api/v1/pairs", routes.pairs),
            Route("/api/v1/history", routes.history),
            Route("/api/v1/pairs/{name}", routes.pair),
            Route("/api/v1/pairs/{name}/plan", routes.plan),
            Route("/api/v1/pairs/{name}/heal", routes.heal, methods=["POST"]),
            Route("/api/v1/pairs/{name}/compare", routes.compare, methods=["POST"]),
            Route("/api/v1/pairs/{name}/reconcile", routes.reconcile, methods=["POST"]),
            Route("/api/v1/pairs/{name}/undo", routes.undo, methods=["POST"]),
            Route("/api/v1/pairs/{name}/pause", routes.pause, methods=["POST"]),
            Route("/api/v1/pairs/{name}/resume", routes.resume, methods=["POST"]),
            Route("/api/v1/pairs/{name}/ack", routes.ack, methods=["POST"]),
        ],
        middleware=[Middleware(Door, state=state)],
        exception_handlers={HTTPException: _http_error, KeawatchError: _own_error, Exception: _any_error},
    )


def _error(status: int, sentence: str, **more: Any) -> JSONResponse:
    return JSONResponse({"error": sentence, **more}, status)


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else HTTPStatus.INTERNAL_SERVER_ERROR
    detail = error.detail if isinstance(error, HTTPException) else ""
    if status == HTTPStatus.NOT_FOUND and detail == HTTPStatus.NOT_FOUND.phrase:
        detail = f"there is nothing at {request.url.path}"
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not for {request.url.path}"
    return JSONResponse({"error": detail}, status, getattr(error, "headers", None))


_OWN_ERRORS = ((PlanRefusedError, HTTPStatus.CONFLICT), (NoSuchRunError, HTTPStatus.NOT_FOUND))


async def _own_error(_: Request, error: Exception) -> Response:
    known = (status for kind, status in _OWN_ERRORS if isinstance(error, kind))
    return _error(next(known, HTTPStatus.SERVICE_UNAVAILABLE), str(error))


async def _any_error(_: Request, error: Exception) -> Response:
    return _error(
        HTTPStatus.INTERNAL_SERVER_ERROR, f"an error inside keawatch: {type(error).__name__}; its log says more"
    )


class Door:
    """Lets in who may come in, and marks every answer as keawatch's."""

    def __init__(self, app: ASGIApp, state: ApiState) -> None:
        self._app = app
        self._token = state.token.encode()
        self._hosts = {"localhost", state.listen.rpartition(":")[0].strip("[]").lower(), *_own_names()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            return
        request = Request(scope)
        answer = self._foreign(request) or self._without_token(request) or self._app
        await answer(scope, receive, _marked(send))

    def _foreign(self, request: Request) -> Response | None:
        """Refuse a browser that a foreign page or name has led here; what machines scrape under any name holds no secret."""
        if request.url.path in {"/metrics", "/livez", "/readyz"}:
            return None
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if not self._is_ours(_hostname(f"//{host}")):
            return _error(
                HTTPStatus.MISDIRECTED_REQUEST,
                "the Host header names another host; ask by this host's name, its address, localhost, or what http.listen says",
            )
        if origin is not None and not origin.lower().endswith(f"://{host.lower()}"):
            return _error(HTTPStatus.FORBIDDEN, "a page of another origin may not ask keawatch")
        return None

    def _is_ours(self, host: str) -> bool:
        if host in self._hosts:
            return bool(host)
        with contextlib.suppress(ValueError):
            # An address can't be rebound by a foreign name server.
            return bool(ipaddress.ip_address(host))
        return False

    def _without_token(self, request: Request) -> Response | None:
        if request.method in {"GET", "HEAD"}:
            return None
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and secrets.compare_digest(given.strip().encode(), self._token):
            return None
        answer = _error(
            HTTPStatus.UNAUTHORIZED,
            f"orders need the header “Authorization: Bearer …” with what stands in the file {TOKEN_FILE} of the state directory",
        )
        answer.headers["WWW-Authenticate"] = "Bearer"
        return answer


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    return {name, name.partition(".")[0]}


def _hostname(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


_MARKS = (
    (b"x-keawatch", __version__.encode()),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


def _marked(send: Send) -> Send:
    async def marked(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *_MARKS]}
        await send(message)

    return marked


class Routes:
    """The answers."""

    def __init__(self, state: ApiState) -> None:
        self._state = state

    # --- looking

    async def page(self, _: Request) -> Response:
        """Return the status page."""
        waiting = [name for name, loop in self._state.loops.items() if not loop.view]
        entries, trouble = self._entries(None, 30)
        html = page(shown.status(self._state.views), shown.history(entries), waiting=waiting, trouble=trouble)
        return HTMLResponse(html, headers={"Content-Security-Policy": CSP})

    async def metrics(self, request: Request) -> Response:
        """Return the metrics in the form that was asked for."""
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._state.registry), headers={"Content-Type": kind})

    async def livez(self, _: Request) -> Response:
        """Say whether every loop still goes round."""
        patience = max(LEAST_PATIENCE, 5 * self._state.interval)
        late = []
        for name, loop in self._state.loops.items():
            since = loop.view.history.now if loop.view else self._state.started
            seconds = (self._state.clock() - since).total_seconds()
            if seconds > patience:
                late.append(
                    f"{name} was last looked at {seconds:.0f} s ago, and should be every {self._state.interval:g} s"
                )
        if late:
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(late))
        return JSONResponse({"alive": True, "version": __version__, "started": self._state.started.isoformat()})

    async def readyz(self, _: Request) -> Response:
        """Say whether every pair was seen and the journal works."""
        reasons = [f"{name} was not looked at yet" for name, loop in self._state.loops.items() if not loop.view]
        reasons += [f"{view.name}: {view.trouble}" for view in self._state.views if view.trouble]
        trouble = self._entries(None, 1)[1]
        reasons += [trouble] if trouble else []
        if reasons:
            return _error(HTTPStatus.SERVICE_UNAVAILABLE, "; ".join(reasons), reasons=reasons)
        return JSONResponse({"ready": True})

    async def pairs(self, _: Request) -> Response:
        """Return every pair."""
        return JSONResponse(shown.status(self._state.views))

    async def pair(self, request: Request) -> Response:
        """Return one pair."""
        return JSONResponse(shown.pair(_view(self._loop(request))))

    async def history(self, request: Request) -> Response:
        """Return the newest journal entries, oldest first."""
        pair = request.query_params.get("pair")
        if pair is not None and pair not in self._state.loops:
            raise _unknown(pair, self._state.loops)
        text = request.query_params.get("limit", "100")
        # Python reads no number of thousands of digits.
        if not re.fullmatch(r"[0-9]{1,9}", text) or not 0 < int(text) <= MOST_ENTRIES:
            raise HTTPException(HTTPStatus.BAD_REQUEST, f"limit should be a number from 1 to {MOST_ENTRIES}")
        return JSONResponse(shown.history(self._state.journal.entries(pair, limit=int(text))))

    async def plan(self, request: Request) -> Response:
        """Return a pair with the plan that a person who asks now would get."""
        loop = self._loop(request)
        view = _view(loop)
        decision = loop.plan_for_operator(_strategy(request.query_params.get("strategy") or None))
        return JSONResponse(shown.operator_plan(view, decision))

    # --- changing

    async def heal(self, request: Request) -> Response:
        """Carry out the plan that a person gets, and return what became of it; 409 with the reasons when refused."""
        loop, body = self._loop(request), await _body(request)
        _view(loop)
        strategy, wait = _strategy(body.get("strategy")), body.get("wait", True)
        return await _carried_out(loop, loop.plan_for_operator(strategy), wait=wait is not False)

    async def compare(self, request: Request) -> Response:
        """Compare the lease databases now; return what was found, and the plan that a person would get."""
        loop = self._loop(request)
        view = await loop.compare("a person asked")
        found = view.history.comparison
        entry = shown.operator_plan(view, loop.plan_to_reconcile())
        return JSONResponse({"diff": shown.diff(loop.name, found) if found else None, "pair": entry})

    async def reconcile(self, request: Request) -> Response:
        """Bring the lease databases together by the plan that a person gets; 409 with the reasons when refused."""
        loop, body = self._loop(request), await _body(request)
        found = _view(loop).history.comparison
        if found and found.is_clean:
            return JSONResponse(shown.nothing_done("the databases are alike"))
        return await _carried_out(loop, loop.plan_to_reconcile(), wait=body.get("wait", True) is not False)

    async def undo(self, request: Request) -> Response:
        """Put back what a run changed, where nobody has changed it since."""
        loop, body = self._loop(request), await _body(request)
        run_id = _words(body, "run", "")
        run, done = await loop.undo(run_id)
        return JSONResponse(shown.undone(await loop.look(), run_id, run, done))

    async def pause(self, request: Request) -> Response:
        """Watch and say, and do nothing, for a while or until resumed."""
        loop, body = self._loop(request), await _body(request)
        since, length = self._state.clock(), _length(body.get("seconds"))
        until = None if length is None else since + length
        pause = Pause(since, until, _words(body, "reason", ""), _words(body, "owner", "the API"))
        loop.set_pause(pause)
        return JSONResponse({"pair": loop.name, "paused": shown.paused(pause)})

    async def resume(self, request: Request) -> Response:
        """End a pause."""
        loop = self._loop(request)
        loop.set_pause(None)
        return JSONResponse({"pair": loop.name, "paused": None})

    async def ack(self, request: Request) -> Response:
        """Close the breaker."""
        loop, body = self._loop(request), await _body(request)
        loop.acknowledge(_words(body, "owner", "the API"))
        return JSONResponse({"pair": loop.name, "acknowledged": True})

    def _loop(self, request: Request) -> PairLoop:
        name = str(request.path_params["name"])
        loop = self._state.loops.get(name)
        if loop is None:
            raise _unknown(name, self._state.loops)
        return loop

    def _entries(self, pair: str | None, limit: int) -> tuple[list[Entry], str | None]:
        """Return journal entries, or why there are none: the page must show itself without a journal too."""
        try:
            return self._state.journal.entries(pair, limit=limit), None
        except JournalError as error:
            return [], str(error)


async def _carried_out(loop: PairLoop, decision: Decision, *, wait: bool) -> Response:
    if decision.plan is None or not decision.act:
        return _refused(decision)
    if loop.busy:
        return _error(HTTPStatus.CONFLICT, f"a plan is under way for {loop.name}; wait for it to end", result="refused")
    task = loop.begin(decision.plan, by="operator")
    if not wait:
        return JSONResponse({"plan_id": decision.plan.id}, HTTPStatus.ACCEPTED)
    # A caller who hangs up must not break a plan off half way.
    return JSONResponse(shown.outcome(await asyncio.shield(task)))


def _unknown(name: str, loops: Mapping[str, PairLoop]) -> HTTPException:
    return HTTPException(HTTPStatus.NOT_FOUND, f"there is no pair {name!r}; there are: {', '.join(loops)}")


def _view(loop: PairLoop) -> PairView:
    if loop.view is None:
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, f"{loop.name} was not looked at yet; ask again in a moment")
    return loop.view


def _strategy(word: object) -> Strategy | None:
    if word is None:
        return None
    try:
        return Strategy(str(word))
    except ValueError:
        known = ", ".join(Strategy)
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"there is no strategy {word!r}; there are: {known}") from None


def _refused(decision: Decision) -> Response:
    plan = decision.plan
    held = [held for held in decision.withheld if plan is None or held.strategy == plan.strategy]
    sentence = "; ".join(held.reason for held in held)
    if plan is None:
        sentence = f"nothing to be done: {decision.diagnosis.sentence}" + (f" ({sentence})" if sentence else "")
    more = jsonable(decision.withheld)
    return _error(HTTPStatus.CONFLICT, sentence, result="refused", withheld=more)


async def _body(request: Request) -> dict[str, Any]:
    """Return the JSON object that came along; an empty body is an empty object."""
    raw = b""
    async for piece in request.stream():
        raw += piece
        if len(raw) > MOST_BODY:
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body of more than {MOST_BODY} bytes is no order"
            )
    try:
        body = json.loads(raw) if raw.strip() else {}
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the body should be a JSON object")
    return body


def _length(seconds: object) -> timedelta | None:
    if seconds is None:
        return None
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    least, most = shown.SHORTEST_PAUSE.total_seconds(), shown.LONGEST_PAUSE.total_seconds()
    if not number or not least <= float(str(seconds)) <= most:
        raise HTTPException(
            HTTPStatus.BAD_REQUEST, f"seconds should be a number from {least:g} to {most:.0f}, or null: until resume"
        )
    return timedelta(seconds=float(str(seconds)))


def _words(body: Mapping[str, Any], key: str, default: str) -> str:
    value = body.get(key) or default
    if not isinstance(value, str):
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{key} should be a text")
    return one_line(value)[:500]


# --- listening


def open_listener(listen: str) -> socket.socket:
    """Return a socket that listens at ``address:port`` from now on; raises KeawatchError."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    try:
        found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        dual = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
        return socket.create_server((str(address[0]), int(port)), family=family, dualstack_ipv6=dual, backlog=128)
    except (OSError, ValueError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise KeawatchError(
            f"keawatch can't listen at {listen} ({reason}): set http.listen in the configuration to an address of this host "
            "and a port that is free, or stop what listens there"
        ) from error


async def serve_on(app: ASGIApp, listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve *app* on a socket that listens already, until *stop*, and close it; signals stay the daemon's."""
    import uvicorn  # noqa: PLC0415 - the command line loads this module and seldom serves

    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        # In flight at the end is at most a healing, which comes to rest by itself.
        timeout_graceful_shutdown=10,
    )

    class Server(uvicorn.Server):
        """A server that leaves the signals alone."""

        capture_signals = contextlib.nullcontext  # type: ignore[assignment]

    server = Server(config)
    with listener:
        running = asyncio.create_task(server.serve([listener]), name="uvicorn")
        await _until(stop, running)
        server.should_exit = True
        await running


async def _until(stop: asyncio.Event, running: asyncio.Task[None]) -> None:
    told = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({told, running}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()


# --- the status page


STYLE = """
:root { color-scheme: light dark; --back: #f6f7f9; --card: #fff; --text: #1c2330; --dim: #667085; --line: #e3e7ee;
  --ok: #177a43; --info: #1768ac; --warning: #a15c00; --critical: #b42318; }
@media (prefers-color-scheme: dark) { :root { --back: #10141b; --card: #181e28; --text: #e7ebf2; --dim: #93a0b4;
  --line: #2a3341; --ok: #4cc38a; --info: #5eb1ef; --warning: #f5b13d; --critical: #ff8276; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 66rem; background: var(--back); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
header { display: flex; justify-content: space-between; align-items: baseline; gap: 1rem; margin-bottom: 1rem; }
h1 { font-size: 1.2rem; margin: 0; } h2 { font-size: 1.05rem; margin: 0; } h3 { font-size: .8rem; margin: 1rem 0 .3rem;
  color: var(--dim); text-transform: uppercase; letter-spacing: .05em; }
section { background: var(--card); border: 1px solid var(--line); border-left: 5px solid var(--tone, var(--line));
  border-radius: 10px; padding: 1rem 1.2rem; margin-bottom: 1rem; overflow-x: auto; }
.ok { --tone: var(--ok); } .info { --tone: var(--info); } .warning { --tone: var(--warning); }
.critical { --tone: var(--critical); }
.head { display: flex; flex-wrap: wrap; gap: .3rem .8rem; align-items: baseline; }
.code { color: var(--tone); font-weight: 650; } .dim { color: var(--dim); } .sentence { font-size: 1.1rem; margin: .5rem 0; }
.badge { border: 1px solid var(--tone, var(--line)); color: var(--tone, var(--dim)); border-radius: 99px; padding: 0 .6rem;
  font-size: .8rem; white-space: nowrap; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; color: var(--dim); font-size: .8rem; } th, td { padding: .3rem .8rem .3rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; } tr:last-child td { border-bottom: 0; }
td.when, .servers td:nth-child(7) { white-space: nowrap; } td.when { color: var(--dim); } td.text { overflow-wrap: anywhere; }
ul, ol { margin: .3rem 0; padding-left: 1.3rem; } code { font: .9em ui-monospace, monospace; color: var(--dim); }
"""

CSP = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

REFRESH = 5
"""Seconds after which a browser asks for the page again."""


def page(status: shown.Json, history: shown.Json, *, waiting: list[str], trouble: str | None) -> str:
    """Return the status page."""
    cards = [_card(pair) for pair in status["pairs"]]
    cards += [f'<section><h2>{escape(name)}</h2><p class="dim">Not looked at yet.</p></section>' for name in waiting]
    cards += [f'<section class="critical"><p>{escape(trouble)}</p></section>'] if trouble else []
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{REFRESH}"><title>{escape(_title(status))}</title>'
        f"<style>{STYLE}</style></head><body>"
        f'<header><h1>keawatch</h1><span class="dim">{escape(__version__)}</span></header>'
        f"<main>{''.join(cards)}{_events(history)}</main></body></html>"
    )


def _title(status: shown.Json) -> str:
    bad = [pair["name"] for pair in status["pairs"] if pair["diagnosis"]["severity"] in {"warning", "critical"}]
    return f"{', '.join(bad)}: look here · keawatch" if bad else "keawatch"


def _card(pair: shown.Json) -> str:
    diagnosis = pair["diagnosis"]
    since = diagnosis["since"][:19].replace("T", " ")
    head = (
        f'<div class="head"><h2>{escape(pair["name"])}</h2><span class="dim">{escape(pair["service"])} {escape(pair["mode"])}, '
        f"autonomy {escape(pair['autonomy'])}</span>{_badge('serving', 'NOT serving', yes=pair['serving'], tone='critical')}"
        f"{_badge('redundant', 'not redundant', yes=pair['redundant'])}</div>"
    )
    said = (
        f'<p class="sentence"><span class="code">{escape(diagnosis["code"])}</span> {escape(diagnosis["sentence"])}</p>'
        f'<p class="dim">since {escape(since)} UTC, last looked at {escape(pair["seen_at"][11:19])} UTC</p>'
    )
    more = _also(pair) + _servers(pair["servers"]) + _plan(pair) + _withheld(pair) + _outcome(pair["last_outcome"])
    return f'<section class="{escape(diagnosis["severity"])}">{head}{said}{more}</section>'


def _badge(good: str, bad: str, *, yes: bool, tone: str = "warning") -> str:
    return f'<span class="badge {"ok" if yes else tone}">{good if yes else bad}</span>'


def _also(pair: shown.Json) -> str:
    lines = [f"{escape(found['code'])}: {escape(found['sentence'])}" for found in pair["also"]]
    if pair["trouble"]:
        lines.insert(0, escape(pair["trouble"]))
    if pair["paused"]:
        pause = pair["paused"]
        until = f"until {pause['until'][:16].replace('T', ' ')} UTC" if pause["until"] else "until resumed"
        lines.insert(0, f"Paused by {escape(pause['owner'])} {until}. {escape(pause['reason'])}")
    return _list(lines)


def _list(lines: list[str]) -> str:
    return f"<ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>" if lines else ""


_COLUMNS = ("server", "role", "state", "serves", "answer", "Kea", "clock", "leases", "remark")


def _servers(servers: list[shown.Json]) -> str:
    head = "".join(f"<th>{column}</th>" for column in _COLUMNS)
    rows = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in _cells(server))}</tr>" for server in servers)
    return f'<h3>Servers</h3><table class="servers"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _cells(server: shown.Json) -> list[str]:
    skew, leases, dhcp = server["clock_skew"], server["leases"], server["dhcp"]
    off = f"DHCP switched off by origin {', '.join(dhcp['switched_off_by'])}" if dhcp and not dhcp["enabled"] else ""
    remark = "; ".join(words for words in (off, server["note"] or "") if words)
    cells = (
        server["name"],
        server["role"] or "?",
        server["state"] or "?",
        ", ".join(server["scopes"]) if server["serving"] else "no" if server["answer"] == "ok" else "?",
        server["answer"],
        server["kea_version"] or "?",
        "?" if skew is None else f"{skew:+.0f} s",
        "?" if leases is None else f"{leases:,}",
        remark,
    )
    return [escape(cell) for cell in cells]


def _plan(pair: shown.Json) -> str:
    plan = pair["plan"]
    if not plan:
        return ""
    if plan["under_way"]:
        return f"<h3>Healing: {escape(plan['strategy'])}</h3><p>{escape(plan['step'] or plan['summary'])} …</p>"
    steps = "".join(
        f"<li>{escape(step['title'])} <code>{escape(step['order'] or 'wait')}</code></li>" for step in plan["steps"]
    )
    heading = f"Plan: {escape(plan['strategy'])}, {plan['announced_pause']:g} s without service expected"
    return f"<h3>{heading}</h3><p>{escape(plan['summary'])}</p><ol>{steps}</ol>"


def _withheld(pair: shown.Json) -> str:
    lines = [f"{escape(held['strategy'])}: {escape(held['reason'])}" for held in pair["withheld"]]
    return f"<h3>Not done, because</h3>{_list(lines)}" if lines else ""


def _outcome(ended: shown.Json | None) -> str:
    if not ended:
        return ""
    return (
        f"<h3>Last healing</h3><p>{escape(ended['strategy'])}, ended {escape(ended['ended_at'][:19].replace('T', ' '))} UTC: "
        f"<strong>{escape(ended['result'])}</strong>, {escape(ended['reason'])}; {ended['measured_pause']:.1f} s without service, "
        f"{ended['announced_pause']:g} s announced.</p>"
    )


def _events(history: shown.Json) -> str:
    rows = "".join(
        f'<tr><td class="when">{escape(entry["at"][:19].replace("T", " "))}</td><td>{escape(entry["pair"])}</td>'
        f'<td>{escape(entry["kind"])}</td><td class="text">{escape(entry["text"])}</td></tr>'
        for entry in reversed(history["entries"])
    )
    return f"<section><h3>Last events (UTC)</h3><table><tbody>{rows}</tbody></table></section>" if rows else ""
