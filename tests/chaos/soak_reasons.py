"""
What is said in docs/soak.md beside the figures; written after what was measured.
"""

OPENING = """
{faults} random faults on {pairs} real pairs, one after another, for {length}, on {date}, with Kea {versions} and keawatch
{keawatch} in `auto` with nobody beside it, by `make soak` (seed {seed}). The raw results are in [soak.json](soak.json).
{beside}

20 exchanges a second from 1000 clients during each fault and until the pair was redundant again; then the clients rest until
the leases are alike and keawatch says so, a minute at most, and it is judged: by what was read off the wire, by both servers'
databases, and by how the servers stood, seen five times a second; keawatch is not asked. A fault is killing, stopping or
restarting one server or both, a link cut both ways, one way or again and again, a clock set ahead or back by 40 or 90 s, a lease
file lost or cut in half, another subnet, a storm of rejected updates, a service left switched off, maintenance, a sync that is
interrupted, or keawatch itself killed, stopped or restarted, alone or beside another. Each is taken away again by whoever
made it. A new pair is made every eleven minutes, and when one was not redundant within 90 s. heartbeat-delay 2 s,
max-response-delay 12 s; keawatch: interval 1 s, confirm_for 2 s, grace 4 s, cooldown 5 s, watch_leases 20 s, and as many healings
as there are faults.

{redundant} of {faults} ended redundant, half of them within {median} s of the fault's end, nine of ten within {nine_tenths} s, the
last after {longest} s. Clients lost {exchanges_lost} of {sent} exchanges, nearly all while the fault lasted.
{silently_lost} leases were lost; beside these, {lost_to_another} addresses were given to two clients, by two servers that did
not hear each other or that share one pool in load-balancing, and one of both lost its record. keawatch carried
out {plans} plans; {wrong} times something about one was wrong, and {untrue} times its last word was not so.
"""

SAYS = """
{bad} of {faults}, each with why. On both DHCPv6 pairs another subnet on the standby made each reconcile fail, and the breaker stayed
open when that was over (faults 86 and 131): mended since, and played again (the same subnets, then three cuts, after each of which
the leases were mended by themselves). A clock that was set back by 90 s makes Kea's own timers late by as much, which is where the longest
waits come from.
"""

EXPLAINED_SEED = 2611
"""Of which run the following is said."""

_CANCELLED = (
    "Before Kea 3.0 ha-maintenance-cancel does not last while clients ask (docs/kea.md): all five fell back. keawatch leaves maintenance "
    "to who ordered it; its sentence says since then that a restart of the resting server ends it, and the soak does that since."
)
_HELD = (
    "A defect of keawatch, mended since: reconciles that had failed while the subnets differed (fault {}) kept the breaker open though "
    "the leases had been alike since, so that it waited for a person."
)
_FLAPPED = (
    "The link was going, and the standby's updates with it, when the reconcile was at work; who waited did so for the link. Since then "
    "none is begun while a server does not hear its partner."
)
_CAP = "As it should be: {}. That is more than reconcile_cap (5 % of these small databases), so it is said, and a person decides."

EXPLAINED: dict[int, str] = {
    13: _CAP.format(
        "the primary's clock had been 90 s ahead (fault 12), so 108 leases that it renewed while the standby was down look older than the "
        "standby's"
    ),
    19: _CANCELLED,
    71: _FLAPPED,
    86: _HELD.format(83),
    105: _CANCELLED,
    119: _CAP.format("the secondary alone had given out 85 leases while both were terminated"),
    120: "The same 85 as in fault 119.",
    121: "The same 85 as in fault 119.",
    131: _HELD.format(122),
    132: _CANCELLED,
    159: _FLAPPED,
    169: _FLAPPED,
    172: (
        "One address of 66 with two clients was not yet mended at the end: keawatch named 65, and mended the last one at its next comparison."
    ),
    179: (
        "One exchange was lost, and answers came up to 0.4 s late, while the two cores had three other things to do (load 6): the leases "
        "were compared beside that."
    ),
    197: _CANCELLED,
}
"""Of faults by number, where something was not as it should be: why, and what was done about it."""
