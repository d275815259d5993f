"""Builds Kea's answers and reads them as a partner does."""

from dataclasses import dataclass
from typing import Any

from keawatch.errors import KeawatchError
from keawatch.sim.profile import Profile

Json = dict[str, Any]

SUCCESS, ERROR, UNSUPPORTED, EMPTY, CONFLICT = 0, 1, 2, 3, 4
MAINTENANCE_REFUSED = 1001
REFUSED = "Connection refused"
TIMED_OUT = "Connection timed out"


class SimError(KeawatchError):
    """The simulation was asked for something that it can't do."""


class SilentError(SimError):
    """A server gave no proper answer."""


class RefusedError(Exception):
    """A command that is answered with an error."""

    def __init__(self, text: str, result: int = ERROR) -> None:
        super().__init__(text)
        self.text = text
        self.result = result


def answer(result: int, text: str | None = None, arguments: Any = None) -> Json:
    """Build an answer; empty parts are left out, as createAnswer does (command_interpreter.cc)."""
    found: Json = {"result": result}
    if text is not None:
        found["text"] = text
    if arguments is not None:
        found["arguments"] = arguments
    return found


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a server makes of its partner's answer."""

    error: str = ""
    """Empty for a success."""
    result: int = SUCCESS
    arguments: Any = None
    broken: bool = False
    """Whether no answer came at all."""

    @property
    def is_conflict(self) -> bool:
        """Tell whether the partner refused a lease update as conflicting."""
        return bool(self.error) and self.result == CONFLICT


def judge(reply: Json | str, profile: Profile) -> Verdict:
    """Read an answer, or the words for why there is none (verifyAsyncResponse, ha_service.cc)."""
    if isinstance(reply, str):
        return Verdict(reply, ERROR, broken=True)
    result, arguments = int(reply.get("result", ERROR)), reply.get("arguments")
    if result == EMPTY:
        return _judge_bulk(arguments, profile)
    if result == SUCCESS:
        return Verdict(arguments=arguments)
    text = profile.error_code_style.format(text=reply.get("text", ""), result=result)
    if result == CONFLICT and not profile.has_conflict_code:
        result = ERROR
    return Verdict(text, result, arguments)


def _judge_bulk(arguments: Any, profile: Profile) -> Verdict:
    # lease6-bulk-apply tells its failures lease by lease; a real error outweighs conflicts.
    failed = arguments.get("failed-leases", []) if isinstance(arguments, dict) else []
    if not failed or not profile.has_conflict_code:
        return Verdict(result=EMPTY, arguments=arguments)
    for wanted in (ERROR, CONFLICT):
        for lease in failed:
            if lease.get("result") == wanted:
                text = profile.error_code_style.format(text=lease.get("error-message", ""), result=wanted)
                return Verdict(text, wanted, arguments)
    return Verdict(result=EMPTY, arguments=arguments)


def want(arguments: Json | None, key: str, kind: type, sentence: str) -> Any:
    """Return an argument of the right kind, or refuse in Kea's words."""
    value = (arguments or {}).get(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RefusedError(sentence)
    return value
