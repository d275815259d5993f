"""
Runs what a Kea process does, step by step: one thing after another on its main thread, others beside it.

A job is a generator that yields whenever it has to wait; what it waits for is sent back into it.
"""

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from keawatch.sim.agenda import Agenda, Clock, Entry
from keawatch.sim.answers import Json


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ask:
    """Wait for the partner's answer, at most so many seconds; it comes back as a map, or as words why there is none."""

    url: str
    command: str
    arguments: Json | None
    timeout: float = 10.0
    """TIMEOUT_DEFAULT_HTTP_CLIENT_REQUEST (timeouts.h)."""


_MOMENT = 0.001

Wait = Pause | Ask
Work = Generator[Wait, Any, Any]
Deliver = Callable[[Json | str], None]
Carry = Callable[[Ask, Deliver], None]


def _ignore(_: Any) -> None:
    pass


def _always() -> bool:
    return True


class Timer:
    """
    A timer as Kea has it: by the wall clock (interval_timer.cc, boost's deadline_timer).

    A clock that is set back makes it late by as much; one that is set forward does not make it early.
    """

    def __init__(self, agenda: Agenda, clock: Clock, seconds: float, what: Callable[[], None]) -> None:
        self._agenda = agenda
        self._clock = clock
        self._what = what
        self._due = clock.unix + seconds
        self._entry: Entry = agenda.after(seconds, self._ring)

    def cancel(self) -> None:
        """Make it not ring."""
        self._entry.cancel()

    def _ring(self) -> None:
        late = self._due - self._clock.unix
        if late > _MOMENT:
            self._entry = self._agenda.after(late, self._ring)
            return
        self._what()


class Life:
    """One life of a process, from its start to its end."""

    def __init__(self, agenda: Agenda, clock: Clock, carry: Carry) -> None:
        self._agenda = agenda
        self._clock = clock
        self._carry = carry
        self._backlog: list[Callable[[], None]] = []
        self._queue: deque[Callable[[], Work | None]] = deque()
        self._busy = False
        self.frozen = False
        self.over = False

    @property
    def busy(self) -> bool:
        """Tell whether the main thread is occupied."""
        return self._busy

    def resume(self, what: Callable[[], None]) -> None:
        """Do something now, or when the process runs again, or never if it has ended."""
        if self.over:
            return
        if self.frozen:
            self._backlog.append(what)
            return
        what()

    def thaw(self) -> None:
        """Let the process run on."""
        self.frozen = False
        backlog, self._backlog = self._backlog, []
        for what in backlog:
            self.resume(what)

    def end(self) -> None:
        """End the process; nothing that it was about to do happens."""
        self.over = True
        self._queue.clear()
        self._backlog.clear()

    def timer(self, seconds: float, what: Callable[[], Work | None]) -> "Timer":
        """Have the main thread do something in so many seconds by the server's wall clock."""
        return Timer(self._agenda, self._clock, seconds, lambda: self.resume(lambda: self.post(what)))

    def post(self, job: Callable[[], Work | None]) -> None:
        """Have the main thread do something when its turn comes."""
        self._queue.append(job)
        self._next()

    def spawn(self, job: Work, then: Callable[[Any], None] = _ignore, lives: Callable[[], bool] = _always) -> None:
        """Do something beside the main thread, as long as *lives* holds."""
        self._step(job, None, _Course(then, lives))

    def _next(self) -> None:
        while self._queue and not self._busy and not self.over:
            self._busy = True
            work = self._queue.popleft()()
            if work is None:
                self._busy = False
            else:
                self._step(work, None, _Course(self._finish, _always))

    def _finish(self, _: Any) -> None:
        self._busy = False
        self._next()

    def _step(self, work: Work, value: Any, course: "_Course") -> None:
        if not course.lives():
            work.close()
            return
        try:
            wait = work.send(value)
        except StopIteration as stop:
            course.then(stop.value)
            return
        if isinstance(wait, Pause):
            self._agenda.after(wait.seconds, lambda: self.resume(lambda: self._step(work, None, course)))
        else:
            self._carry(wait, lambda reply: self.resume(lambda: self._step(work, reply, course)))


@dataclass(frozen=True, slots=True)
class _Course:
    then: Callable[[Any], None]
    lives: Callable[[], bool]
