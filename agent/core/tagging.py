# SPDX-License-Identifier: Apache-2.0
"""From facts and the kernel's entry to the entry that should be there. Pure.

The kernel raises an entry's generation whenever the process may be somebody else (exec, another
user, another cgroup). An answer to an older question is thrown away; one to a newer question than
the entry shows is written with the question's generation, for then the daemon's own write has
covered the kernel's.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.core import delta
from agent.core.abi import EXECUTABLE_KEY, Process, ProcessFlag
from agent.core.attest import Facts, without_executable
from agent.core.commands import (
    Command,
    ForgetProcess,
    Level,
    Log,
    RememberExecutable,
    TagProcess,
    TagUnreadable,
)
from agent.core.events import FactsNotRead, FactsRead, ProcessesWalked, ProcessReport
from agent.core.model import Identity


def superseded(report: ProcessReport, before: Process | None) -> bool:
    """Whether the process is gone, or the kernel asks anew about it already."""
    return before is None or before.generation > report.generation


def believed(facts: Facts, before: Process | None) -> Facts:
    """The facts, without the executable if it is not the file that the kernel saw at exec.

    A process that is root in a user namespace of its own may point /proc/PID/exe at another file
    (prctl PR_SET_MM_MAP). Devices are not compared: on btrfs and overlayfs stat(2) tells another
    one than the kernel has. An entry without an inode is of a process whose exec nobody saw.
    """
    if before is None or not before.inode or before.inode == facts.inode:
        return facts
    return without_executable(facts)


def entry_of(
    facts: Facts, identity: int, before: Process | None, generation: int, now_ns: int
) -> Process:
    """An adopted process has no entry before: stamp and generation are then 0.

    The executable stays the one that the kernel saw, where it saw one.
    """
    seen = before if before is not None and before.inode else None
    attested = identity != Identity.PENDING
    return Process(
        identity=identity,
        uid=facts.uid,
        cgroup=facts.cgroup_id,
        since_ns=now_ns,
        inode=seen.inode if seen is not None else facts.inode,
        device=seen.device if seen is not None else facts.device,
        flags=int(ProcessFlag.ATTESTED) if attested else 0,
        generation=generation,
        stamp=before.stamp if before is not None else 0,
    )


def holds(entry: Process, facts: Facts) -> bool:
    """Whether an entry was attested, of the user and the cgroup that the process still has."""
    attested = bool(entry.flags & ProcessFlag.ATTESTED)
    return attested and (entry.uid, entry.cgroup) == (facts.uid, facts.cgroup_id)


def same_tag(one: Process, other: Process) -> bool:
    """Whether two entries say the same of the same image of a process."""
    return one._replace(since_ns=0, inode=0, device=0) == other._replace(
        since_ns=0, inode=0, device=0
    )


def tag_reported(event: FactsRead, identity: int, cacheable: bool) -> list[Command]:
    """Answer one question of the kernel."""
    if superseded(event.report, event.before):
        return []
    after = entry_of(event.facts, identity, event.before, event.report.generation, event.now_ns)
    commands: list[Command] = []
    if event.before is None or not same_tag(event.before, after):
        commands.append(TagProcess(event.facts, event.before, after))
    if cacheable and is_key_of(event.report.executable, event.facts):
        commands.append(RememberExecutable(event.report.executable, identity))
    return commands


def tag_unreadable(event: FactsNotRead) -> list[Command]:
    """A process whose facts cannot be read is what a stranger is."""
    if superseded(event.report, event.before) or event.before is None:
        return []
    after = event.before._replace(
        identity=int(Identity.HOST),
        since_ns=event.now_ns,
        flags=int(ProcessFlag.ATTESTED),
        generation=event.report.generation,
    )
    pid, reason = event.report.pid, event.reason
    said = Log(
        Level.WARNING,
        "cannot attest a process, it counts as host",
        (("pid", pid), ("reason", reason)),
    )
    return [said, TagUnreadable(pid, event.before, after)]


def is_key_of(packed: bytes, facts: Facts) -> bool:
    """Whether the kernel's key names the very file, user and cgroup that were attested.

    A file of several links has several paths, of which the kernel's key would not tell one.
    """
    if not any(packed) or facts.links != 1:
        return False
    key = EXECUTABLE_KEY.unpack(packed)
    return (key.inode, key.ctime_sec * 10**9 + key.ctime_nsec, key.cgroup, key.uid) == (
        facts.inode,
        facts.ctime_ns,
        facts.cgroup_id,
        facts.uid,
    )


def unpinned(before: Process | None) -> Process | None:
    """An entry of which the kernel's side has no part, without its executable.

    An exec before the hooks were attached was seen by nobody: what an earlier walk has read there
    says nothing against what is read now.
    """
    if before is None or before.stamp:
        return before
    return before._replace(inode=0, device=0)


def reconcile(
    event: ProcessesWalked, identities: Mapping[int, int], *, adopting: bool = False
) -> list[Command]:
    """Bring `processes` in step with the processes that are there.

    A living process whose facts could not be read keeps the entry it has. adopting: it is the first
    walk with hooks attached.
    """
    desired = {pid: entry for pid, entry in event.actual.items() if pid in event.living}
    for pid, facts in event.seen.items():
        before = event.actual.get(pid)
        before = unpinned(before) if adopting else before
        generation = before.generation if before is not None else 0
        desired[pid] = entry_of(facts, identities[pid], before, generation, event.now_ns)

    def same(one: Process, other: Process) -> bool:
        return same_tag(one, other) and (not adopting or one.inode == other.inode)

    plan = delta.plan(desired, event.actual, same)
    commands: list[Command] = [
        TagProcess(event.seen[pid], event.actual.get(pid), after)
        for pid, after in plan.puts.items()
    ]
    commands.extend(ForgetProcess(pid, event.actual[pid]) for pid in plan.deletes)
    return commands
