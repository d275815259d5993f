"""Keeps who has switched the DHCP service off, and until when (network_state.cc)."""

from collections.abc import Callable

from keawatch.sim.answers import Json
from keawatch.sim.profile import Profile
from keawatch.sim.work import Timer

USER, LOCAL, REMOTE, DATABASE = 1, 1000, 2000, 3000

StartTimer = Callable[[float, Callable[[], None]], Timer]


class Origins:
    """The set of those who have switched DHCP off; it runs only while the set is empty."""

    def __init__(self, profile: Profile, timer: StartTimer) -> None:
        self._profile = profile
        self._timer = timer
        self._off: set[int] = set()
        self._timers: dict[int, Timer] = {}

    @property
    def enabled(self) -> bool:
        """Tell whether DHCP runs."""
        return not self._off

    def disable(self, origin: int, seconds: float = 0) -> None:
        """Switch DHCP off, perhaps only for so many seconds."""
        origin = self._known(origin)
        if seconds:
            self._stop_timer(origin)
            self._timers[origin] = self._timer(seconds, lambda: self.enable(origin))
        self._off.add(origin)

    def enable(self, origin: int) -> None:
        """Take back one origin's switching off, with its timer."""
        origin = self._known(origin)
        self._off.discard(origin)
        self._stop_timer(origin)

    def forget_commands(self) -> None:
        """Take back all that HA switched off, timers running on (resetForLocalCommands, resetForRemoteCommands)."""
        self._off = {origin for origin in self._off if not origin >= LOCAL}

    def restart_ha(self) -> None:
        """Take back HA's switching off when the HA service is built or taken down (HAService::HAService)."""
        if self._profile.has_origin_ids:
            self.enable(LOCAL)
        else:
            self._off.discard(LOCAL)

    def describe(self) -> Json:
        """Return dhcp-state."""
        ordered = sorted(self._off)
        return {
            "disabled-by-db-connection": [origin for origin in ordered if origin >= DATABASE],
            "disabled-by-local-command": [origin for origin in ordered if LOCAL <= origin < REMOTE],
            "disabled-by-remote-command": [origin for origin in ordered if REMOTE <= origin < DATABASE],
            "disabled-by-user": USER in self._off,
            "globally-disabled": not self.enabled,
        }

    def _known(self, origin: int) -> int:
        # Before 2.5.8 local and remote are the same flag, so either clears what the other set.
        return LOCAL if origin == REMOTE and not self._profile.has_origin_ids else origin

    def _stop_timer(self, origin: int) -> None:
        timer = self._timers.pop(origin, None)
        if timer:
            timer.cancel()
