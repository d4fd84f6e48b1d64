# SPDX-License-Identifier: Apache-2.0
"""The lab: builds hosts on this machine, joins them by a wire, and takes everything away again.

Two hosts are joined by one veth pair, as figures want it; more hang on a bridge in a namespace of
its own. Nothing is ever made in the machine's own network namespace or attached to its own cgroup.
Several labs can stand at once; a lab sweeps away what a killed one left before it builds.
"""

import atexit
import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from tests.lab import kernel
from tests.lab.errors import LabError
from tests.lab.host import INTERFACE, LabHost
from tests.lab.names import new_name
from tests.lab.tools import tool
from tests.lab.traces import NAMESPACES, RUN, remove_traces, sweep

_QUIET = {
    "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.default.dad_transmits": 0,
    "net.ipv6.conf.default.router_solicitations": 0,
}
"""No duplicate address detection: an address is of use at once, not a second later."""

_ENDING = (signal.SIGTERM, signal.SIGHUP)


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came. A KeyboardInterrupt, so that a test run ends with it, too."""


class Lab:
    """`with Lab("a", "b") as lab: lab["a"].run(...)`: hosts for as long as the block runs."""

    def __init__(self, *hosts: str) -> None:
        if len(set(hosts)) != len(hosts) or not 1 <= len(hosts) <= 250:
            raise LabError(f"a lab wants 1 to 250 hosts with different names, not {hosts}")
        if not all(name.isalnum() for name in hosts):
            raise LabError(f"a host's name has letters and digits only, unlike one of {hosts}")
        self.name = new_name()
        self.run_folder = RUN / self.name
        self.bpf = self.run_folder / "bpf"
        self.cgroup = kernel.cgroup2_root() / self.name
        self.hosts: Mapping[str, LabHost] = {
            name: self._host(name, number) for number, name in enumerate(hosts, start=1)
        }
        self._handlers: dict[int, Any] = {}

    def __getitem__(self, name: str) -> LabHost:
        return self.hosts[name]

    def __enter__(self) -> "Lab":
        atexit.register(self.close)  # for a signal between the last line here and the block
        self._catch_signals()
        try:
            sweep()
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove every trace; a second Ctrl-C waits until that is done. May be called twice."""
        try:
            with _signals_deferred():
                self._remove()
        finally:
            self._restore_signals()

    def _remove(self) -> None:
        try:
            for host in self.hosts.values():
                host.close()
        finally:
            remove_traces(self.name)
            atexit.unregister(self.close)

    def _host(self, name: str, number: int) -> LabHost:
        return LabHost(
            name=name,
            number=number,
            netns=NAMESPACES / f"{self.name}-{name}",
            cgroup=self.cgroup / name,
            folder=self.run_folder / name,
            pins=self.bpf / name,
        )

    def _build(self) -> None:
        self.run_folder.mkdir(mode=0o700)
        self.bpf.mkdir(mode=0o700)
        kernel.mount("bpf", self.bpf, "bpf", data="mode=0700")
        for host in self.hosts.values():
            for folder in (host.folder, host.state, host.config, host.sockets, host.logs):
                folder.mkdir(mode=0o700)
            host.pins.mkdir(mode=0o700)
            host.unit_cgroup("api.service")
            _make_namespace(host.netns)
            for name, value in _QUIET.items():
                host.sysctl(name, value)
        self._join()
        for host in self.hosts.values():
            _configure(host)

    def _join(self) -> None:
        """Give each host its interface: one wire between two, or one each to a switch."""
        hosts = list(self.hosts.values())
        if len(hosts) == 2:
            _ip(hosts[0].netns, [_veth(INTERFACE, INTERFACE, hosts[1].netns)])
            return
        switch = NAMESPACES / f"{self.name}-switch-"  # no host's name can make this name
        _make_namespace(switch)
        lines = ["link add switch type bridge stp_state 0 mcast_snooping 0", "link set switch up"]
        for host in hosts:
            port = f"port{host.number}"
            lines.append(_veth(port, INTERFACE, host.netns))
            lines.append(f"link set {port} master switch up")
        _ip(switch, lines)

    def _catch_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _ENDING:
            if signal.getsignal(number) is signal.SIG_DFL:
                self._handlers[number] = signal.signal(number, _terminated)

    def _restore_signals(self) -> None:
        while self._handlers:
            number, handler = self._handlers.popitem()
            signal.signal(number, handler)


def _terminated(number: int, frame: FrameType | None) -> None:
    raise Terminated(f"the lab was ended by {signal.Signals(number).name}")


@contextlib.contextmanager
def _signals_deferred() -> Iterator[None]:
    """Hold back the signals that end a program; the first of them counts afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    numbers = (signal.SIGINT, *_ENDING)
    before = {n: signal.signal(n, lambda number, _: caught.append(number)) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        signal.raise_signal(caught[0])


def _make_namespace(path: Path) -> None:
    for _ in range(10):  # another lab may remove the empty folder between the two calls
        NAMESPACES.mkdir(mode=0o755, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            path.touch(mode=0o400)
            break
    kernel.make_namespace(path)


def _veth(name: str, peer: str, peer_netns: Path) -> str:
    return f"link add {name} type veth peer name {peer} netns {peer_netns.name}"


def _configure(host: LabHost) -> None:
    _ip(
        host.netns,
        [
            "link set lo up",
            f"link set {INTERFACE} address {host.mac}",
            f"addr add {host.v4}/24 dev {INTERFACE}",
            f"link set {INTERFACE} up",
            f"addr add {host.v6}/64 dev {INTERFACE} nodad",
        ],
    )


def _ip(netns: Path, lines: Sequence[str]) -> None:
    tool(netns, ["ip", "-batch", "-"], "\n".join(lines) + "\n")
