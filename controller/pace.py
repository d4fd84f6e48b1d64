# SPDX-License-Identifier: Apache-2.0
"""How often agents speak and how they come back, by the number of hosts. Pure.

One core hears some hundred heartbeats a second beside its other work, and takes some hundred
handshakes: what is right for ten hosts would keep it busy with ten thousand.
"""

from __future__ import annotations

LEAST_HEARTBEAT_SECONDS, MOST_HEARTBEAT_SECONDS = 15, 60
BEATS_PER_SECOND = 150
ARRIVALS_PER_SECOND = 600
MOST_SPREAD_MS = 60_000


def heartbeat_seconds(hosts: int) -> int:
    """Between two heartbeats of one agent."""
    return min(MOST_HEARTBEAT_SECONDS, max(LEAST_HEARTBEAT_SECONDS, hosts // BEATS_PER_SECOND))


def silent_seconds(hosts: int) -> float:
    """After which a stream of which nothing is heard is none: some beats may be late or lost."""
    return 4.0 * heartbeat_seconds(hosts)


def spread_ms(hosts: int) -> int:
    """Within which agents come back, at random, when a stream has broken."""
    return min(MOST_SPREAD_MS, hosts * 1000 // ARRIVALS_PER_SECOND)
