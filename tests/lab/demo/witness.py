# SPDX-License-Identifier: Apache-2.0
"""What the kernels said: verdicts as the agents report them, and the kernels' own counters.

The reports are those that `cordonctl observe` prints. The counters are read from the pinned maps
and not from an agent, because there are times in the demo when there is none.
"""

from __future__ import annotations

import contextlib
import ipaddress
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import grpc

from agent.edge.counters import read_counters
from agent.edge.hooks import Pins
from agent.pb import local_pb2
from tests.lab.cordon import CordonHost
from tests.lab.waiting import wait_until

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


class Witness:
    """Listens to the agents of several hosts at once."""

    def __init__(self) -> None:
        self._seen: list[Verdict] = []

    def watch(self, name: str, host: CordonHost) -> None:
        """From the return of this call on, nothing that this host's agent reports is missed."""
        flows = host.observe()
        threading.Thread(
            target=self._listen, args=(name, flows), name=f"witness-{name}", daemon=True
        ).start()

    def _listen(self, name: str, flows: Iterator[local_pb2.Flow]) -> None:
        with contextlib.suppress(grpc.RpcError):  # the agent ended
            for flow in flows:
                self._seen.append(Verdict(name, flow))

    def mark(self) -> int:
        """Now, as a place in what was reported."""
        return len(self._seen)

    def since(self, mark: int, host: str, **fields: object) -> list[Verdict]:
        """A host's verdicts since the mark of which these fields of the flow are so."""
        return [
            verdict
            for verdict in self._seen[mark:]
            if verdict.host == host
            and all(getattr(verdict.flow, name) == value for name, value in fields.items())
        ]

    def wait(self, mark: int, host: str, **fields: object) -> Verdict:
        """The first such verdict, past or to come. AssertionError at the end."""
        wanted = f"{host} reports {' '.join(map(str, fields.values()))}"
        try:
            found = wait_until(
                lambda: self.since(mark, host, **fields), wanted, timeout=REPORT_SECONDS
            )
        except AssertionError:
            others = "; ".join(map(str, self._seen[mark:][-4:])) or "nothing"
            raise AssertionError(f"expected that {wanted}; reported was: {others}") from None
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
