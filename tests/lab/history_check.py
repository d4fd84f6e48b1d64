# SPDX-License-Identifier: Apache-2.0
"""The checker of a recorded run: can one moment of each host's switch to each revision explain all?

An end-state is right also where something was wrong for a moment. Here every attempt to connect is
held against every revision that was published: if there is such a moment, then revisions were
enforced in their order, none of them in part, and nothing was allowed that neither the one before
nor the one after allows. What a revision says is asked of the caller. A time-out counts as a
refusal only if the client was patient; shorter ones say nothing.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.lab.monotone import Claim, contradictions

PATIENT_SECONDS = 0.4
"""A SYN is judged within the connect that sends it; TCP itself asks again after a whole second."""
LATE_SECONDS = 5.0
"""How long after its client's end a connection may still wait to be accepted."""
OK, EPERM, TIMEOUT = "ok", "EPERM", "TIMEOUT"


@dataclass(frozen=True)
class Party:
    """workload: None for a host's own processes, and on a host without an agent."""

    host: str
    workload: str | None = None


@dataclass(frozen=True)
class Pair:
    """Who connects to whom: one lane of a load. `address` and `port` are the server's."""

    client: Party
    server: Party
    address: str
    port: int
    source: str


@dataclass(frozen=True)
class Attempt:
    pair: Pair
    source_port: int
    began: float
    ended: float
    outcome: str

    def __str__(self) -> str:
        client, server = self.pair.client, self.pair.server
        who = f"{client.workload or 'host'}@{client.host} to {server.workload}@{server.host}"
        when = f"{self.began:.4f}-{self.ended:.4f}"
        return f"{who} port {self.pair.port} from {self.source_port}: {self.outcome} at {when}"


@dataclass(frozen=True)
class Answer:
    """What one revision says of a pair at one end: at connect (client only), and in the end."""

    at_connect: bool
    finally_: bool


Decide = Callable[[str, int, Pair], Answer]
"""Host, revision, pair -> what that revision says on that host."""


@dataclass
class Record:
    """published: host -> revision -> when it was handed over. sights: host -> (began, ended,
    revision that its agent said was in force). accepted: host -> (port, source port, when)."""

    published: dict[str, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    sights: dict[str, list[tuple[float, float, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    attempts: list[Attempt] = field(default_factory=list)
    accepted: dict[str, list[tuple[int, int, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )


def check(record: Record, decide: Decide) -> list[str]:
    """Everything in the record that cannot be, as sentences; empty if all is as it should be."""
    claims: dict[str, list[Claim]] = defaultdict(list)
    found = [*_steps_back(record), *_one_sided(record)]
    for host, seen in record.sights.items():
        for began, ended, revision in seen:
            later = tuple(v for v in sorted(record.published[host]) if v >= revision)
            claims[host].append(Claim(began, ended, later, f"the agent of {host}"))
    judge = _Judge(record, decide)
    for attempt in record.attempts:
        for host, values in judge.values(attempt):
            usable = judge.published_by(host, values, attempt.ended)
            claims[host].append(Claim(attempt.began, attempt.ended, usable, str(attempt)))
    for host, made in claims.items():
        found += [f"on {host}: {sentence}" for sentence in contradictions(made)]
    return found


class _Judge:
    """Which revisions explain an outcome, worked out once for each pair."""

    def __init__(self, record: Record, decide: Decide) -> None:
        self._published = record.published
        self._decide = decide
        self._known: dict[tuple[Pair, str], list[tuple[str, tuple[int, ...]]]] = {}

    def values(self, attempt: Attempt) -> list[tuple[str, tuple[int, ...]]]:
        key = (attempt.pair, _kind(attempt))
        if key not in self._known:
            self._known[key] = list(self._work_out(*key))
        return self._known[key]

    def published_by(self, host: str, values: tuple[int, ...], ended: float) -> tuple[int, ...]:
        at = self._published[host]
        if not values or at[values[-1]] <= ended:
            return values
        return tuple(value for value in values if at[value] <= ended)

    def _work_out(self, pair: Pair, kind: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        client, server = pair.client.host, pair.server.host
        at_client = {
            v: self._decide(client, v, pair) for v in sorted(self._published.get(client, {}))
        }
        at_server = {
            v: self._decide(server, v, pair) for v in sorted(self._published.get(server, {}))
        }
        passes = {v: answer.at_connect and answer.finally_ for v, answer in at_client.items()}
        if kind == OK:
            if at_client:
                yield client, tuple(v for v, right in passes.items() if right)
            if at_server:
                yield server, tuple(v for v, answer in at_server.items() if answer.finally_)
        elif kind == EPERM:
            yield client, tuple(v for v, answer in at_client.items() if not answer.at_connect)
        elif kind == TIMEOUT:
            late = any(a.at_connect and not a.finally_ for a in at_client.values())
            if not late:  # else it may have been either end
                yield server, tuple(v for v, answer in at_server.items() if not answer.finally_)
        elif kind != "":
            yield client, ()


def _kind(attempt: Attempt) -> str:
    """Empty for what says nothing."""
    if attempt.outcome == TIMEOUT and attempt.ended - attempt.began < PATIENT_SECONDS:
        return ""
    return attempt.outcome


def _steps_back(record: Record) -> Iterator[str]:
    for host, seen in record.sights.items():
        for (_, _, before), (at, _, after) in itertools.pairwise(seen):
            if after < before:
                yield f"the agent of {host} goes from {before} back to {after} at {at:.4f}"


def _one_sided(record: Record) -> Iterator[str]:
    """Accepted by a server though its client was refused, or though nobody asked.

    Ports that no recorded client has asked for are other clients' affair.
    """
    asked: dict[tuple[str, int, int], list[Attempt]] = defaultdict(list)
    for attempt in record.attempts:
        pair = attempt.pair
        asked[pair.server.host, pair.port, attempt.source_port].append(attempt)
    known = {(host, port) for host, port, _ in asked}
    for host, accepted in record.accepted.items():
        for port, source_port, at in accepted:
            if (host, port) not in known:
                continue
            of_it = asked.get((host, port, source_port), [])
            recent = [a for a in of_it if a.began <= at <= a.ended + LATE_SECONDS]
            if not any(a.outcome == OK for a in recent):
                told = "; ".join(map(str, recent)) or "nobody asked"
                yield f"{host} accepted {source_port} on {port} at {at:.4f}, but {told}"
