"""
Says in which ways one Kea release differs from another, as far as an HA pair is concerned.

Every difference was read in the release's source (the file stands beside it) and played against the real thing.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One Kea release."""

    name: str
    """Series: "2.2", "2.6" or "3.0"."""
    version: str
    """What version-get answers."""
    has_rejects: bool = True
    """Counts rejected lease updates and terminates of too many (2.3.1, communication_state.cc)."""
    has_conflict_code: bool = True
    """Answers a conflicting lease update with result 4 rather than 1 (2.3.1, lease_cmds.cc)."""
    has_config_hash: bool = True
    """Has config-hash-get, and a hash in config-get (2.4.0)."""
    has_origin_ids: bool = True
    """Tells who disabled DHCP by a number; before, one flag for everything HA (2.5.8, network_state.cc)."""
    has_server_name: bool = True
    """Names both servers in status-get, and takes server-name with HA commands (2.5.5, ha_impl.cc)."""
    has_dhcp_state: bool = True
    """Shows dhcp-state in status-get (2.6.2 and 2.7.1, ctrl_dhcp4_srv.cc)."""
    has_clock_skew: bool = False
    """Shows the clock skew in status-get (2.7.2, communication_state.cc)."""
    forgets_skew: bool = True
    """Forgets the clock skew when a request to the partner fails (2.3.7, setPartnerUnavailable)."""
    gives_up_waiting: bool = True
    """Goes from waiting back to terminated when the partner was seen terminated for 10 minutes (2.5.8)."""
    holds_until_ready: bool = True
    """Disables itself on ha-sync-complete-notify in partner-down (2.5.5, processSyncCompleteNotify)."""
    reconfigure_enables: bool = True
    """Clears the HA origins, local and remote, on every reconfiguration (2.6.2, processConfig)."""
    cancel_tells_state: bool = False
    """Tells the own state in ha-maintenance-notify, and in its answer (2.7.5)."""
    restricts_commands: bool = False
    """Default of restrict-commands (true since 3.0.0)."""
    has_http_socket: bool = False
    """Has an HTTP control socket of its own (2.7.2)."""
    has_lease_write: bool = True
    """Has lease4-write and lease6-write (2.3.1)."""
    deprecates_wipe: bool = False
    """Calls lease4-wipe and lease6-wipe deprecated (2.6 alone, lease_cmds.cc)."""
    ends_without_room: bool = False
    """Ends when a lease can't be written to the lease file, and does not go on without (3.0.4; 2.6.3 goes on)."""
    keeps_released: bool = False
    """Knows the lease states 3 (released) and 4 (registered) (2.7.0, lease_parser.cc)."""
    cache_threshold: float = 0.0
    """Default part of its lifetime in which a lease is given again from the store, unsent to the partner (3.0.0, simple_parser4.cc)."""
    error_code_style: str = "{text} (error code {result})"
    """How the partner's refusal is quoted (verifyAsyncResponse)."""


KEA_2_2 = Profile(
    name="2.2",
    version="2.2.0",
    has_rejects=False,
    has_conflict_code=False,
    has_config_hash=False,
    has_origin_ids=False,
    has_server_name=False,
    has_dhcp_state=False,
    forgets_skew=False,
    gives_up_waiting=False,
    holds_until_ready=False,
    reconfigure_enables=False,
    has_lease_write=False,
    error_code_style="{text}, error code {result}",
)
KEA_2_6 = Profile(name="2.6", version="2.6.3", deprecates_wipe=True)
KEA_3_0 = Profile(
    name="3.0",
    version="3.0.4",
    has_clock_skew=True,
    cancel_tells_state=True,
    restricts_commands=True,
    has_http_socket=True,
    ends_without_room=True,
    keeps_released=True,
    cache_threshold=0.25,
)

PROFILES = {profile.name: profile for profile in (KEA_2_2, KEA_2_6, KEA_3_0)}
