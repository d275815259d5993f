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
    "standby-loop": "keawatch tells, and leaves a server that starts and ends to Kea and to whoever looks after it.",
    "primary-loop": (
        "keawatch tells, and changes nothing: each start is followed by a sync, and what ends before it is done is no fault of "
        "HA. Clients wait while the primary starts, since the standby never gives it up in so short a time."
    ),
    "paused": (
        "As a host of virtual machines has it that pauses all three. keawatch sees that its own clock has jumped, begins its "
        "histories anew, and acts on nothing that it saw before."
    ),
    "cut": (
        "keawatch tells that both serve and touches neither, since stopping one is a person's choice, and writes no leases while one does not "
        "hear the other. (Up to d5e4433 it did in the seconds before both served: the standby then knew what the primary had leased and told "
        "no client, and went on from the same address as the primary. With 2.6, 46, 38 and 49 addresses were given to two clients that way in "
        "three plays that are not kept here; mended since, with a test.) When both are at work again it makes what Kea's sync left apart alike "
        "by the primary's word, and names for each address that both gave away who keeps it. What both gave away after keawatch's last look "
        "during the split Kea's own sync may settle without a trace. Where more than reconcile_cap (5 %) would be overwritten it stops, says "
        "so, and waits for a person."
    ),
    "one-way": (
        "keawatch tells who can't reach whom. Kea itself is at odds here: a primary whose updates fail waits for its partner, "
        "which hears it and so never takes over; what was lost in the meantime is mended when the link is."
    ),
    "flapping": (
        "keawatch tells that they do not hear each other; no command mends a link. A link that failed for a moment calls for a "
        "comparison, and what was lost is mended each time. In load-balancing with one pool for both servers each gives "
        "away what the other gave, and that is soon more than reconcile_cap."
    ),
    "slow-line": (
        "0.3 s each way, by a relay of frames in the place of netem. Each lease update takes 0.6 s and a lost frame a second "
        "more, so many clients give up, and of five seconds four pass without an ACK, with keawatch and without. Which frames are lost is "
        "chance, so that the exchanges differ by a hundred and more from one play to the next. keawatch tells, and mends "
        "what was lost by reconciles, which switch nothing off: beside that line leases change faster than they are mended, so a plan that "
        "is begun there gives up, and is repeated when the line is good. What clients waited during it the clients of Kea alone waited in "
        "the same seconds, so it is not counted as the plan's."
    ),
    "clock-40": "keawatch warns above 30 s, before Kea terminates at 60 s, and does nothing: a clock is not its to set.",
    "clock-back-40": (
        "As ahead. Kea's own timers run by that clock (boost::asio's deadline_timer): a server whose clock was set back sends no "
        "heartbeat for as long as it was set back, and when the clock is right again it believes that it has not heard its "
        "partner. keawatch says PEER_LINK_BROKEN, which is what that server sees; it ends with the late heartbeat."
    ),
    "clock-90": (
        "keawatch waits until the clocks agree, since a pair healed earlier would terminate again, and then heals with the "
        "least pause that the servers allow. In load-balancing two terminated servers lease from one pool and give the same "
        "addresses away; what is more than reconcile_cap of that waits for a person, with 5 % and 1000 clients as here at once."
    ),
    "clock-back-90": (
        "As ahead, but for Kea's timers (see above): the server that was set back hears of its partner's end only up to 90 s later, "
        "and until then one is terminated beside one at work."
    ),
    "clock-90-primary": "The same as with the standby's clock.",
    "silent-ports": (
        "pfSense sets net.inet.tcp.blackhole, so that a port on which nobody listens answers nothing, and each of Kea's requests to it "
        "takes ten seconds. keawatch heals as anywhere: the standby keeps its port, and refuses by name what the primary orders."
    ),
    "silent-ports-standby": (
        "As where closed ports answer: keawatch tells that the partner is down, lets Kea bring it back, ends the pause after its sync, and "
        "compares the leases."
    ),
    "silent-ports-primary": (
        "As where closed ports answer: the only server that serves is never touched, and the leases are compared afterwards."
    ),
    "terminated-long": (
        "From Kea 2.6 on a reset bounces when the partner has been seen terminated for ten minutes. keawatch, which was stopped "
        "all that time, makes both forget first."
    ),
    "subnets": (
        "keawatch names the subnets that differ and holds back, since each update would be rejected again; once they are "
        "alike it heals. The reload that mends them takes the standby to waiting, where it stood still with Kea alone."
    ),
    "busy": (
        "Clocks and subnets agree, so nothing would kill the pair again at once: keawatch heals. In load-balancing two terminated servers "
        "lease from one pool and give the same addresses away, so the sooner it heals the fewer there are, and it names who keeps each. (Up to "
        "9e6778a it told nothing of those that a step of the healing had overwritten before leases were compared: 25 of 25 in a play that "
        "is not kept here; mended since, with a test.)"
    ),
    "leases-lost": "The standby syncs by itself when it starts; keawatch lets it, and compares the databases after.",
    "primary-leases-lost": (
        "The primary syncs by itself when it starts, from the standby that has its leases, and nobody is served meanwhile; keawatch "
        "lets it, and compares the databases after."
    ),
    "leases-truncated": "Kea reads what is left, skips the line that is cut, and syncs; keawatch compares the databases after.",
    "primary-leases-truncated": "The same, and nobody is served while the primary syncs.",
    "late-primary": (
        "Kea calls the pair healthy though the standby lacks what the primary had; keawatch compares after every rejoin and "
        "writes the standby what it lacks."
    ),
    "disabled-1000": (
        "keawatch switches the server on again, clearing exactly the origin that was left, once it has been seen so for long "
        "enough that it is no sync of Kea's own; with Kea alone nobody was served for as long as it was looked at."
    ),
    "disabled-2000": "The same as with origin 1000.",
    "sync-interrupted": (
        "Kea begins its sync again when the link is back. keawatch waits for that, ends the pause after it, and compares the leases."
    ),
    "disabled-1": (
        "keawatch tells, and does not overrule a person's dhcp-disable (guard operator-order); `keawatch heal` does, when asked. "
        "Until then nobody is served, so more exchanges are lost in the play that was looked at for longer."
    ),
    "standby-disabled": (
        "No client notices, but this standby would take over and answer nobody: Kea clears only its own origin then. keawatch tells, "
        "and clears it as it does on a primary. (It said OK here before the soak found it; mended since, with a test.)"
    ),
    "maintenance": "keawatch tells and leaves it alone: a person ordered it.",
    "keawatch-killed": (
        "keawatch takes the plan up from its journal at its next start; until then both servers are left as members of the "
        "pair, and clients are served. (Seconds count from that start, 3 s after its death.)"
    ),
    "standby-deaf": (
        "Kea starts all the same, says hot-standby, and hears no client; keawatch says DEAF with Kea's own reason. Only a restart opens "
        "the sockets again, and that is whoever's who took the port."
    ),
    "primary-deaf": (
        "Nobody is served, and to Kea's HA all is well: heartbeats go on, so the standby never takes over. keawatch says DEAF; it "
        "does not stop a primary to let the standby take over."
    ),
    "standby-disk-full": (
        "The standby can't store what it is told, so the primary's updates fail and clients wait. Kea 2.6 goes on, and when there is room "
        "again keawatch writes the standby what it lacks; it says meanwhile that the primary does not hear the standby and acknowledges "
        "nobody (PEER_LINK_BROKEN, NO_ACKS), and, where heartbeats get through, that the standby refuses the updates. Kea 3.0 ends at the "
        "first lease that it can't store; nobody started it again here, and keawatch says PARTNER_DOWN."
    ),
    "primary-disk-full": (
        "Kea 2.6 refuses every client whose lease it can't store, and its HA state stays hot-standby, so the standby never takes over. "
        "keawatch sees by the packet counters that it refuses whom it has just offered an address and acknowledges nobody, and "
        "says so (NO_ACKS); it stops no server. With room again Kea goes on. Kea 3.0 ends at the first such lease, and the "
        "standby takes over; nobody started it again here."
    ),
    "keawatch-frozen": (
        "Stopped in the middle of a plan, keawatch leaves a primary that serves and a standby that is on its way; it goes on when it runs "
        "on, after looking again."
    ),
    "journal-full": (
        "keawatch says that its journal can't be written and does nothing without it; a second after there is room it heals."
    ),
    "http-garbage": (
        "To keawatch a server whose answers are not Kea's is one that does not answer, and beside it nothing is done. When answers are "
        "right again it heals, as above."
    ),
    "http-slow": "The same: an answer has to be whole within poll_timeout.",
    "http-never": "The same.",
    "certificate": (
        "keawatch tells that it can't reach the server, with the reason, and changes nothing; Kea itself works on. The standby was "
        "restarted with a good certificate."
    ),
    "two": (
        "Both begin to heal the pair at about the same moment; each looks at the state before each step, so that one of the two "
        "finds what it did not expect and gives up."
    ),
    "wrong-name": (
        "Kea does not start under the name of its partner, whose address it can't bind: to keawatch that is a server that is "
        "down, and it tells so. With the right name it is a standby that comes back, as above."
    ),
    "mixed": (
        "The same as with two servers of one version, but for Kea 2.2 as the standby of a newer primary: its sync leaves that primary "
        "switched off by origin 2000 until a timer of 60 s has run out. With Kea alone nobody is served for that minute, after the first "
        "start as after this one; keawatch switches it on again."
    ),
}
