# SPDX-License-Identifier: Apache-2.0
"""A lab whose hosts run real agents under a policy that a test writes as YAML.

The policy goes the whole way that an operator's goes: `cordonctl compile`, a signed snapshot file,
the agent's check of it, the kernel. `apply` returns when every agent has switched.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from agent.pb import local_pb2, local_pb2_grpc
from controller import offline
from tests.lab.host import LabHost
from tests.lab.lab import Lab
from tests.lab.process import LabProcess
from tests.lab.waiting import PATIENCE, wait_until

ROOT = Path(__file__).resolve().parents[2]
AGENT = [sys.executable, "-m", "agent.cli.agent"]
READY_SECONDS = 60.0
"""Compiling takes 2 s of a processor, of which a loaded machine gives each of many little."""
SWITCH_SECONDS = 30.0
RPC_SECONDS = 5.0 * PATIENCE
CTL_SECONDS = 30.0 * PATIENCE
_IMPATIENT = [
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 20),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.use_local_subchannel_pool", 1),
]
"""A killed agent is back in half a second; gRPC would look again after a whole one."""


@dataclass
class CordonHost:
    """A lab host with an agent."""

    lab: LabHost
    agent: LabProcess | None = None
    root: Path = ROOT
    """Of the sources that its agent runs from."""
    _channel: grpc.Channel | None = field(default=None, repr=False)

    @property
    def config(self) -> Path:
        return self.lab.folder / "agent.toml"

    @property
    def snapshot(self) -> Path:
        return self.lab.folder / "host.snapshot"

    @property
    def socket(self) -> Path:
        return self.lab.sockets / f"{self.lab.name}.sock"

    @property
    def pins(self) -> Path:
        return self.lab.pins.parent / "cordon" / self.lab.name

    def write_config(self, key: Path | None, extra: Mapping[str, object] | None = None) -> None:
        """key: of snapshot files; None where policy comes from a controller."""
        files = {} if key is None else {"snapshot": str(self.snapshot), "policy_key": str(key)}
        settings: dict[str, object] = {
            "instance": self.lab.name,
            "host_name": self.lab.name,
            "cgroup_root": str(self.lab.cgroup),
            "bpffs": str(self.lab.pins.parent),
            "state_dir": str(self.lab.state),
            "run_dir": str(self.lab.sockets),
            "refuse": "drop",  # tests of verdicts see the kernel's answer alone
            **files,
            **(extra or {}),
        }
        lines = [f"{name} = {_toml(value)}" for name, value in settings.items()]
        self.lab.write_file(self.config.name, "\n".join(lines) + "\n")

    def start(self, env: Mapping[str, str] | None = None, wrapper: Sequence[str] = ()) -> None:
        """env: besides what it always has, as for a failpoint. wrapper: what executes it."""
        argv = [*wrapper, *AGENT, "run", "--config", str(self.config)]
        self.agent = self.lab.start_daemon(argv, env={"PYTHONPATH": str(self.root), **(env or {})})

    def wait_ready(self) -> None:
        wait_until(self.ready, f"the agent on {self.lab.name} answers", timeout=READY_SECONDS)

    def ready(self) -> bool:
        """Whether the agent answers and every hook is attached."""
        assert self.agent is not None, "start the agent first"
        if not self.agent.alive:
            raise AssertionError(f"the agent on {self.lab.name} ended: {self.agent.output()}")
        with contextlib.suppress(grpc.RpcError):
            status = self.status()
            return status.hooks_attached == status.hooks_expected
        return False

    def stub(self) -> local_pb2_grpc.LocalServiceStub:
        if self._channel is None:
            self._channel = grpc.insecure_channel(f"unix:{self.socket}", options=_IMPATIENT)
        return local_pb2_grpc.LocalServiceStub(self._channel)

    def status(self) -> local_pb2.StatusResponse:
        return self.stub().Status(local_pb2.StatusRequest(), timeout=RPC_SECONDS)

    def verdicts(self) -> dict[tuple[str, str, str], int]:
        """(direction, verdict, reason) -> how many judgements so far."""
        return {
            (c.direction, c.verdict, c.reason): c.value
            for c in self.status().counters
            if c.kind == "verdict"
        }

    def outcomes(self) -> dict[str, int]:
        return {c.reason: c.value for c in self.status().counters if c.kind == "outcome"}

    def held_times(self) -> dict[str, int]:
        """How many connections were held for how long."""
        return {c.reason: c.value for c in self.status().counters if c.kind == "held"}

    def sockets(self, pid: int = 0) -> list[local_pb2.Socket]:
        answer = self.stub().Sockets(local_pb2.SocketsRequest(pid=pid), timeout=RPC_SECONDS)
        return list(answer.sockets)

    def identity(self, pid: int) -> int:
        """The identity that the agent gave to a process, 0 if it does not know it."""
        answer = self.stub().Processes(local_pb2.ProcessesRequest(pid=pid), timeout=RPC_SECONDS)
        return answer.processes[0].identity if answer.processes else 0

    def wait_attested(self, *pids: int) -> None:
        """Until the agent knows each of these processes and none is pending."""
        for pid in pids:
            wait_until(
                lambda pid=pid: self._attested(pid),  # type: ignore[misc]
                f"process {pid} on {self.lab.name} is attested",
                timeout=SWITCH_SECONDS,
            )

    def _attested(self, pid: int) -> bool:
        answer = self.stub().Processes(local_pb2.ProcessesRequest(pid=pid), timeout=RPC_SECONDS)
        return bool(answer.processes) and answer.processes[0].state != "pending"

    def observe(self) -> Iterator[local_pb2.Flow]:
        """Verdicts as they happen, none missed from the return of this call on.

        Ends with grpc.RpcError when the agent ends or this host is closed.
        """
        flows = self.stub().Observe(local_pb2.ObserveRequest())
        flows.initial_metadata()
        return flows

    def ctl(self, *arguments: str) -> str:
        """What `cordonctl` answers about this host."""
        command = [sys.executable, "-m", "agent.cli.ctl", *arguments, "--socket", str(self.socket)]
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=CTL_SECONDS, check=False
        )
        assert done.returncode == 0, done
        return done.stdout

    def kill9(self) -> None:
        """SIGKILL to the agent; what it pinned stays in force."""
        assert self.agent is not None, "start the agent first"
        self.agent.kill9()
        self.close()

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self.agent is not None and self.agent.alive:
            self.agent.stop()


class Cordon:
    """Agents on the hosts of a lab, and the policy that they share."""

    def __init__(
        self,
        lab: Lab,
        hosts: Sequence[str] | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        self.lab = lab
        self.folder = lab.run_folder / "policy"
        self.extra = extra
        names = list(hosts) if hosts is not None else list(lab.hosts)
        self.hosts = {name: CordonHost(lab[name]) for name in names}
        self.settings: dict[str, object] = {}
        self.host_fields: dict[str, dict[str, object]] = {name: {} for name in names}
        self.revision = 0

    def __getitem__(self, name: str) -> CordonHost:
        return self.hosts[name]

    def inventory(self) -> str:
        lines = ["trust_domain: lab.example", f"settings: {self.settings or '{}'}", "hosts:"]
        for name, host in self.hosts.items():
            lines.append(f"  - name: {name}")
            lines.append(f"    addresses: ['{host.lab.v4}', '{host.lab.v6}']")
            lines.extend(f"    {key}: {value}" for key, value in self.host_fields[name].items())
        return "\n".join(lines) + "\n"

    def compile(self, policy: str) -> Path:
        """Compile, without handing the result to the hosts. Returns the output folder."""
        documents = self.folder / "documents"
        documents.mkdir(parents=True, exist_ok=True)
        (documents / "policy.yaml").write_text(policy)
        inventory = self.folder / "hosts.yaml"
        inventory.write_text(self.inventory())
        out = self.folder / "out"
        offline.compile_files(inventory, documents, out, out / "state")
        return out

    def publish(self, policy: str) -> None:
        """Compile and hand each host its snapshot, as a deployment tool would."""
        out = self.compile(policy)
        for name, host in self.hosts.items():
            content = (out / f"{name}.snapshot").read_bytes()
            host.lab.write_file(host.snapshot.name, content)

    def apply(self, policy: str) -> None:
        """Publish, and wait until every agent enforces it."""
        before = {name: host.status().policy_version for name, host in self.hosts.items()}
        self.publish(policy)
        for name, host in self.hosts.items():
            wait_until(
                lambda name=name, host=host: (  # type: ignore[misc]
                    host.status().policy_version > before[name]
                ),
                f"host {name} switched to the new policy",
                timeout=SWITCH_SECONDS,
            )

    def start(self, policy: str | None = None) -> None:
        """Start the agents, under `policy` if there is one."""
        if policy is not None:
            self.publish(policy)
        else:
            self.compile("kind: Segment\nname: default\nmode: audit\n")
        key = self.folder / "out" / "policy.pub"
        for host in self.hosts.values():
            host.write_config(key, self.extra)
            host.start()
        for host in self.hosts.values():
            host.wait_ready()

    def close(self) -> None:
        for host in self.hosts.values():
            host.close()


@contextlib.contextmanager
def cordon(
    policy: str | None = None, hosts: Sequence[str] = ("a", "b"), **extra: object
) -> Iterator[Cordon]:
    """A lab with agents that run under `policy`."""
    with Lab(*hosts) as lab:
        built = Cordon(lab, extra=extra)
        try:
            built.start(policy)
            yield built
        finally:
            built.close()


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else f'"{value}"'
