# SPDX-License-Identifier: Apache-2.0
"""A ring too full for the kernel's questions: whoever was not asked about is found all the same."""

from __future__ import annotations

import signal

from agent.core.abi import Outcome
from agent.edge import counters
from agent.pb import local_pb2 as pb
from tests.kernel.world import BASE
from tests.lab import wait_until
from tests.lab.cordon import cordon

FORK_FOR_EVER = """
import os, signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    os.fork() or os._exit(0)
"""
"""Each child of a process that is not attested yet is a question of its own, and ends at once."""
FILL_SECONDS = 120.0
"""Some 16,000 forks on a machine that has other things to do."""


def test_process_whose_question_was_lost_gets_its_identity() -> None:
    with cordon(BASE, hosts=("a",)) as running:
        host = running["a"]
        assert host.agent is not None
        host.agent.signal(signal.SIGSTOP)  # the ring fills, for nobody reads it
        forking = host.lab.spawn(
            ["/usr/bin/python3", "-I", "-S", "-c", FORK_FOR_EVER], "flood.service"
        )
        wait_until(
            lambda: counters.outcome(host.pins / "maps", Outcome.PROCESS_EVENT_LOST),
            "the ring to be full",
            timeout=FILL_SECONDS,
            interval=0.1,
        )
        victim = host.lab.spawn(["/bin/sleep", "600"], "web.service")
        forking.kill9()
        host.agent.signal(signal.SIGCONT)
        host.wait_attested(victim.pid)
        (found,) = host.stub().Processes(pb.ProcessesRequest(pid=victim.pid)).processes
        assert (found.workload, list(found.evidence)) == ("web", ["unit=web.service"])
        assert "questions were lost, walking" in host.agent.output()
