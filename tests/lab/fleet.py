# SPDX-License-Identifier: Apache-2.0
"""A lab with a controller: a real `cordon-controller serve` on a host of its own, real joins.

Tokens are made and policy is applied by `cordonctl`.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.cordon import ROOT, SWITCH_SECONDS, CordonHost
from tests.lab.host import LabHost
from tests.lab.lab import Lab
from tests.lab.operator import Operator
from tests.lab.process import LabProcess
from tests.lab.waiting import wait_until

CONTROLLER = [sys.executable, "-m", "controller.cli.main"]
AGENT = [sys.executable, "-m", "agent.cli.agent"]
UNIT = "cordon-controller.service"
COMMAND_SECONDS = 90.0
MAIN, ENROLMENT, METRICS = 7440, 7441, 9440
_ENVIRONMENT = {"PYTHONPATH": str(ROOT)}


@dataclass
class LabController:
    """`cordon-controller` on a lab host, over SQLite."""

    lab: LabHost
    process: LabProcess | None = None

    @property
    def config(self) -> Path:
        return self.lab.folder / "controller.toml"

    @property
    def _state(self) -> Path:
        return self.lab.state / "controller"

    @property
    def enrolment(self) -> str:
        return f"{self.lab.v4}:{ENROLMENT}"

    @property
    def metrics(self) -> str:
        return f"{self.lab.v4}:{METRICS}"

    def init(self) -> str:
        """Returns the token with which its first operator logs in."""
        table = {
            "name": "ctl1",
            "listen": f"{self.lab.v4}:{MAIN}",
            "listen_enrolment": self.enrolment,
            "listen_metrics": self.metrics,
            "advertise": [f"{self.lab.v4}:{MAIN}"],
            "names": [self.lab.v4],
            "state_dir": str(self._state),
        }
        lines = (f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        self.lab.write_file(self.config.name, "".join(lines))
        argv = [*CONTROLLER, "init", "--config", str(self.config), "--trust-domain", "lab.example"]
        done = self.lab.run(argv, UNIT, env=_ENVIRONMENT, timeout=COMMAND_SECONDS)
        assert done.returncode == 0, done.stderr
        found = re.search(r"--token (\S+)", done.stdout)
        assert found, f"no token in: {done.stdout}"
        return found[1]

    def start(self) -> None:
        argv = [*CONTROLLER, "serve", "--config", str(self.config)]
        process = self.process = self.lab.spawn(argv, UNIT, env=_ENVIRONMENT)

        def serving() -> bool:
            assert process.alive, f"the controller ended: {process.output()}"
            return "serving" in process.output()

        wait_until(serving, "the controller serves", timeout=COMMAND_SECONDS, interval=0.05)

    def output(self) -> str:
        return self.process.output() if self.process is not None else ""

    def kill9(self) -> None:
        assert self.process is not None, "start it first"
        self.process.kill9()


class Fleet:
    """Agents that have joined the controller of their lab."""

    def __init__(
        self, lab: Lab, hosts: Sequence[str], extra: Mapping[str, object], desk: str = "c"
    ) -> None:
        """desk: the host that the controller is on."""
        self.lab = lab
        self.controller = LabController(lab[desk])
        self.hosts = {name: CordonHost(lab[name]) for name in hosts}
        self.operator = Operator(lab[desk], lab[desk].folder / "operator")
        self._extra = extra

    def __getitem__(self, name: str) -> CordonHost:
        return self.hosts[name]

    def join(self, name: str) -> str:
        """What `cordon-agent join` printed."""
        host = self.hosts[name]
        token = self.operator.token(host.lab, {"role": name})
        file = host.lab.write_file("token", token)
        host.write_config(None, self._extra)
        argv = [*AGENT, "join", "--config", str(host.config), "--token-file", str(file),
                "--controller", self.controller.enrolment]  # fmt: skip
        done = host.lab.run(argv, "join.service", env=_ENVIRONMENT, timeout=COMMAND_SECONDS)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, policy: str, settings: Sequence[str] = ()) -> None:
        """settings: as `cordonctl settings set` takes them; they hold before anybody joins."""
        token = self.controller.init()
        self.controller.start()
        self.operator.login(self.controller.enrolment, token)
        if settings:
            self.operator.ctl("settings", "set", *settings, "-m", "the lab asks for it")
        for name in self.hosts:
            self.join(name)
        version = self.operator.apply(policy)
        for host in self.hosts.values():
            host.start()
        for host in self.hosts.values():
            host.wait_ready()
        self.wait(version)

    def wait(self, version: int) -> None:
        """Until every agent has this version in force, and says that it is in sync."""
        self.wait_for(lambda host: in_sync(host, version), f"in sync with {version}")

    def wait_for(
        self,
        right: Callable[[CordonHost], bool],
        what: str,
        hosts: Sequence[str] = (),
        timeout: float = SWITCH_SECONDS,
    ) -> None:
        """Until it is so on these hosts, or on all; what was logged is in the failure."""
        for name in hosts or self.hosts:
            host = self.hosts[name]
            try:
                wait_until(lambda host=host: right(host), f"{name}: {what}", timeout=timeout)  # type: ignore[misc]
            except AssertionError as error:
                agent = host.agent.output() if host.agent is not None else ""
                raise AssertionError(
                    f"{error}; {host.status().summary}\n{agent}\n{self.controller.output()}"
                ) from None

    def apply(self, policy: str, *options: str) -> None:
        """Put these documents, and wait until every agent enforces them."""
        self.wait(self.operator.apply(policy, *options))

    def close(self) -> None:
        for host in self.hosts.values():
            host.close()


def in_sync(host: CordonHost, version: int) -> bool:
    status = host.status()
    return status.policy_version == version and status.state == "in_sync"


@contextlib.contextmanager
def fleet(
    policy: str,
    hosts: Sequence[str] = ("a", "b"),
    settings: Sequence[str] = (),
    **extra: object,
) -> Iterator[Fleet]:
    """A lab whose hosts have joined its controller and run under `policy`."""
    with Lab(*hosts, "c") as lab:
        built = Fleet(lab, hosts, extra)
        try:
            built.start(policy, settings)
            yield built
        finally:
            built.close()
