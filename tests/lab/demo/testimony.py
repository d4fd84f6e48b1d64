# SPDX-License-Identifier: Apache-2.0
"""What the kernels said: verdicts as the agents report them, and the kernels' own counters.

The reports are those that `cordonctl observe` prints. The counters are read from the pinned maps
and not from an agent, because there are times in the demo when there is none.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.edge.counters import read_counters
from agent.edge.hooks import Pins
from agent.pb import local_pb2
from tests.lab.cordon import CordonHost
from tests.lab.witness import Witness

HELD = ("held", "pending")
"""In `kernel_counts`: packets kept back because nobody has told yet whose they are."""
REPORT_SECONDS = 10.0
"""An event takes milliseconds; on a machine under load, longer."""


@dataclass(frozen=True)
class Verdict:
    """One judgement, and the host whose kernel made it."""

    host: str
    flow: local_pb2.Flow

    @property
    def peer(self) -> str:
        return self.flow.peer_workload.rpartition("/")[2]

    @property
    def line(self) -> tuple[str, str]:
        """Host, and what its kernel said."""
        flow = self.flow
        arrow = "<-" if flow.direction == "ingress" else "->"
        remote = ipaddress.ip_address(flow.remote_address)
        where = f"[{remote}]" if remote.version == 6 else str(remote)
        return self.host, (
            f"{flow.verdict} {flow.rule_name or flow.reason}: {flow.local_workload} {arrow} "
            f"{flow.peer_workload} {where}:{flow.remote_port}, by {flow.proof}"
        )

    def __str__(self) -> str:
        return " ".join(self.line)


Mark = Mapping[str, int]
"""A moment, as a place in what each host's agent has reported."""


class Testimony:
    """What the agents of several hosts report."""

    def __init__(self) -> None:
        self._witnesses: dict[str, Witness] = {}

    def watch(self, name: str, host: CordonHost) -> None:
        """From the return of this call on, nothing that this host's agent reports is missed.

        To be called anew for a new agent; what the one before reported is forgotten.
        """
        self._witnesses[name] = Witness(host)

    def mark(self) -> Mark:
        """Now."""
        return {name: witness.mark for name, witness in self._witnesses.items()}

    def since(self, mark: Mark, host: str, **fields: object) -> list[Verdict]:
        """A host's verdicts since the mark of which these fields of the flow are so."""
        return [
            Verdict(host, flow)
            for flow in self._witnesses[host].since(mark[host])
            if all(getattr(flow, name) == value for name, value in fields.items())
        ]

    def wait(self, mark: Mark, host: str, **fields: object) -> Verdict:
        """The first such verdict, past or to come. AssertionError at the end."""
        witness = self._witnesses[host]
        found = witness.wait(lambda: self.since(mark, host, **fields), REPORT_SECONDS)
        if not found:
            others = "; ".join(
                str(verdict) for name in self._witnesses for verdict in self.since(mark, name)[-2:]
            )
            wanted = " ".join(map(str, fields.values()))
            raise AssertionError(
                f"expected that {host} reports {wanted}; reported was: {others or 'nothing'}"
            )
        return found[0]


def kernel_counts(hosts: Iterable[CordonHost]) -> Counter[tuple[str, str]]:
    """(verdict, reason) and ("outcome", name) -> how many so far, straight from the maps."""
    counts: Counter[tuple[str, str]] = Counter()
    for host in hosts:
        for count in read_counters(Pins(host.pins).maps):
            counts[count.verdict or count.kind, count.reason] += count.value
    return counts


def link_pins(host: CordonHost) -> dict[str, int]:
    """Hook -> inode of its pinned link: the same inode is the same link, never interrupted."""
    return {path.name: path.stat().st_ino for path in Pins(host.pins).links.iterdir()}
