# SPDX-License-Identifier: Apache-2.0
"""The names of what the agent logs: stable, for scripts, alerts and the journal's fields.

A message is for people and may be worded better tomorrow; its event's name stays. `docs/logs.md`
says what each means; a test holds this table, that page and the sources together.
"""

from __future__ import annotations

import re

EVENTS = {
    "state": "state",
    "stopping, enforcement goes on": "stopping",
    "cannot load the datapath": "load_failed",
    "loaded": "loaded",
    "cannot attach the datapath": "attach_failed",
    "attached": "attached",
    "the policy cache is not usable, ignoring": "cache_refused",
    "cannot write the policy cache, ignoring": "cache_not_written",
    "snapshot refused, the last good one stays": "snapshot_refused",
    "no snapshot file, waiting for one": "snapshot_missing",
    "policy in force": "policy_in_force",
    "policy not applied, what was in force stays": "policy_not_applied",
    "identity conflict": "identity_conflict",
    "cannot attest a process, it counts as host": "attestation_failed",
    "cannot look at processes, will retry at the next tick": "processes_not_read",
    "cannot serve metrics, ignoring": "metrics_not_served",
    "metrics can be read, or their password overheard, by the network: set "
    "metrics_users, metrics_certificate and metrics_key": "metrics_exposed",
    "cannot ask the scheduler for short turns, ignoring": "turns_not_short",
    "questions were lost, walking": "reports_lost",
    "sockets adopted": "sockets_adopted",
    "services older than the agent answer without proof of who they are until they are "
    "restarted, ignoring": "listeners_not_marked",
    "the grace of adopted connections is over, they are judged": "adoption_ended",
    "enforcement was tampered with, putting it back": "tampered",
    "enforcement is back": "repaired",
    "enforcement cannot be put back, will retry at the next check": "not_repaired",
    "cannot look whether enforcement stands, will retry at the next check": "not_looked",
    "enforcement can be looked at again": "looked_again",
    "suspended by an administrator, all traffic passes": "suspended",
    "resumed by an administrator": "resumed",
    "uninstalled by an administrator, all traffic passes": "uninstalled",
    "in sync": "in_sync",
    "policy confirmed": "policy_confirmed",
    "no controller is heard, policy stays and enforcement goes on": "controller_lost",
    "no controller is heard under the new policy, taking it back": "policy_taken_back",
    "refused what the controller sent, what was in force stays": "update_refused",
    "certificate renewed": "certificate_renewed",
    "the certificate could not be renewed, will retry in a minute": "certificate_not_renewed",
    "cannot write the host's identity, ignoring": "identity_not_written",
    "a set of policy keys was refused, ignoring": "key_set_refused",
    "the controller refuses flow records, they are lost, ignoring": "flows_refused",
    "unexpected, the agent ends and enforcement goes on": "crash",
    "a failpoint is armed, this agent is under test": "failpoint_armed",
    "told": "debug_event",
    "wish": "debug_command",
}
"""Message -> name."""


def event_name(message: str) -> str:
    """Of a message without a name its words, so that every line has one."""
    return EVENTS.get(message) or re.sub(r"[^a-z0-9]+", "_", message.lower()).strip("_")[:64]
