# SPDX-License-Identifier: Apache-2.0
"""`doctor` on the kernel: every feature is tried, and at last the datapath itself.

What is attached is attached to an empty cgroup of doctor's own, below the instance's root, and goes
with it; pinned is nothing.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from agent.core.diagnosis import Finding, ok, problem, warning
from agent.edge import btf, features, libbpf, links, listener_flag, loader, sock_destroy
from agent.edge.compiler import LoadFailed
from agent.edge.hooks import HOOKS, LISTENERS, Hook
from agent.edge.libbpf import BpfError
from agent.edge.sock_destroy import Connection

AREA = "kernel"
OLDEST = (6, 1)
_PASS = bytes.fromhex("b700000001000000 9500000000000000")
"""r0 = 1; exit: lets everything pass."""
_CGROUP = "cordon-doctor-"
_LOCKDOWN = Path("/sys/kernel/security/lockdown")
_JIT = Path("/proc/sys/net/core/bpf_jit_enable")
_UNPRIVILEGED = Path("/proc/sys/kernel/unprivileged_bpf_disabled")


def examine(root: Path) -> Iterator[Finding]:
    """root: the instance's cgroup root."""
    yield _release(platform.release())
    yield from _settings()
    yield from _features()
    yield from _types()
    yield from _attaching(root)
    yield _listeners()
    yield _ending()
    yield _datapath()


def _release(release: str) -> Finding:
    numbers = release.replace("-", ".").split(".")[:2]
    version = tuple(int(number) for number in numbers if number.isdecimal())
    if version >= OLDEST:
        return ok(AREA, f"Linux {release}")
    return warning(
        AREA,
        f"Linux {release} is older than 6.1",
        "Cordon is not tested on it; what it lacks is named below",
        "upgrade the kernel",
    )


def _settings() -> Iterator[Finding]:
    if "[confidentiality]" in _read(_LOCKDOWN):
        yield problem(
            AREA,
            "the kernel is locked down for confidentiality",
            "programs may not read kernel memory, so processes cannot be told apart",
            "boot with lockdown=integrity, which is enough for secure boot",
        )
    if _read(_JIT) == "0":
        yield warning(
            AREA,
            "BPF programs are interpreted",
            "every packet costs several times as much",
            "sysctl net.core.bpf_jit_enable=1",
        )
    if _read(_UNPRIVILEGED) == "0":
        yield warning(
            AREA,
            "everybody may load BPF programs",
            "a fault in the kernel's verifier would be everybody's to use",
            "sysctl kernel.unprivileged_bpf_disabled=2",
        )


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _features() -> Iterator[Finding]:
    upgrade = "use a kernel 6.1 or newer with CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF"
    try:
        lacking = features.lacking()
    except BpfError as error:
        yield problem(AREA, str(error), "nothing can be loaded", "run this as root")
        return
    for one in lacking:
        yield problem(AREA, f"lacks {one.feature}", one.lost, upgrade)
    if not lacking:
        yield ok(AREA, f"all {features.count()} program types, helpers and kinds of maps work")


def _types() -> Iterator[Finding]:
    try:
        offsets, missing = btf.examine()
    except (BpfError, btf.BtfError) as error:
        yield problem(
            AREA, str(error), "the datapath cannot be built", "use a kernel with BTF, as Debian's"
        )
        return
    for sentence in missing:
        what, _, lost = sentence.partition(", without which ")
        yield problem(AREA, what, lost, "report the kernel's version: the field has moved")
    if not missing:
        yield ok(AREA, f"all {len(offsets)} fields of its structures that are read are in its BTF")


def _attaching(root: Path) -> Iterator[Finding]:
    """Each kind of program to each of its places, in a cgroup without processes."""
    _sweep(root)
    folder = root / f"{_CGROUP}{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        yield problem(
            AREA,
            f"cannot make a cgroup below {root}: {error.strerror}",
            "whether programs can be attached was not tried",
            "run this as root; `cgroup_root` must be a cgroup v2 folder",
        )
        return
    try:
        refused = list(_refused_places(folder))
    finally:
        folder.rmdir()
    for hook, reason in refused:
        assert hook.attach_type is not None
        yield problem(
            AREA,
            f"refuses to attach to {hook.attach_type.name}: {reason}",
            hook.lost,
            "use a kernel with CONFIG_CGROUP_BPF; or another program there allows none beside it",
        )
    if not refused:
        count = len([hook for hook in HOOKS if hook.attach_type is not None])
        yield ok(AREA, f"programs can be attached to all {count} places of a cgroup")


def _refused_places(folder: Path) -> Iterator[tuple[Hook, BpfError]]:
    with ExitStack() as opened:
        cgroup = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        opened.callback(os.close, cgroup)
        for hook in HOOKS:
            if hook.attach_type is None:
                continue
            try:
                program = libbpf.prog_load(
                    int(hook.program_type), _PASS, "doctor", loader.LICENSE, int(hook.attach_type)
                )
                opened.callback(os.close, program)
                link = links.link_create_cgroup(program, cgroup, hook.attach_type)
                opened.callback(os.close, link)
            except BpfError as error:
                yield hook, error


def _sweep(root: Path) -> None:
    """What a doctor that was killed has left."""
    for left in root.glob(f"{_CGROUP}*"):
        if not Path("/proc", left.name.removeprefix(_CGROUP)).exists():
            with contextlib.suppress(OSError):
                left.rmdir()


def _listeners() -> Finding:
    todo = "restart these services once the agent runs, or use a kernel 6.12 or newer"
    try:
        works = listener_flag.works()
    except (BpfError, btf.BtfError, OSError) as error:
        return warning(AREA, f"cannot ask sockets for TCP's flags: {error}", LISTENERS.lost, todo)
    if works:
        return ok(AREA, "services older than the agent can answer with a tag")
    return warning(
        AREA, "TCP's flags of a listening socket cannot be changed", LISTENERS.lost, todo
    )


def _ending() -> Finding:
    """A connection that cannot be (from a port to itself, with a cookie of nobody's) is ended."""
    nobody = ("127.0.0.1", 1)
    failed = sock_destroy.destroy([Connection(os.getpid(), False, nobody, nobody, 1)])
    if not failed:
        return ok(AREA, "connections can be ended from outside (SOCK_DESTROY)")
    return warning(
        AREA,
        f"connections cannot be ended from outside: {failed[0][1]}",
        "a client whose server is refused waits for its time-out; the refusal itself holds",
        "use a kernel with CONFIG_INET_DIAG_DESTROY",
    )


def _datapath() -> Finding:
    try:
        seconds = loader.try_load()
    except LoadFailed as error:
        return problem(
            AREA,
            f"the datapath cannot be built: {error}",
            "the agent cannot load it; what is attached already goes on",
            "see the lines above; bcc's own messages are on stderr",
        )
    return ok(AREA, f"the datapath compiles and its {len(HOOKS)} programs load ({seconds:.1f} s)")
