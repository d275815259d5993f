"""
What is said in docs/soak.md beside the figures; written after what was measured.
"""

OPENING = """
{faults} random faults on {pairs} real pairs, one after another, for {length}, on {date}, with Kea {versions} and keawatch
{keawatch} in `auto` with nobody beside it, by `make soak` (seeds {seeds}). The raw results are in [soak.json](soak.json).
{broken}

20 exchanges a second from 1000 clients during each fault and until the pair was redundant again; then the clients rest until
the leases are alike and keawatch says so, a minute at most, and it is judged: by what was read off the wire, by both servers'
databases, and by how the servers stood, seen five times a second; keawatch is not asked. A fault is killing, stopping or
restarting one server or both, a link cut both ways, one way or again and again, a clock set ahead or back by 40 or 90 s, a lease
file lost or cut in half, another subnet, a storm of rejected updates, a service left switched off, maintenance, a sync that is
interrupted, or keawatch itself killed, stopped or restarted, alone or beside another. Each is taken away again by whoever
made it. A new pair is made every eleven minutes, and when one was not redundant within 90 s. heartbeat-delay 2 s,
max-response-delay 12 s; keawatch: interval 1 s, confirm_for 2 s, grace 4 s, cooldown 5 s, watch_leases 20 s, and as many healings
as there are faults. The two cores did other work as well for the first seventy minutes (load 10 to 40), so that a second there
was a long one.

{redundant} of {faults} ended redundant, half of them within {median} s of the fault's end, nine of ten within {nine_tenths} s, the
last after {longest} s. Clients lost {exchanges_lost} of {sent} exchanges, nearly all while the fault lasted.
{silently_lost} leases were lost; beside these, {lost_to_another} addresses were given to two clients, by two servers that did
not hear each other or that share one pool in load-balancing, and one of both lost its record. keawatch carried
out {plans} plans; {wrong} times something about one was wrong, and {untrue} times its last word was not so.
"""

SAYS = """
{bad} of {faults}, each with why. What else the soak showed and no line below tells: keawatch said OK beside a standby that
another origin held off (faults 5, 7 and 24; mended since, with a test: `SERVICE_LEFT_DISABLED`); and with Kea 2.6 in
DHCPv6 another subnet on the standby makes each update fail without ever terminating the pair, so that nobody is served for
as long as it lasts (fault 101): keawatch said PEER_LINK_BROKEN there, and names the cause since (`CONFLICTS_SUBNET`, played
again). 72 of the {lost_to_another} addresses with two clients came after keawatch's own `seamless` in load-balancing (faults 30, 38 and
85), mended since. Of fault 85 (clock-90, Kea 3.0) no line below tells, as it
ended as it should; its logs were not kept. keawatch named none of its 28, as it names what two terminated servers gave apart; so
they were most likely given twice as in fault 30: leased by the primary behind keawatch's catch-up, leased again by the
secondary, and replaced by its lease updates in both databases. A clock that was set back by 90 s makes Kea's own timers late by as much, which is where the longest waits come from.
"""

EXPLAINED_SEEDS = "2026 and 2027"
"""Of which run the following is said."""

EXPLAINED: dict[int, str] = {
    14: (
        "Kea fell back into maintenance: the server that was told to end it heard in a heartbeat that its partner was still in "
        "maintenance, and returned to it. A second ha-maintenance-cancel helps; the soak sends it since."
    ),
    30: (
        "A defect of keawatch, mended since: after seamless the secondary served from the shared pool before it had every lease, and "
        "gave out 43 addresses again. It is kept quiet until they are alike now."
    ),
    35: (
        "Both servers lease from one pool: updates that cross leave each with its own client's record. The counts agree, so "
        "keawatch found it at its next comparison (fault 36), and mended it."
    ),
    38: "As 30, with one address; clients of the secondary waited for its return.",
}
"""Of faults by number, where something was not as it should be: why, and what was done about it."""
