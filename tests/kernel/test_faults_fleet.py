# SPDX-License-Identifier: Apache-2.0
"""Some agents are cut off from their controller while policy changes, and come back to it."""

from __future__ import annotations

from tests.kernel.test_controller import BACK_SECONDS, OTHER, allow, listening, reaches, state
from tests.kernel.world import PORT
from tests.lab import LabHost
from tests.lab.cordon import CordonHost
from tests.lab.fleet import MAIN, Fleet, fleet, in_sync

CUT = f"""
table inet cut {{
    chain leaving {{
        type filter hook output priority filter; policy accept;
        tcp dport {MAIN} reject with tcp reset
    }}
    chain arriving {{
        type filter hook input priority filter; policy accept;
        tcp sport {MAIN} reject with tcp reset
    }}
}}
"""


def cut(host: LabHost) -> None:
    host.tool(["nft", "-f", "-"], CUT)


def heal(host: LabHost) -> None:
    host.tool(["nft", "delete", "table", "inet", "cut"])


class Versions:
    """What each agent said was in force, in the order that it was heard."""

    def __init__(self, running: Fleet) -> None:
        self._running = running
        self.heard: dict[str, list[int]] = {name: [] for name in running.hosts}

    def __call__(self, host: CordonHost) -> None:
        self.heard[host.lab.name].append(host.status().policy_version)

    def went_up_only(self) -> None:
        for name, versions in self.heard.items():
            assert versions == sorted(versions), f"{name}: {versions}"


def test_hosts_that_were_cut_off_come_to_the_newest_policy_and_never_step_back() -> None:
    with fleet(allow(PORT)) as running:
        world, versions = listening(running), Versions(running)
        first = running["a"].status().policy_version

        def hears(host: CordonHost) -> bool:
            versions(host)
            return state("stale")(host)

        cut(world.a)
        running.wait_for(hears, "it hears no controller", "a")
        for port in (PORT + 2, OTHER):
            newest = running.operator.apply(allow(port))
            running.wait_for(lambda b, newest=newest: in_sync(b, newest), "in sync", "b")  # type: ignore[misc]
            versions(running["b"])
        assert running["a"].status().policy_version == first
        assert not reaches(world, OTHER), "a's own policy does not allow it"
        assert not reaches(world, PORT), "b's policy does not allow it any more"
        heal(world.a)

        def converges(host: CordonHost) -> bool:
            versions(host)
            return in_sync(host, newest)

        running.wait_for(converges, "the newest", timeout=BACK_SECONDS)
        assert reaches(world, OTHER)
        assert not reaches(world, PORT)
        versions.went_up_only()
        assert running["a"].status().policy_version == newest
