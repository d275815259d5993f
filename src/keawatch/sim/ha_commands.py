"""Answers the HA commands (ha_impl.cc, and what of ha_service.cc starts with "process")."""

from collections.abc import Callable

from keawatch.sim.answers import ERROR, MAINTENANCE_REFUSED, SUCCESS, Json, RefusedError, Verdict, answer, want
from keawatch.sim.machine import Event, State
from keawatch.sim.origins import REMOTE
from keawatch.sim.service import HaService
from keawatch.sim.settings import Peer
from keawatch.sim.work import Work

Handler = Callable[[Json | None], Json | Work]

_NO_MAINTENANCE = frozenset({State.BACKUP, State.PARTNER_IN_MAINTENANCE, State.TERMINATED})


class HaCommands:
    """The HA commands of one server; without an HA service there are none."""

    def __init__(self, service: HaService) -> None:
        self._service = service

    def handlers(self) -> dict[str, Handler]:
        """Return the commands by name."""
        return {
            "ha-continue": self._checked(self._continue),
            "ha-heartbeat": self._checked(self._heartbeat),
            "ha-maintenance-cancel": self._maintenance_cancel,
            "ha-maintenance-notify": self._maintenance_notify,
            "ha-maintenance-start": self._maintenance_start,
            "ha-reset": self._checked(self._reset),
            "ha-scopes": self._scopes,
            "ha-sync": self._sync,
            "ha-sync-complete-notify": self._sync_complete,
        }

    def _checked(self, handler: Callable[[], Json]) -> Handler:
        def handle(arguments: Json | None) -> Json:
            self._service.check_name(arguments)
            return handler()

        return handle

    def _heartbeat(self) -> Json:
        return answer(SUCCESS, "HA peer status returned.", self._service.heartbeat_answer())

    def _continue(self) -> Json:
        machine = self._service.machine
        if not machine.paused:
            return answer(SUCCESS, "HA state machine is not paused.")
        machine.paused = False
        return answer(SUCCESS, "HA state machine continues.")

    def _reset(self) -> Json:
        machine = self._service.machine
        if machine.state is State.WAITING:
            return answer(SUCCESS, "HA state machine already in WAITING state.")
        machine.move(State.WAITING)
        self._service.run(Event.NOP)
        return answer(SUCCESS, "HA state machine reset.")

    def _scopes(self, arguments: Json | None) -> Json:
        if arguments is None:
            raise RefusedError("arguments not found in the 'ha-scopes' command")
        if "scopes" not in arguments:
            raise RefusedError("'scopes' is mandatory for the 'ha-scopes' command")
        names = want(arguments, "scopes", list, "'scopes' must be a list in the 'ha-scopes' command")
        if not all(isinstance(name, str) for name in names):
            raise RefusedError("scope name must be a string in the 'scopes' argument")
        self._service.check_name(arguments)
        self._service.scopes.choose(names)
        self._service.adjust()
        return answer(SUCCESS, "New HA scopes configured.")

    # --- ha-sync

    def _sync(self, arguments: Json | None) -> Json | Work:
        if arguments is None:
            raise RefusedError("arguments not found in the 'ha-sync' command")
        if "server-name" not in arguments:
            raise RefusedError("'server-name' is mandatory for the 'ha-sync' command")
        name = want(arguments, "server-name", str, "'server-name' must be a string in the 'ha-sync' command")
        period = arguments.get("max-period", 0)
        if not isinstance(period, int) or ("max-period" in arguments and period <= 0):
            raise RefusedError("'max-period' must be a positive integer in the 'ha-sync' command")
        self._service.check_name(arguments)
        return self._synchronize(self._peer(name), period)

    def _peer(self, name: str) -> Peer:
        settings = self._service.relationship
        peer = next((peer for peer in settings.peers if peer.name == name), None)
        if peer is None:
            # Before 2.5.5 nothing catches this: the command gets no reply at all.
            raise BrokenReplyError
        if peer is settings.this and self._service.profile.has_server_name:
            raise RefusedError(f"'{name}' points to local server but should point to a partner")
        return peer

    def _synchronize(self, peer: Peer, period: int) -> Work:
        error = yield from self._service.synchronize(peer, period)
        return answer(ERROR if error else SUCCESS, error or "Lease database synchronization complete.")

    def _sync_complete(self, arguments: Json | None) -> Json:
        self._service.check_name(arguments)
        told = {"origin": REMOTE + 1, **(arguments or {})}
        # Without an origin Kea takes 2001, which is not the 2000 that a dhcp-disable of "ha-partner" has set.
        self._service.note_sync(told.get("origin-id") or told["origin"])
        return answer(SUCCESS, "Server successfully notified about the synchronization completion.")

    # --- maintenance

    def _maintenance_notify(self, arguments: Json | None) -> Json:
        if not self._service.profile.has_server_name and not isinstance((arguments or {}).get("cancel"), bool):
            # Before 2.5.5 nothing catches this: the command gets no reply at all.
            raise BrokenReplyError
        if not arguments:
            wrong = "no arguments specified" if arguments is None else "'arguments' is empty"
            raise RefusedError(f"invalid command 'ha-maintenance-notify': {wrong}")
        if "cancel" not in arguments:
            raise RefusedError("'cancel' is mandatory for the 'ha-maintenance-notify' command")
        cancel = want(arguments, "cancel", bool, "'cancel' must be a boolean in the 'ha-maintenance-notify' command")
        self._service.check_name(arguments)
        return self._end_maintenance(arguments) if cancel else self._go_in_maintenance()

    def _go_in_maintenance(self) -> Json:
        machine = self._service.machine
        if machine.state in _NO_MAINTENANCE:
            text = f"Unable to transition the server from the {machine.state} to in-maintenance state."
            return answer(MAINTENANCE_REFUSED, text)
        machine.move(State.IN_MAINTENANCE)
        self._service.run(Event.MAINTENANCE_NOTIFY)
        return answer(SUCCESS, "Server is in-maintenance state.")

    def _end_maintenance(self, arguments: Json) -> Json:
        service, machine = self._service, self._service.machine
        if machine.state is not State.IN_MAINTENANCE:
            raise RefusedError("Unable to cancel the maintenance for the server not in the in-maintenance state.")
        tells = service.profile.cancel_tells_state
        if tells:
            service.memory.hear_state(arguments.get("state", "unavailable"))
        machine.post(Event.MAINTENANCE_CANCEL)
        machine.move(self._state_before(State.IN_MAINTENANCE))
        service.run(Event.NOP)
        told = {"state": str(machine.state)} if tells else None
        return answer(SUCCESS, "Server maintenance canceled.", told)

    def _state_before(self, present: State) -> State:
        previous = self._service.machine.previous
        if previous is None or (self._service.profile.cancel_tells_state and previous is present):
            return State.WAITING
        return previous

    def _maintenance_start(self, _: Json | None) -> Json | Work:
        state = self._service.state
        if state in _NO_MAINTENANCE or state is State.IN_MAINTENANCE:
            raise RefusedError(f"Unable to transition the server from the {state} to partner-in-maintenance state.")
        return self._start_maintenance()

    def _notify(self, state: State, *, cancel: bool) -> Work:
        service = self._service
        arguments: Json = {"cancel": cancel}
        if service.profile.has_server_name:
            arguments["server-name"] = service.relationship.this.name
        if service.profile.cancel_tells_state:
            arguments["state"] = str(state)
        return (yield from service.ask(service.relationship.partner, "ha-maintenance-notify", arguments))

    def _start_maintenance(self) -> Work:
        service = self._service
        verdict: Verdict = yield from self._notify(service.state, cancel=False)
        if verdict.broken or verdict.result == ERROR:
            self._become(State.PARTNER_DOWN, Event.MAINTENANCE_START)
            text = "Server is now in the partner-down state as its partner appears to be offline for maintenance."
            return answer(SUCCESS, text)
        if not verdict.error:
            self._become(State.PARTNER_IN_MAINTENANCE, Event.MAINTENANCE_START)
            text = (
                "Server is now in the partner-in-maintenance state and its partner is in-maintenance state. The partner"
                " can be now safely shut down."
            )
            return answer(SUCCESS, text)
        text = (
            "Unable to transition to the partner-in-maintenance state. The partner server responded with the following"
            f" message to the ha-maintenance-notify command: {verdict.error}."
        )
        return answer(ERROR, text)

    def _become(self, state: State, event: Event) -> None:
        machine = self._service.machine
        machine.post(event)
        machine.move(state)
        self._service.run(Event.NOP)

    def _maintenance_cancel(self, _: Json | None) -> Json | Work:
        if self._service.state is not State.PARTNER_IN_MAINTENANCE:
            raise RefusedError(
                "Unable to cancel maintenance request because the server is not in the partner-in-maintenance state."
            )
        return self._cancel_maintenance()

    def _cancel_maintenance(self) -> Work:
        service = self._service
        target = self._state_before(State.PARTNER_IN_MAINTENANCE)
        verdict: Verdict = yield from self._notify(target, cancel=True)
        if verdict.error:
            text = (
                "Unable to cancel maintenance. The partner server responded with the following message to the"
                f" ha-maintenance-notify command: {verdict.error}."
            )
            return answer(ERROR, text)
        if service.profile.cancel_tells_state:
            service.memory.lose()
            if isinstance(verdict.arguments, dict) and "state" in verdict.arguments:
                service.memory.hear_state(verdict.arguments["state"])
        self._become(target, Event.MAINTENANCE_CANCEL)
        return answer(SUCCESS, "Server maintenance successfully canceled.")


class BrokenReplyError(Exception):
    """The server answers nothing that is a reply."""
