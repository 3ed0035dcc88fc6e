"""How much the keeper may do, and how long it waits. One frozen value."""

from dataclasses import dataclass

from redundancy.errors import ConfigError


@dataclass(frozen=True, slots=True)
class KeeperLimits:
    """Bounds of everything the keeper does beside playback."""

    # Of all nodes together. Half a gigabit: a node of 1 TB is made again in five hours.
    wire_bytes_per_s: float = 64e6
    jobs_at_once: int = 4
    # A node with so many requests of others is given a rest, this long at most: an orderly crawl.
    busy_requests: int = 2
    patience_s: float = 10.0
    # A chunk whose upload still sends its last fragments is left alone.
    settle_s: float = 10.0
    stuck_s: float = 60.0  # until a chunk that nobody could help is tried again
    # What readers with an older manifest may still ask for stays so long.
    drop_after_s: float = 15 * 60.0
    # What no record names may be part of an upload that was interrupted.
    orphan_after_s: float = 24 * 3600.0
    bad_every_s: float = 30.0  # reading the nodes' lists of bad fragments
    audit_every_s: float = 6 * 3600.0  # comparing all a node holds with all it should hold
    balance_every_s: float = 3600.0
    balance_pause_s: float = 60.0  # nodes that come and go do not make it look at everything
    round_every_s: float = 5.0
    lease_s: float = 10.0
    policy: str = "threshold"  # off, threshold or hybrid: for videos whose owner wished nothing
    policy_every_s: float = 3600.0
    policy_dwell_s: float = 7 * 86_400.0  # hybrid leaves a video alone so long after a change
    policy_bytes_per_day: int = 200 * 10**9  # a tenth of what ``wire_bytes_per_s`` could move

    # A job older than this is not recorded: what it made may have been collected meanwhile.
    job_s_max: float = 120.0

    def __post_init__(self) -> None:
        if self.wire_bytes_per_s <= 0 or self.jobs_at_once < 1:
            raise ConfigError("the keeper needs some bytes per second and one job at once")
        if self.orphan_after_s and self.orphan_after_s < 2 * self.job_s_max:
            raise ConfigError("a fragment is not collected while a job may still record it")
        if self.policy_bytes_per_day < 0 or self.policy_dwell_s < 0:
            raise ConfigError("a budget and a dwell are not negative")

    @property
    def told(self) -> dict[str, str | float]:
        """What an operator may want to know of them, by names with units."""
        return {
            "bytes_per_s": self.wire_bytes_per_s,
            "jobs_at_once": self.jobs_at_once,
            "busy_requests": self.busy_requests,
            "patience_s": self.patience_s,
            "policy": self.policy,
            "policy_every_s": self.policy_every_s,
            "policy_dwell_s": self.policy_dwell_s,
            "policy_bytes_per_day": self.policy_bytes_per_day,
        }
