# SPDX-License-Identifier: Apache-2.0
"""Which metric each of the datapath's outcomes is: names and labels as operators meet them.

A table and nothing else, so that a new outcome cannot be forgotten: a test walks it. Labels are
from closed sets; none is an address, a pid, an identity or a host.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.abi import Outcome
from agent.core.model import Direction, Reason, Verdict


@dataclass(frozen=True, slots=True)
class Name:
    """A counter without its `_total`, and at most one label of it."""

    metric: str
    label: str = ""
    value: str = ""


TAGS = "cordon_tags"
EVENTS_LOST = "cordon_events_lost"
MAP_ERRORS = "cordon_bpf_map_errors"
STAGED = "cordon_staged_verdicts"

OUTCOME_NAMES = {
    Outcome.TAG_WRITTEN: Name(TAGS, "result", "written"),
    Outcome.TAG_NO_ROOM: Name(TAGS, "result", "no_room"),
    Outcome.TAG_NO_KEY: Name(TAGS, "result", "no_key"),
    Outcome.TAG_VERIFIED: Name(TAGS, "result", "verified"),
    Outcome.TAG_ABSENT: Name(TAGS, "result", "absent"),
    Outcome.TAG_STORE_FAILED: Name(TAGS, "result", "store_failed"),
    Outcome.SYNACK_TAG_MISSED: Name(TAGS, "result", "synack_missed"),
    Outcome.TAG_FORGOTTEN: Name(TAGS, "result", "forgotten"),
    Outcome.SOCKET_UNTAGGED: Name("cordon_sockets_untagged"),
    Outcome.PROCESS_MAP_FULL: Name(MAP_ERRORS, "map", "processes"),
    Outcome.HANDSHAKE_LOST: Name(MAP_ERRORS, "map", "handshakes"),
    Outcome.PROCESS_EVENT_LOST: Name(EVENTS_LOST, "kind", "process"),
    Outcome.FLOW_EVENT_LOST: Name(EVENTS_LOST, "kind", "flow"),
    Outcome.FLOW_EVENT_SUPPRESSED: Name("cordon_flow_events_suppressed"),
    Outcome.HELD: Name("cordon_packets_held"),
    Outcome.HOLD_EXPIRED: Name("cordon_holds_expired"),
    Outcome.REJUDGED: Name("cordon_connections_rejudged"),
    Outcome.STAGED_ALLOW: Name(STAGED, "action", "allow"),
    Outcome.STAGED_DENY: Name(STAGED, "action", "deny"),
}

HELP = {
    TAGS: "Identity tags of handshakes by what became of them.",
    EVENTS_LOST: "Events that found their ring buffer full; verdicts do not depend on them.",
    MAP_ERRORS: "Entries that found no place in a kernel map.",
    STAGED: "Judgements on which a staged rule would have decided otherwise.",
    "cordon_sockets_untagged": "Sockets that could not be given their process's identity.",
    "cordon_flow_events_suppressed": "Refusals beyond the rate at which they are reported one by "
    "one.",
    "cordon_packets_held": "Packets of processes not yet attested that had to come again.",
    "cordon_holds_expired": "Processes not attested within the hold limit, which count as host.",
    "cordon_connections_rejudged": "Live connections judged again, as policy had changed.",
    "cordon_outcomes": "Outcomes that this agent has no name for: its datapath is newer.",
}

_FAILED_TAGS = (
    Reason.TAG_FORGED,
    Reason.TAG_MALFORMED,
    Reason.TAG_REPLAYED,
    Reason.TAG_EPOCH,
    Reason.TAG_HOST,
    Reason.TAG_IDENTITY,
)
SHOWN_AT_ZERO = tuple(
    (direction, Verdict.REFUSE, reason)
    for direction in Direction
    for reason in (Reason.NO_RULE, Reason.RULE_DENY, *_FAILED_TAGS)
)
"""What alerts ask about is there from the first scrape on, so that its first increase is seen."""
