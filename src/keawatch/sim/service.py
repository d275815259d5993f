"""
Is the HA service of one server: its state machine, its heartbeats and what follows from them (ha_service.cc).

A new service is built in ``waiting``, knowing nothing of its partner, at each start and each reconfiguration.
"""

from collections.abc import Callable
from email.utils import format_datetime

from keawatch.sim.answers import Json, RefusedError, Verdict, judge
from keawatch.sim.backlog import Backlog
from keawatch.sim.host import Host
from keawatch.sim.machine import Event, Machine, State
from keawatch.sim.memory import Memory, time_text
from keawatch.sim.origins import LOCAL, REMOTE
from keawatch.sim.profile import Profile
from keawatch.sim.scopes import Scopes
from keawatch.sim.settings import Mode, Peer, Relationship, Role
from keawatch.sim.sync import fetch_all
from keawatch.sim.transitions import AT_REST, ENTRIES, RULES, SERVING, UPDATING, is_invalid
from keawatch.sim.work import Ask, Timer, Work

LEAST_SYNC_SECONDS = 1


class HaService:
    """The HA service of one server, in one relationship."""

    def __init__(self, host: Host, relationship: Relationship) -> None:
        self.host = host
        self.relationship = relationship
        self.memory = Memory(relationship, host.profile, host.clock)
        self.scopes = Scopes(relationship)
        self.machine = Machine({State(name): pause for name, pause in relationship.pauses.items()})
        self.backlog = Backlog(relationship.delayed_updates_limit)
        self._timer: Timer | None = None
        self._sync_noted = False
        self._closed = False
        host.origins.restart_ha()
        self.machine.start()
        self.run(Event.START)

    # --- what the tables look at

    @property
    def profile(self) -> Profile:
        """Return the release."""
        return self.host.profile

    @property
    def state(self) -> State:
        """Return the present state, whose entry code may not have run yet."""
        return self.machine.state

    @property
    def normal_state(self) -> State:
        """Return the state of a healthy pair."""
        if self.relationship.this.role is Role.BACKUP:
            return State.BACKUP
        return State(self.relationship.mode)

    def should_partner_down(self) -> bool:
        """Tell whether the partner is to be held for dead (shouldPartnerDown)."""
        if not self.memory.interrupted:
            return False
        settings = self.relationship
        sees_clients = settings.mode is Mode.LOAD_BALANCING or settings.this.role is Role.STANDBY
        if self.host.origins.enabled and sees_clients:
            return self.memory.failure_detected
        return True

    # --- running

    def close(self) -> None:
        """Take the service down; nothing that it was about to do happens."""
        self._closed = True
        self.stop_heartbeat()
        self.host.origins.restart_ha()

    def spawn(self, job: Work, then: Callable[[object], None] = lambda _: None) -> None:
        """Do something beside the main thread, as the threads of Kea's HTTP client do."""
        self.host.life.spawn(job, then, lambda: not self._closed)

    def run(self, event: Event) -> None:
        """Run the state machine beside the main thread."""
        self.spawn(self.machine.run(event, self.step))

    def adjust(self) -> None:
        """Switch DHCP on or off as the state demands; whoever else has switched it off counts as off (adjustNetworkState)."""
        should, enabled = self.state in SERVING, self.host.origins.enabled
        if should and not enabled:
            self.host.origins.enable(LOCAL)
        elif enabled and not should:
            self.host.origins.disable(LOCAL)

    def step(self) -> Work:
        """Do what the present state demands, once."""
        state = self.state
        if self.machine.take_entry():
            self._enter(state)
        elif state is State.PARTNER_DOWN and self.machine.last is Event.SYNCED_PARTNER_UNAVAILABLE:
            self.adjust()
        if state is State.SYNCING:
            yield from self._syncing()
        elif state is State.COMMUNICATION_RECOVERY:
            yield from self._recovering()
        else:
            self._go(self._stay_or_leave(state))

    def _enter(self, state: State) -> None:
        entry = ENTRIES[state]
        self.scopes.serve(self._scopes_on_entry(state, entry.scopes))
        self.adjust()
        if entry.clears_rejects:
            self.memory.clear_rejects()
        if entry.stops_heartbeat:
            self.stop_heartbeat()

    def _scopes_on_entry(self, state: State, usual: str) -> str:
        # A standby without auto-failover serves nothing in partner-down, unless maintenance brought it there.
        if state is State.PARTNER_DOWN and not self.relationship.this.auto_failover:
            return "failover" if self.machine.last is Event.MAINTENANCE_START else "default"
        return usual

    def _go(self, target: State | None) -> None:
        if target is None:
            self.machine.post(Event.NOP)
            return
        self.machine.move(target)

    def _stay_or_leave(self, state: State) -> State | None:
        passive = self.relationship.mode is Mode.PASSIVE_BACKUP or self.relationship.this.role is Role.BACKUP
        if state in AT_REST:
            return None
        if not passive:
            self.start_heartbeat(again=False)
        if state is State.IN_MAINTENANCE or self._is_held(state):
            return None
        if passive:
            return self.normal_state
        return self._by_table(state)

    def _is_held(self, state: State) -> bool:
        cancelled = self.machine.last is Event.MAINTENANCE_CANCEL and state is not State.PARTNER_IN_MAINTENANCE
        return cancelled or self.machine.paused

    def _by_table(self, state: State) -> State | None:
        if self.memory.is_fatal:
            return State.TERMINATED
        if state is not State.PARTNER_IN_MAINTENANCE and is_invalid(self):
            return None if state is State.WAITING else State.WAITING
        rule = RULES[state].get(self.memory.state)
        return rule(self) if rule else None

    # --- syncing and recovery, the two states that wait for their partner's answers

    def _syncing(self) -> Work:
        if self._is_held(State.SYNCING):
            # No heartbeat is started here, so a server paused in syncing may stay deaf for ever.
            self.machine.post(Event.NOP)
            return
        target = self._by_table(State.SYNCING)
        if target is not None and target is not State.PARTNER_DOWN:
            self._go(target)
            return
        if target is None and self.memory.state != "unavailable":
            self.stop_heartbeat()
            period = max(int(self.relationship.sync_timeout), LEAST_SYNC_SECONDS)
            error = yield from self.synchronize(self.relationship.partner, period)
            target = None if error else State.READY
        self._go(target)
        self.start_heartbeat(again=False)

    def _recovering(self) -> Work:
        self.start_heartbeat(again=False)
        target: State | None = None
        if not self._is_held(State.COMMUNICATION_RECOVERY):
            target = self._by_table(State.COMMUNICATION_RECOVERY)
            if target is None and not self.memory.interrupted and self.memory.state != "unavailable":
                target = yield from self._catch_up()
        self._go(target)
        if target is not None:
            self.backlog.clear()

    def _catch_up(self) -> Work:
        joining = self.memory.state in {State.WAITING, State.SYNCING, State.READY}
        if joining:
            return State.WAITING if self.backlog.overflown else None
        if not self.backlog.overflown and (yield from self._send_backlog()):
            return self.normal_state
        verdict = yield from self.ask(self.relationship.partner, "ha-reset", self._named(), loses=False)
        return State.WAITING if not verdict.error else None

    def _send_backlog(self) -> Work:
        for command, arguments in self.backlog.take(self.host.family):
            verdict = yield from self.ask(self.relationship.partner, command, arguments, loses=False)
            if verdict.error:
                return False
        return True

    def synchronize(self, peer: Peer, period: int) -> Work:
        """Fetch all leases from a server and return why it failed, or nothing; DHCP is off there meanwhile."""
        error = yield from fetch_all(self, peer, period)
        self.machine.post(Event.SYNC_FAILED if error else Event.SYNCED)
        return error

    # --- talking to the partner

    def ask(
        self, peer: Peer, command: str, arguments: Json | None, *, timeout: float = 10.0, loses: bool = True
    ) -> Work:
        """Send a command to another server and return what came of it; a failure makes the partner unavailable."""
        reply = yield Ask(peer.url, command, arguments, timeout)
        verdict = judge(reply, self.profile)
        if verdict.error and loses:
            self.memory.lose()
        return verdict

    def _named(self) -> Json | None:
        return {"server-name": self.relationship.this.name} if self.profile.has_server_name else None

    def start_heartbeat(self, *, again: bool = True) -> None:
        """Have a heartbeat sent after heartbeat-delay; without *again* only if none is due."""
        delay = self.relationship.heartbeat_delay
        if delay <= 0 or (self._timer and not again):
            return
        self.stop_heartbeat()
        self._timer = self.host.life.timer(delay, lambda: self.spawn(self._beat()))

    def stop_heartbeat(self) -> None:
        """Have no heartbeat sent."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> Work:
        noted, self._sync_noted = self._sync_noted, False
        reply = yield Ask(self.relationship.partner.url, "ha-heartbeat", self._named())
        good = self._hear(judge(reply, self.profile))
        if good:
            self.memory.poke()
        else:
            self.memory.lose()
        self.start_heartbeat()
        if noted and not good:
            self.machine.post(Event.SYNCED_PARTNER_UNAVAILABLE)
        yield from self.machine.run(Event.HEARTBEAT, self.step)

    def _hear(self, verdict: Verdict) -> bool:
        if verdict.error or not isinstance(verdict.arguments, dict):
            return False
        told: Json = verdict.arguments
        self.memory.hear_state(told["state"])
        self.memory.hear_time(told["date-time"])
        self.memory.scopes = list(told.get("scopes", []))
        self.memory.hear_unsent(told.get("unsent-update-count", 0))
        return True

    # --- what the partner tells

    def note_sync(self, origin: int) -> None:
        """Note that the partner has synced from here (processSyncCompleteNotify)."""
        if self.state is State.PARTNER_DOWN:
            self._sync_noted = True
            if self.profile.holds_until_ready:
                self.host.origins.disable(LOCAL)
        elif not self.profile.holds_until_ready:
            self.host.origins.enable(LOCAL)
        if self.profile.holds_until_ready:
            self.host.origins.enable(origin)

    # --- lease updates

    def sends_updates_to(self, peer: Peer) -> bool:
        """Tell whether lease updates go to a server now (shouldSendLeaseUpdates)."""
        if not self.relationship.send_lease_updates:
            return False
        if peer.role is Role.BACKUP:
            return True
        return self.relationship.this.role is not Role.BACKUP and self.state in UPDATING

    @property
    def remote_origin(self) -> int:
        """Return as whom this server switches DHCP off at its partner; one relationship has the index 0."""
        return REMOTE

    # --- reports

    def heartbeat_answer(self) -> Json:
        """Return the arguments of an answer to ha-heartbeat."""
        return {
            "date-time": format_datetime(self.host.clock.wall, usegmt=True),
            "scopes": self.scopes.served,
            "state": str(self.state),
            "unsent-update-count": self.memory.unsent,
        }

    def report(self) -> Json:
        """Return what status-get says of this relationship (processStatusGet)."""
        settings = self.relationship
        local: Json = {"role": str(settings.this.role), "scopes": self.scopes.served, "state": str(self.state)}
        remote = self.memory.report() | {"role": str(settings.partner.role)}
        if self.profile.has_server_name:
            local["server-name"] = settings.this.name
            remote["server-name"] = settings.partner.name
        if self.profile.has_clock_skew:
            local["system-time"] = time_text(self.memory.my_time)
        servers = {"local": local}
        if settings.mode is not Mode.PASSIVE_BACKUP and settings.this.role is not Role.BACKUP:
            servers["remote"] = remote
        return {"ha-mode": str(settings.mode), "ha-servers": servers}

    def check_name(self, arguments: Json | None) -> None:
        """Refuse a server-name that is not one of the relationship's (getHAServiceByServerName)."""
        name = (arguments or {}).get("server-name")
        if (
            self.profile.has_server_name
            and name is not None
            and name not in {peer.name for peer in self.relationship.peers}
        ):
            raise RefusedError(f"{name} matches no configured 'server-name'")
