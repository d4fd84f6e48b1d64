# SPDX-License-Identifier: Apache-2.0
"""Reads the facts of a process from /proc, of one process and never of two.

Everything is read through an open folder /proc/PID, which the kernel ties to the process and not to
its number: once the process is gone, reading through it fails, even if the number is used again.
`unchanged` is the other half: what was decided is written first and checked once more after, so an
exec between reading and writing does not go by unseen.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.core.attest import Facts
from agent.core.containers import container_of
from agent.core.interest import Interest
from agent.edge import cgroups
from agent.edge.hasher import HashCache, version_of
from agent.edge.runtimes import RuntimeFiles
from agent.edge.scarcity import is_scarcity

PROC = Path("/proc")
_DELETED = " (deleted)"
_ABOVE = "/../"
"""How the path of a cgroup outside the reader's cgroup namespace begins (cgroup_namespaces(7))."""
_NAMES_KEPT = 4096


class ProcessGone(Exception):
    """The process has ended, or is no longer below the instance's cgroup root."""


class FactsUnreadable(Exception):
    """The process lives, and something about it could not be read."""


class Scarce(FactsUnreadable):
    """We lack the descriptors or the memory to look; of the process it says nothing."""


class ForeignProc(Exception):
    """/proc numbers processes otherwise than the kernel does."""


def require_kernels_numbers(proc: Path = PROC) -> None:
    """Raises ForeignProc in a pid namespace of its own, as in a container without the host's.

    The kernel side numbers processes as the initial namespace does; looked up elsewhere, a number
    is another process or none, and every workload would silently be the host. Threads of the kernel
    are seen in the initial namespace alone, and number 2 is the first of them.
    """
    try:
        first = (proc / "2/comm").read_text().strip()
    except OSError:
        first = ""
    if first != "kthreadd":
        raise ForeignProc(
            f"{proc} is that of a pid namespace, and the agent has to see the processes of the "
            "host: run it outside of containers, or in one that shares the host's pid namespace"
        )


@dataclass
class ProcessReader:
    """root: the instance's cgroup root; mount: where cgroup v2 is mounted.

    hashes: of files that were hashed before; runtimes: what container runtimes say.
    """

    root: Path
    mount: Path
    proc: Path = PROC
    hashes: HashCache = field(default_factory=HashCache)
    runtimes: RuntimeFiles = field(default_factory=RuntimeFiles)
    _users: dict[int, str] = field(default_factory=dict, repr=False)
    _groups: dict[int, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        below = self.root.relative_to(self.mount).as_posix()
        self._prefix = "" if below == "." else f"/{below}"
        self._mount_namespace = (self.proc / "self/ns/mnt").stat().st_ino

    def forget(self) -> None:
        """Look users and groups up afresh, and try anew what could not be hashed."""
        self._users.clear()
        self._groups.clear()
        self.hashes.forget_failures()

    def read(self, pid: int, interest: Interest) -> Facts:
        """Raises ProcessGone or FactsUnreadable."""
        with self._folder(pid) as folder:
            return self._read(pid, folder, interest)

    def open_executable(self, facts: Facts) -> int | None:
        """A descriptor of the file that the process runs; None if it runs another one by now.

        Raises ProcessGone or FactsUnreadable.
        """
        with self._folder(facts.pid) as folder:
            fd = os.open("exe", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=folder)
            try:
                found = os.fstat(fd)
                same = (_kernel_device(found.st_dev), found.st_ino) == (facts.device, facts.inode)
                if same and _stat(folder)[1] == facts.started:
                    return os.dup(fd)
            finally:
                os.close(fd)
        return None

    def unchanged(self, facts: Facts) -> bool:
        """Whether it is still the same process with the same image, user and cgroup.

        Raises ProcessGone.
        """
        with self._folder(facts.pid) as folder:
            started = _stat(folder)[1]
            uid, gid = _owner(folder)
            _, found = _executable(folder)
            now = (started, uid, gid, *_file(found), self._cgroup(folder))
        then = (facts.started, facts.uid, facts.gid, facts.device, facts.inode, facts.cgroup)
        return now == then

    def walk(self, interest: Interest) -> tuple[dict[int, Facts], frozenset[int]]:
        """Facts of every process of the instance, and the pids of all, read or not.

        Raises Scarce: what cannot be opened for one process cannot be for the next.

        Listed by /proc and not by the cgroups, whose files number processes as the reader's own pid
        namespace does: what lists and what is read must speak of the same processes.
        """
        seen: dict[int, Facts] = {}
        living: set[int] = set()
        for pid in self._pids():
            try:
                seen[pid] = self.read(pid, interest)
            except ProcessGone:
                continue
            except Scarce:
                raise
            except FactsUnreadable:
                pass
            living.add(pid)
        return seen, frozenset(living)

    def _pids(self) -> list[int]:
        try:
            names = os.listdir(self.proc)
        except OSError as error:
            raise self._unreadable(error) from error
        return [int(name) for name in names if name.isdigit()]

    @contextmanager
    def _folder(self, pid: int) -> Iterator[int]:
        try:
            folder = os.open(self.proc / str(pid), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            if is_scarcity(error):
                raise self._unreadable(error) from error
            raise ProcessGone from error
        try:
            yield folder
        except (FileNotFoundError, ProcessLookupError) as error:
            raise ProcessGone from error
        except (OSError, ValueError, LookupError) as error:
            raise self._unreadable(error) from error
        finally:
            os.close(folder)

    def _unreadable(self, error: Exception) -> FactsUnreadable:
        if not is_scarcity(error):
            return FactsUnreadable(str(error))
        # A user who could not be looked up just before looks like one without a name (getpwuid(3)).
        self.forget()
        return Scarce(str(error))

    def _read(self, pid: int, folder: int, interest: Interest) -> Facts:
        cgroup = self._cgroup(folder)  # first: most processes are another instance's or none's
        command, started, parent = _stat(folder)
        uid, gid = _owner(folder)
        exe, found = _executable(folder)
        device, inode = _file(found)
        name, image = self._container(cgroup) if interest.containers else ("", "")
        return Facts(
            pid=pid,
            started=started,
            command=command,
            uid=uid,
            gid=gid,
            user=self._user(uid),
            group=self._group(gid),
            cgroup=cgroup,
            cgroup_id=cgroups.cgroup_id(Path(f"{self.root}{cgroup}")),
            exe=exe,
            exe_vouched=exe in interest.exe_paths and self._is_on_host(folder, exe, device, inode),
            inode=inode,
            device=device,
            ctime_ns=found.st_ctime_ns if found is not None else 0,
            links=found.st_nlink if found is not None else 0,
            sha256=self._sha256(found) if interest.hashes else "",
            container_name=name,
            container_image=image,
            parent=parent,
        )

    def _sha256(self, found: os.stat_result | None) -> str | None:
        if found is None:
            return ""
        hashed = self.hashes.get(version_of(found))
        return hashed.sha256 if hashed is not None else None

    def _container(self, cgroup: str) -> tuple[str, str]:
        container = container_of(cgroup)
        return self.runtimes.names(container) if container is not None else ("", "")

    def _cgroup(self, folder: int) -> str:
        path = cgroups.parse_membership(os.fsdecode(_content(folder, "cgroup")))
        if path is None or f"{path}/".startswith(_ABOVE):
            raise ProcessLookupError("it is outside of our cgroup namespace")
        if not f"{path}/".startswith(f"{self._prefix}/"):
            raise ProcessLookupError("it is not below the instance's cgroup root")
        return path[len(self._prefix) :] or "/"

    def _is_on_host(self, folder: int, exe: str, device: int, inode: int) -> bool:
        if os.stat("ns/mnt", dir_fd=folder).st_ino == self._mount_namespace:
            return True
        try:
            found = os.stat(exe)
        except OSError:
            return False
        return (_kernel_device(found.st_dev), found.st_ino) == (device, inode)

    def _user(self, uid: int) -> str:
        if uid not in self._users:
            if len(self._users) >= _NAMES_KEPT:
                self._users.clear()
            try:
                self._users[uid] = pwd.getpwuid(uid).pw_name
            except KeyError:
                self._users[uid] = ""
        return self._users[uid]

    def _group(self, gid: int) -> str:
        if gid not in self._groups:
            if len(self._groups) >= _NAMES_KEPT:
                self._groups.clear()
            try:
                self._groups[gid] = grp.getgrgid(gid).gr_name
            except KeyError:
                self._groups[gid] = ""
        return self._groups[gid]


def _text(folder: int, name: str) -> str:
    return _content(folder, name).decode(errors="replace")


def _content(folder: int, name: str) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return os.read(fd, 65536)
    finally:
        os.close(fd)


def _stat(folder: int) -> tuple[str, int, int]:
    """Command, start time, parent; the command may hold blanks and brackets (proc_pid_stat(5))."""
    head, _, tail = _text(folder, "stat").rpartition(")")
    fields = tail.split()
    if fields[0] in ("Z", "X"):
        raise ProcessLookupError("it has ended")
    return head.partition("(")[2], int(fields[19]), int(fields[1])


def _owner(folder: int) -> tuple[int, int]:
    """Real user and group.

    The first line holds the command, in which the kernel escapes line feeds and nothing else: what
    str.splitlines takes for the end of a line would let a process write lines of its own.
    """
    found = {}
    for line in _text(folder, "status").split("\n"):
        name, _, value = line.partition(":")
        if name in ("Uid", "Gid"):
            found[name] = int(value.split()[0])
            if len(found) == 2:
                break
    return found["Uid"], found["Gid"]


def _executable(folder: int) -> tuple[str, os.stat_result | None]:
    """Path and file; empty and None for a thread of the kernel."""
    try:
        path = os.readlink("exe", dir_fd=folder)
        found = os.stat("exe", dir_fd=folder)
    except FileNotFoundError:
        _stat(folder)  # gone, rather?
        return "", None
    if found.st_nlink == 0:
        path = path.removesuffix(_DELETED)
    return path, found


def _file(found: os.stat_result | None) -> tuple[int, int]:
    """Device and inode."""
    return (0, 0) if found is None else (_kernel_device(found.st_dev), found.st_ino)


def _kernel_device(device: int) -> int:
    return os.major(device) << 20 | os.minor(device)
