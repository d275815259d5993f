"""
Says of each fault what keawatch does about it and why; written after what was measured, and to be read beside it.
"""

SAYS = {
    "standby-killed": (
        "keawatch tells that the partner is down and lets Kea bring the standby back; once that has synced, it ends the pause "
        "in which the primary, switched off for the sync, waits for its next heartbeat, and then compares the leases. In "
        "load-balancing it leaves that pause to Kea: the secondary serves from the same pools at once, and would give out again what "
        "it has not heard of."
    ),
    "primary-killed": (
        "keawatch tells, and changes nothing while Kea fails over and back: the only server that serves is never touched. "
        "Afterwards it compares the leases."
    ),
    "standby-frozen": (
        "keawatch can't see a server that hangs, and what it can't see freezes it; it goes on when the server answers again."
    ),
    "primary-frozen": (
        "keawatch can't see a server that hangs, and what it can't see freezes it; the standby takes over by itself, and when "
        "the primary runs on, the leases are compared."
    ),
    "both-killed": (
        "keawatch waits, since no command makes two servers start faster than they do by themselves, and compares the leases "
        "when both are at work."
    ),
    "cut": (
        "keawatch tells that both serve and touches neither, since stopping one is a person's choice. When both are at work "
        "again it makes what Kea's sync left apart alike by the primary's word; of an address that both gave away, one client "
        "loses its record, where Kea alone keeps both, one on each server. With 2.6 both servers synced from each other, Kea "
        "itself kept the standby's later leases, and keawatch, which had counted before, named the wrong client. With 3.0 some "
        "of the primary's records that stayed are of clients that never got an ACK, which keawatch can't know."
    ),
    "flapping": (
        "keawatch tells that they do not hear each other; no command mends a link. It mends the leases that were lost until "
        "its one comparison. An update that fails while both are in hot-standby raises no counter of Kea's, so what was lost "
        "after that waits for the next count of leases (watch_leases, 60 s), and until then keawatch says OK though it is not "
        "so: half a minute after the link was mended it had not found it."
    ),
    "clock-40": "keawatch warns above 30 s, before Kea terminates at 60 s, and does nothing: a clock is not its to set.",
    "clock-90": (
        "keawatch waits until the clocks agree, since a pair healed earlier would terminate again, and then heals with the "
        "least pause that the servers allow."
    ),
    "subnets": (
        "keawatch names the subnets that differ and holds back, since each update would be rejected again; once they are "
        "alike it heals. The reload that mends them takes the standby to waiting, where it stood still with Kea alone."
    ),
    "busy": "Clocks and subnets agree, so nothing would kill the pair again at once: keawatch heals.",
    "leases-lost": "The standby syncs by itself when it starts; keawatch lets it, and compares the databases after.",
    "late-primary": (
        "Kea calls the pair healthy though the standby lacks what the primary had; keawatch compares after every rejoin and "
        "writes the standby what it lacks."
    ),
    "disabled-1000": (
        "keawatch switches the server on again, clearing exactly the origin that was left, once it has been seen so for long "
        "enough that it is no sync of Kea's own; with Kea alone nobody was served for as long as it was looked at."
    ),
    "disabled-2000": "The same as with origin 1000.",
    "maintenance": "keawatch tells and leaves it alone: a person ordered it.",
    "keawatch-killed": (
        "keawatch takes the plan up from its journal at its next start; until then both servers are left as members of the "
        "pair, and clients are served. (Seconds count from that start, 3 s after its death.)"
    ),
    "wrong-name": (
        "Kea does not start under the name of its partner, whose address it can't bind: to keawatch that is a server that is "
        "down, and it tells so. With the right name it is a standby that comes back, as above."
    ),
    "mixed": "The same as with two servers of one version.",
}
