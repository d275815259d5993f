"""
What is said in docs/soak.md beside the figures; written after what was measured.
"""

OPENING = """
{faults} random faults on {pairs} real pairs, one after another, for {length}, on {date}, with Kea {versions} and keawatch
{keawatch} in `auto` with nobody beside it, by `make soak` (seed {seed}). The raw results are in [soak.json](soak.json).
{beside}

Each pair holds {leases:,} leases, and as many come to it as its clients make: 20 exchanges a second from 1000 clients during each fault and until the pair was redundant again; then the clients rest until
the leases are alike and keawatch says so, a minute at most, and it is judged: by what was read off the wire, by both servers'
databases, and by how the servers stood, seen five times a second; keawatch is not asked. A fault is killing, stopping or
restarting one server or both, a link cut both ways, one way or again and again, a clock set ahead or back by 40 or 90 s, a lease
file lost or cut in half, another subnet, a storm of rejected updates, a service left switched off, maintenance, a sync that is
interrupted, or keawatch itself killed, stopped or restarted, alone or beside another. Each is taken away again by whoever
made it. Where clients waited over a second longer than a plan had announced, the same fault is played again with keawatch paused: what
Kea alone makes them wait in the same seconds is not the plan's doing. A new pair is made every eleven minutes, after such a
comparison, and when one was not redundant within 90 s. heartbeat-delay 2 s,
max-response-delay 12 s; keawatch: interval 1 s, confirm_for 2 s, grace 4 s, cooldown 5 s, watch_leases 20 s, and as many healings
as there are faults.

{redundant} of {faults} ended redundant, half of them within {median} s of the fault's end, nine of ten within {nine_tenths} s, the
last after {longest} s. Clients lost {exchanges_lost} of {sent} exchanges, nearly all while the fault lasted.
{silently_lost} leases were lost; beside these, {lost_to_another} addresses were given to two clients, by two servers that did
not hear each other or that share one pool in load-balancing, and one of both lost its record. keawatch carried
out {plans} plans; {wrong} times something about one was wrong, and {untrue} times its last word was not so.
"""

SAYS = """
Nothing: no healing was given up, and nobody had to do anything. A clock that was set back by 90 s makes Kea's own timers late by as
much, which is where the longest waits come from.
"""

ALONE = """
Clients waited longer than these plans had announced. The same fault was then played again at once with keawatch paused, twice at
most, and in one of these plays they waited as long in the same seconds of it: the fault made them wait, not the plan.
"""

EXPLAINED_SEED = 4117
"""Of which run the following is said."""

EXPLAINED: dict[int, str] = {}
"""Of faults by number, where something was not as it should be: why, and what was done about it."""
