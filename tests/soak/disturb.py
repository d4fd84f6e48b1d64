# SPDX-License-Identifier: Apache-2.0
"""What happens to hosts in a day, round after round, and whether each of it came out right.

Policy changes, short processes in units that come and go, a service and an agent that are
restarted (in order, and by SIGKILL), streams to the controller that break. Traffic goes on all the
time; what is checked here is what the change itself promises.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from tests.lab import wait_until
from tests.lab.cordon import SWITCH_SECONDS
from tests.lab.fleet import in_sync
from tests.soak.scene import CACHE, DB, TOGGLED, Scene, policy

JOBS, ROGUES, SMALL = 6, 3, 40
"""Short programs that connect, allowed and not, and shorter ones that do not, in each round."""
JOB_SECONDS = 60.0
HEARD_SECONDS = 90.0
"""An agent looks for a controller it has lost after a minute at the latest."""
NOTICED_SECONDS = 1.0
"""After which an agent surely knows that its stream is gone: the wait is for what comes then."""
MOST_RULES = 7
RESTARTS = 3
"""Of an agent, once in so many rounds: in between it lives long enough to be warm."""


class Wrong(Exception):
    """A change did not do what it promises."""


class Disturber:
    """done: how often what was done. version: the policy that is in force."""

    def __init__(self, scene: Scene) -> None:
        self.done: Counter[str] = Counter()
        self._scene = scene
        self._rounds = 0
        self._version = 0

    def round(self) -> None:
        """Everything once. Raises Wrong, or what the lab raises."""
        self._rounds += 1
        steps: tuple[Callable[[], None], ...] = (
            self._change_policy,
            self._churn,
            self._restart_service,
            self._break_streams,
            self._restart_agent,
        )
        for step in steps:
            step()

    def _change_policy(self) -> None:
        for toggled in (True, False):
            more = self._rounds % MOST_RULES
            document = policy(toggled=toggled, more=more)
            self._version = self._scene.fleet.operator.apply(document, "--prune")
            self._wait_in_sync()
            if self._scene.connects(TOGGLED) != toggled:
                raise Wrong(f"policy {self._version}: port {TOGGLED} should be open: {toggled}")
            self.done["policy changes"] += 1

    def _wait_in_sync(self) -> None:
        version = self._version
        self._scene.fleet.wait_for(
            lambda host: in_sync(host, version), f"in sync with {version}", timeout=HEARD_SECONDS
        )

    def _churn(self) -> None:
        """New units with new cgroups, of programs that connect as soon as they run."""
        address = self._scene.b.lab.v4
        connect = ["bash", "-c", f"exec 3<>/dev/tcp/{address}/{DB}"]
        for kind, count, right in (("job", JOBS, True), ("rogue", ROGUES, False)):
            unit = f"{kind}-{self._rounds}.service"
            for _ in range(count):
                self._run(unit, connect, right=right)
            self._scene.a.lab.remove_unit(unit)
        many = f"for i in {{1..{SMALL}}}; do /bin/true; done"
        self._run("web.service", ["bash", "-c", many], right=True)
        self.done["short processes"] += JOBS + ROGUES + SMALL

    def _run(self, unit: str, argv: list[str], *, right: bool) -> None:
        done = self._scene.a.lab.run(argv, unit, timeout=JOB_SECONDS)
        if (done.returncode == 0) != right:
            raise Wrong(f"{argv[-1]} in {unit} ended with {done.returncode}: {done.stderr}")

    def _restart_service(self) -> None:
        self._scene.restart_cache()
        self._wait_connects("the service serves again")
        self.done["services restarted"] += 1

    def _wait_connects(self, what: str) -> None:
        wait_until(lambda: self._scene.connects(CACHE), what, SWITCH_SECONDS, interval=0.1)

    def _break_streams(self) -> None:
        """The kernel ends the connections of agents to their controller, as a reset would."""
        desk = self._scene.fleet.controller.lab
        for host in self._scene.fleet.hosts.values():
            desk.tool(["ss", "-K", "-tnH", "dst", host.lab.v4])
            self.done["streams broken"] += 1
        time.sleep(NOTICED_SECONDS)
        self._wait_in_sync()

    def _restart_agent(self) -> None:
        if self._rounds % RESTARTS:
            return
        a = self._scene.a
        assert a.agent is not None, "the scene has started it"
        if self._rounds % (2 * RESTARTS):
            a.kill9()
            self.done["agents killed"] += 1
        else:
            a.close()
            self.done["agents restarted"] += 1
        self._wait_connects("the kernel goes on by itself")
        a.start()
        a.wait_ready()
        self._wait_in_sync()


def disturb(disturber: Disturber, seconds: float, pause: float = 5.0) -> None:
    """Rounds for so long, with a pause after each in which nothing happens but traffic."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        disturber.round()
        time.sleep(min(pause, max(0.0, end - time.monotonic())))
