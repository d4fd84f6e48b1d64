# SPDX-License-Identifier: Apache-2.0
"""How an explanation reads: for people, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from agent.cli.output import print_json, print_line, print_table
from agent.core.model import Direction, Reason, Verdict
from controller.explain import End, Explanation
from controller.problems import Source

RESULTS = {
    "allowed": "allowed",
    "audited": "passes, but only because a segment is in audit mode: enforce would refuse it",
    "refused": "refused",
}
_REASON = {
    Reason.RULE_ALLOW: "a rule allows it",
    Reason.RULE_DENY: "a rule forbids it, whatever is allowed",
    Reason.LIFELINE: "a lifeline is always open",
    Reason.MODE_OFF: "its segment is in mode off",
    Reason.NO_RULE: "no rule allows it",
    Reason.SELF: "a workload reaches itself on its own host",
}

Sources = Mapping[int, Source]


def print_for_people(
    source: str, target: str, port: str, explanation: Explanation, sources: Sources
) -> None:
    """Answer first, then each end, then what to do."""
    print_line(f"{source} -> {target} {port}: {RESULTS[explanation.result]}")
    columns = ("end", "sees", "mode", "verdict", "because", "rule", "at")
    print_table(columns, [_row(end, sources) for end in explanation.ends])
    for note in explanation.notes:
        print_line(f"note: {note}")
    print_missing([yaml.safe_dump(dict(one), sort_keys=False) for one in explanation.missing])


def print_missing(documents: Sequence[str]) -> None:
    """The missing documents as YAML, ready to be pasted."""
    if documents:
        lines = "---\n".join(documents).splitlines()
        for line in ("", "The smallest Allow that is missing:", "", *lines):
            print_line(line)


def because(reason: str) -> str:
    """A reason by its name, as people read it."""
    try:
        return _REASON.get(Reason[reason.upper()], reason)
    except KeyError:
        return reason


def _row(end: End, sources: Sources) -> list[str]:
    direction = "egress" if end.direction is Direction.EGRESS else "ingress"
    return [
        f"{direction} at {end.host}",
        end.peer,
        end.mode.name.lower(),
        end.decision.verdict.name.lower(),
        _REASON.get(end.decision.reason, end.decision.reason.name.lower()),
        end.rule.name if end.rule else "",
        str(sources[end.rule.number]) if end.rule and end.rule.number in sources else "",
    ]


def print_as_json(
    source: str, target: str, port: str, explanation: Explanation, sources: Sources
) -> None:
    print_json(
        {
            "from": source,
            "to": target,
            "port": port,
            "result": explanation.result,
            "ends": [_end_json(end, sources) for end in explanation.ends],
            "missing": [dict(document) for document in explanation.missing],
            "notes": list(explanation.notes),
        }
    )


def _end_json(end: End, sources: Sources) -> dict[str, Any]:
    return {
        "host": end.host,
        "direction": end.direction.name.lower(),
        "peer": end.peer,
        "mode": end.mode.name.lower(),
        "verdict": end.decision.verdict.name.lower(),
        "passes": end.decision.verdict is not Verdict.REFUSE,
        "reason": end.decision.reason.name.lower(),
        "rule": _rule_json(end, sources),
    }


def _rule_json(end: End, sources: Sources) -> dict[str, Any] | None:
    if end.rule is None:
        return None
    place = sources.get(end.rule.number)
    return {
        "number": end.rule.number,
        "name": end.rule.name,
        "action": end.rule.action.name.lower(),
        "file": place.file if place else None,
        "line": place.line if place else None,
    }
