# SPDX-License-Identifier: Apache-2.0
"""Hosts on one machine: network namespaces, cgroup subtrees and a wire between them.

Import what a test needs from here. The lab runs real programs and real packets; it knows nothing
of the agent, so that a fault in the agent cannot hide in the tool that looks for it.
"""

from tests.lab.errors import LabError
from tests.lab.host import LabHost
from tests.lab.lab import Lab
from tests.lab.load import Lane, Load
from tests.lab.loss import PacketLoss, drop_first
from tests.lab.packets import Segment
from tests.lab.process import LabProcess
from tests.lab.puppet import Puppet, Reply
from tests.lab.traces import sweep, traces_of
from tests.lab.waiting import wait_until
from tests.lab.wire import Captured, Forger, Sniffer

__all__ = [
    "Captured",
    "Forger",
    "Lab",
    "LabError",
    "LabHost",
    "LabProcess",
    "Lane",
    "Load",
    "PacketLoss",
    "Puppet",
    "Reply",
    "Segment",
    "Sniffer",
    "drop_first",
    "sweep",
    "traces_of",
    "wait_until",
]
