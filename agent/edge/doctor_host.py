# SPDX-License-Identifier: Apache-2.0
"""`doctor` on the host: mounts, libraries, the clock, and who could go around the datapath."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.core.diagnosis import Finding, ok, problem, warning
from agent.edge import bpffs, cgroups, libbpf

AREA = "host"
AGENT_UNIT = "cordon-agent.service"
NAMED = 10
"""Units that one finding names; the others are counted."""
_TIME_ERROR = 5
_IMPORT_SECONDS = 20.0
_CAPABILITIES = {12: "CAP_NET_ADMIN", 13: "CAP_NET_RAW"}
"""include/uapi/linux/capability.h."""


def examine(bpf_mount: Path) -> Iterator[Finding]:
    yield _cgroup2()
    yield _bpffs(bpf_mount)
    yield _libbpf()
    yield _bcc()
    yield _clock()


def _cgroup2() -> Finding:
    try:
        return ok(AREA, f"cgroup v2 is mounted at {cgroups.mount_point()}")
    except (cgroups.CgroupError, OSError) as error:
        return problem(
            AREA, "no cgroup v2", str(error), "boot with systemd.unified_cgroup_hierarchy=1"
        )


def _bpffs(mount: Path) -> Finding:
    if bpffs.is_bpffs(mount):
        return ok(AREA, f"a BPF file system is mounted at {mount}")
    return warning(
        AREA,
        f"no BPF file system is mounted at {mount}",
        "the agent mounts one when it starts, in its own mount namespace if it has one; what is "
        "pinned there would end with it",
        f"mount -t bpf bpf {mount}, or systemctl start sys-fs-bpf.mount",
    )


def _libbpf() -> Finding:
    try:
        library = libbpf.library()
    except libbpf.BpfError as error:
        return problem(AREA, str(error), "nothing can be loaded", "apt-get install libbpf1")
    library.libbpf_version_string.restype = ctypes.c_char_p
    version = library.libbpf_version_string().decode()
    if int(library.libbpf_major_version()) >= 1:
        return ok(AREA, f"libbpf {version}")
    return problem(
        AREA, f"libbpf {version} is older than 1.0", "links cannot be handled", "install libbpf1"
    )


def _bcc() -> Finding:
    """In a process of its own, for bcc brings a compiler along."""
    code = "import bcc; print(bcc.__version__)"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=_IMPORT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return warning(AREA, "bcc did not answer", "it may be the host that is slow", "try again")
    if done.returncode == 0:
        return ok(AREA, f"bcc {done.stdout.strip()}")
    return problem(
        AREA,
        f"bcc cannot be imported by {sys.executable}",
        "the datapath cannot be compiled; what is attached already goes on",
        "apt-get install python3-bpfcc, and run Cordon with Debian's own Python",
    )


def _clock() -> Finding:
    """adjtimex(2): whether anything holds the clock to the time."""
    request = (ctypes.c_char * 256)()  # struct timex, modes 0: only asks
    answer = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(request))
    if answer != _TIME_ERROR:
        return ok(AREA, "the clock is synchronized")
    return warning(
        AREA,
        "nothing synchronizes the clock",
        "tags are refused by hosts whose clock is more than a key epoch away from this one's",
        "apt-get install systemd-timesyncd or chrony",
    )


@dataclass
class Bypass:
    """A unit whose processes hold capabilities that reach below the cgroup programs."""

    unit: str
    capabilities: set[str] = field(default_factory=set)
    workloads: set[str] = field(default_factory=set)
    processes: int = 0


def bypasses(root: Path, workloads: Mapping[int, str]) -> Iterator[Finding]:
    """workloads: pid -> "segment/name" of those that policy knows, as far as the agent answers."""
    found = sorted(_units(root, workloads).values(), key=lambda unit: unit.unit)
    lost = (
        "packet sockets (CAP_NET_RAW) send and receive past the programs of a cgroup; who "
        "administers the network (CAP_NET_ADMIN) can redirect what was judged"
    )
    for unit in found:
        if unit.workloads:
            yield warning(
                "bypass",
                f"the workload {', '.join(sorted(unit.workloads))} in {unit.unit} holds "
                f"{', '.join(sorted(unit.capabilities))}",
                lost,
                f"systemctl edit {unit.unit}: CapabilityBoundingSet=~"
                f"{' '.join(sorted(unit.capabilities))}, or another User=",
            )
    others = [unit.unit for unit in found if not unit.workloads]
    if others:
        more = f" and {len(others) - NAMED} more" if len(others) > NAMED else ""
        yield warning(
            "bypass",
            f"{_units_text(len(others))} CAP_NET_RAW or CAP_NET_ADMIN: "
            f"{', '.join(others[:NAMED])}{more}",
            lost,
            "take the capabilities from those that do not need them",
        )
    if not found:
        yield ok("bypass", "no process of the instance holds CAP_NET_RAW or CAP_NET_ADMIN")


def _units_text(count: int) -> str:
    return "one unit of no workload holds" if count == 1 else f"{count} units of no workload hold"


def _units(root: Path, workloads: Mapping[int, str]) -> dict[str, Bypass]:
    units: dict[str, Bypass] = {}
    for folder in cgroups.walk(root):
        name = folder.relative_to(root).as_posix()
        if folder.name == AGENT_UNIT:
            continue  # it needs both
        for pid in _members(folder):
            held = _capabilities(pid)
            if held:
                unit = units.setdefault(
                    name, Bypass(name.rpartition("/")[2] if name != "." else name)
                )
                unit.capabilities |= held
                unit.processes += 1
                if pid in workloads:
                    unit.workloads.add(workloads[pid])
    return units


def _members(folder: Path) -> list[int]:
    try:
        return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _capabilities(pid: int) -> set[str]:
    """Effective ones; none of a kernel thread, which has no memory of its own."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return set()
    lines = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    if "VmSize" not in lines:
        return set()
    held = int(lines["CapEff"], 16)
    return {name for bit, name in _CAPABILITIES.items() if held >> bit & 1}
