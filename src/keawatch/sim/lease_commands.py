"""Answers the lease commands of libdhcp_lease_cmds.so and libdhcp_stat_cmds.so (lease_cmds.cc, stat_cmds.cc)."""

import ipaddress
from collections.abc import Callable, Iterable

from keawatch.sim.answers import CONFLICT, EMPTY, ERROR, SUCCESS, Json, RefusedError, answer, want
from keawatch.sim.host import Host
from keawatch.sim.lease_parser import LeaseParser
from keawatch.sim.leases import Key, NoRoomError, client_of, key_of
from keawatch.sim.settings import Settings

Handler = Callable[[Json | None], Json]


class LeaseCommands:
    """The lease commands of one server under one configuration."""

    def __init__(self, host: Host, settings: Settings, is_busy: Callable[[str], bool]) -> None:
        self._host = host
        self._settings = settings
        self._is_busy = is_busy
        self._family = host.family

    def handlers(self) -> dict[str, Handler]:
        """Return the commands by name."""
        found = {name.format(self._family): handler for name, handler in self._lease_handlers().items()}
        if self._family == 6:
            found |= {"lease6-bulk-apply": self._bulk_apply, "lease6-get-by-duid": self._get_by("duid")}
        else:
            found |= {name: self._get_by(key) for name, key in _V4_SEARCHES.items()}
        if self._host.profile.has_lease_write:
            found[f"lease{self._family}-write"] = self._write
        if "stat_cmds" in self._settings.hooks:
            found[f"stat-lease{self._family}-get"] = self._stat
        return found

    def _lease_handlers(self) -> dict[str, Handler]:
        return {
            "lease{}-add": self._add,
            "lease{}-del": self._del,
            "lease{}-get": self._get,
            "lease{}-get-all": self._get_all,
            "lease{}-get-by-hostname": self._get_by("hostname"),
            "lease{}-get-page": self._get_page,
            "lease{}-update": self._update,
            "lease{}-wipe": self._wipe,
        }

    # --- reading

    def _found(self, leases: Iterable[Json], **more: int) -> Json:
        found = [dict(sorted(lease.items())) for lease in leases]
        text = f"{len(found)} IPv{self._family} lease(s) found."
        return answer(SUCCESS if found else EMPTY, text, more | {"leases": found})

    def _get_page(self, arguments: Json | None) -> Json:
        name = f"lease{self._family}-get-page"
        if not arguments:
            raise RefusedError(f"no parameters specified for the {name} command")
        if "from" not in arguments:
            raise RefusedError("'from' parameter not specified")
        start = want(arguments, "from", str, "'from' parameter must be a string")
        if "limit" not in arguments:
            raise RefusedError("'limit' parameter not specified")
        limit = want(arguments, "limit", int, "'limit' parameter must be a number")
        if limit <= 0:
            raise RefusedError("page size of retrieved leases must not be 0")
        leases = self._host.store.page(self._start(start), limit)
        return self._found(leases, count=len(leases))

    def _start(self, text: str) -> str:
        if text == "start":
            return text
        kind = f"a valid IPv{self._family} address"
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise RefusedError(f"'from' parameter value is neither 'start' keyword nor {kind}") from None
        if address.version != self._family:
            raise RefusedError(f"'from' parameter value {text} is not an IPv{self._family} address")
        return text

    def _get_all(self, arguments: Json | None) -> Json:
        if not arguments:
            return self._found(self._host.store)
        if "subnets" not in arguments:
            raise RefusedError("'subnets' parameter not specified")
        wanted = want(arguments, "subnets", list, "'subnets' parameter must be a list")
        return self._found(lease for lease in self._host.store if lease["subnet-id"] in wanted)

    def _get(self, arguments: Json | None) -> Json:
        lease = self._named(arguments)
        if not lease:
            raise RefusedError("Lease not found.", EMPTY)
        return answer(SUCCESS, f"IPv{self._family} lease found.", dict(sorted(lease.items())))

    def _get_by(self, key: str) -> Handler:
        def handle(arguments: Json | None) -> Json:
            if arguments is None:
                raise RefusedError("Command arguments missing or a not a map.")
            if key not in arguments:
                raise RefusedError(f"'{key}' parameter not specified")
            wanted = want(arguments, key, str, f"'{key}' parameter must be a string").lower()
            return self._found(lease for lease in self._host.store if str(lease.get(key, "")).lower() == wanted)

        return handle

    def _named(self, arguments: Json | None) -> Json | None:
        if arguments is None:
            raise RefusedError("Parameters missing or are not a map.")
        if "ip-address" in arguments:
            return self._host.store.get(self._key(arguments))
        if "subnet-id" not in arguments:
            raise RefusedError("Mandatory 'subnet-id' parameter missing.")
        kind, owner = arguments.get("identifier-type"), arguments.get("identifier")
        if not isinstance(kind, str) or not isinstance(owner, str):
            raise RefusedError("No 'ip-address' provided and 'identifier-type' is either missing or not a string.")
        matches = (
            lease
            for lease in self._host.store
            if lease.get(kind) == owner and lease["subnet-id"] == arguments["subnet-id"]
        )
        return next(matches, None)

    def _key(self, arguments: Json) -> Key:
        text = want(arguments, "ip-address", str, "'ip-address' is not a string.")
        kind = arguments.get("type", "IA_NA") if self._family == 6 else ""
        try:
            return key_of({"ip-address": text, "type": kind})
        except ValueError:
            raise RefusedError(f"Failed to convert string to address '{text}': Invalid argument") from None

    # --- writing

    def _parse(self, arguments: Json | None, command: str) -> Json:
        if not arguments:
            raise RefusedError(f"no parameters specified for {command} command")
        return LeaseParser(self._settings, self._host.profile, self._host.clock.unix).read(arguments)

    def _lock(self, lease: Json, verb: str) -> None:
        # The lock is only tried (ResourceHandler4::tryLock4, resource_handler.cc); whoever loses the race is refused.
        if self._is_busy(lease["ip-address"]):
            raise RefusedError(f"ResourceBusy: IP address:{lease['ip-address']} could not be {verb}.", self._conflict)

    @property
    def _conflict(self) -> int:
        return CONFLICT if self._host.profile.has_conflict_code else ERROR

    def _add(self, arguments: Json | None) -> Json:
        lease = self._parse(arguments, "the")
        self._lock(lease, "added")
        if self._host.store.get(key_of(lease)):
            raise RefusedError(f"IPv{self._family} lease already exists.", self._conflict)
        self._put(lease)
        kind = "prefix" if lease.get("type") == "IA_PD" else "address"
        length = f"/{lease.get('prefix-len', 128)}" if kind == "prefix" else ""
        text = f"Lease for {kind} {lease['ip-address']}{length}, subnet-id {lease['subnet-id']} added."
        return answer(SUCCESS, text)

    def _update(self, arguments: Json | None) -> Json:
        lease = self._parse(arguments, f"lease{self._family}-update")
        self._lock(lease, "updated")
        force = bool((arguments or {}).get("force-create", False))
        was_there = self._write_lease(lease, force=force)
        return answer(SUCCESS, f"IPv{self._family} lease {'updated' if was_there else 'added'}.")

    def _write_lease(self, lease: Json, *, force: bool) -> bool:
        was_there = self._host.store.get(key_of(lease)) is not None
        if not was_there and not force:
            text = (
                f"failed to update the lease with address {lease['ip-address']} either because the lease has been "
                "deleted or it has changed in the database, in both cases a retry might succeed"
            )
            raise RefusedError(text, self._conflict)
        self._put(lease)
        return was_there

    def _put(self, lease: Json) -> None:
        try:
            self._host.store.put(lease)
        except NoRoomError as error:
            raise RefusedError(str(error)) from None

    def _del(self, arguments: Json | None) -> Json:
        lease = self._named(arguments)
        if not lease or not self._host.store.remove(key_of(lease)):
            raise RefusedError(f"IPv{self._family} lease not found.", EMPTY)
        return answer(SUCCESS, f"IPv{self._family} lease deleted.")

    def _wipe(self, arguments: Json | None) -> Json:
        subnet = (arguments or {}).get("subnet-id")
        gone = [lease for lease in self._host.store if subnet in {None, 0, lease["subnet-id"]}]
        for lease in gone:
            self._host.store.remove(key_of(lease))
        numbers = " ".join(str(number) for number in ([subnet] if subnet else self._settings.subnets))
        # The deprecation was taken back in 3.0.
        warning = f" WARNING: lease{self._family}-wipe is deprecated!" if self._host.profile.deprecates_wipe else ""
        text = f"Deleted {len(gone)} IPv{self._family} lease(s) from subnet(s) {numbers}{warning}"
        return answer(SUCCESS if gone else EMPTY, text)

    def _write(self, arguments: Json | None) -> Json:
        name = (arguments or {}).get("filename")
        if not name:
            raise RefusedError("'filename' parameter not specified")
        return answer(SUCCESS, f"IPv{self._family} lease database into '{name}'.")

    def _bulk_apply(self, arguments: Json | None) -> Json:
        if arguments is None:
            raise RefusedError("Command arguments missing or a not a map.")
        given = arguments
        if "deleted-leases" not in given and "leases" not in given:
            raise RefusedError("neither 'deleted-leases' nor 'leases' parameter specified")
        # All leases are read before the first is written: one that can't be read refuses the whole command, with result 1.
        try:
            leases = [self._parse(lease, "the") for lease in given.get("leases", [])]
        except RefusedError as error:
            raise RefusedError(error.text) from None
        failed_deleted = [lease for lease in given.get("deleted-leases", []) if not self._bulk_delete(lease)]
        failed = [found for lease in leases if (found := self._bulk_write(lease))]
        done = len(leases) - len(failed) + len(given.get("deleted-leases", [])) - len(failed_deleted)
        lists = {
            "failed-deleted-leases": [_failure(lease, EMPTY, "lease not found") for lease in failed_deleted],
            "failed-leases": failed,
        }
        told = {name: entries for name, entries in lists.items() if entries}
        return answer(SUCCESS if done else EMPTY, f"Bulk apply of {done} IPv6 leases completed.", told or None)

    def _bulk_delete(self, lease: Json) -> bool:
        found = self._named(lease)
        return found is not None and self._host.store.remove(key_of(found))

    def _bulk_write(self, lease: Json) -> Json | None:
        try:
            self._lock(lease, "updated")
            self._write_lease(lease, force=True)
        except RefusedError as error:
            return _failure(lease, error.result, error.text)
        return None

    # --- counting

    def _stat(self, arguments: Json | None) -> Json:
        wanted = (arguments or {}).get("subnet-id")
        subnets = [subnet for subnet in self._settings.subnets.values() if wanted in {None, subnet.id}]
        store, kind = self._host.store, "addresses" if self._family == 4 else "nas"
        columns = ["subnet-id", f"total-{kind}", f"cumulative-assigned-{kind}", f"assigned-{kind}"]
        rows = [
            [one.id, one.size, store.assigned(one.id), store.assigned(one.id), store.declined(one.id)]
            for one in subnets
        ]
        stamp = self._host.clock.wall.strftime("%Y-%m-%d %H:%M:%S.%f")
        table = {"columns": [*columns, "declined-addresses"], "rows": rows, "timestamp": stamp}
        name = f"stat-lease{self._family}-get"
        which = f"subnet-id={wanted}" if wanted else "all subnets"
        return answer(SUCCESS, f"{name}[{which}]: {len(rows)} rows found", {"result-set": table})


_V4_SEARCHES = {"lease4-get-by-hw-address": "hw-address", "lease4-get-by-client-id": "client-id"}


def _failure(lease: Json, result: int, text: str) -> Json:
    found: Json = {"type": lease.get("type", "IA_NA"), "ip-address": lease.get("ip-address"), "duid": client_of(lease)}
    return found | {"result": result, "error-message": text}
