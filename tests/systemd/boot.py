# SPDX-License-Identifier: Apache-2.0
"""The starter of a machine: makes namespaces, puts a root file system together, becomes systemd.

Run as `python -I -S boot.py CGROUP ROOT LOWER[:LOWER...] UPPER WORK PIDFILE`, from inside CGROUP
and the machine's network namespace; CGROUP becomes the root of the machine's hierarchy. It imports
nothing of the tests. Everything it mounts lives in its own mount namespace and goes with it. It is
real root, no boundary: nothing hostile runs in it.
"""

import ctypes
import os
import signal
import stat
import sys

CLONE = 0x00020000 | 0x20000000 | 0x04000000 | 0x08000000 | 0x02000000  # mnt pid uts ipc cgroup
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 1, 2, 4, 32, 4096
MS_REC, MS_PRIVATE, MS_SHARED = 16384, 1 << 18, 1 << 20
MNT_DETACH = 2
SYS_PIVOT_ROOT = 155
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9)}
FIXED = ("sys/kernel", "sys/vm", "sys/fs", "sysrq-trigger")
"""Below /proc: what belongs to the whole kernel and not to the machine."""

OUTER_PROC = "srv/proc"
"""The kernel numbers processes as the initial pid namespace does, and the agent looks them up in
/proc: its unit gets this one in place of the machine's (drop-in in machine.py). A real host has one
pid namespace and needs none of that. What the agent does to the host by way of its process 1 (mount
the BPF file system again) must be done to the machine: 1 is the machine's systemd there, too."""

NUMBERS_FROM = 1_000_000
"""The machine's own numbers of processes lie beyond those of others. What the agent opens by
number (pidfd_open) is looked for among the machine's own: it must find nobody rather than somebody
else. So it adopts no socket here; everything that machines start comes after the agent."""

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    arguments = (source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags))
    check(libc.mount(*arguments, data.encode()), f"mount of {kind or source} on {target}")


def mount_root(root: str, lower: str, upper: str, work: str, outer_pid: str) -> None:
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    for folder in (root, upper, work):
        os.makedirs(folder, exist_ok=True)
    mount("overlay", root, "overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}")
    os.makedirs(f"{root}/{OUTER_PROC}", exist_ok=True)
    mount("/proc", f"{root}/{OUTER_PROC}", "", MS_BIND | MS_REC)
    mount(f"/proc/{outer_pid}", f"{root}/{OUTER_PROC}/1", "", MS_BIND)
    mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV)
    with open(f"{root}/proc/sys/kernel/ns_last_pid", "w", encoding="ascii") as last:
        last.write(str(NUMBERS_FROM))
    for name in FIXED:
        path = f"{root}/proc/{name}"
        if not os.path.exists(path):
            continue
        mount(path, path, "", MS_BIND)
        mount(path, path, "", MS_BIND | MS_REMOUNT | MS_RDONLY)
    mount("sysfs", f"{root}/sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV)
    mount("cgroup2", f"{root}/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV)
    mount("bpf", f"{root}/sys/fs/bpf", "bpf", MS_NOSUID | MS_NODEV, "mode=0700")
    for name in ("run", "tmp", "dev"):
        mount("tmpfs", f"{root}/{name}", "tmpfs", MS_NOSUID, "mode=1777" if name == "tmp" else "")


def make_devices(dev: str) -> None:
    for name, (major, minor) in {**DEVICES, "tty": (5, 0)}.items():
        os.mknod(f"{dev}/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.chmod(f"{dev}/{name}", 0o666)
    for name in ("pts", "shm"):
        os.mkdir(f"{dev}/{name}")
    mount("devpts", f"{dev}/pts", "devpts", 0, "newinstance,ptmxmode=0666,mode=0620")
    mount("tmpfs", f"{dev}/shm", "tmpfs", MS_NOSUID | MS_NODEV)
    os.symlink("pts/ptmx", f"{dev}/ptmx")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{dev}/{name}")
    os.symlink("/proc/self/fd", f"{dev}/fd")


def become_systemd(root: str) -> None:
    os.chdir(root)
    check(libc.syscall(SYS_PIVOT_ROOT, b".", b"."), "pivot_root")
    check(libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")
    mount("none", "/", "", MS_REC | MS_SHARED)  # as on a real machine: units get slaves of it
    environment = {"container": "cordon-test", "PATH": "/usr/sbin:/usr/bin", "LANG": "C.UTF-8"}
    arguments = ["/lib/systemd/systemd", "--show-status=false", "--log-target=journal"]
    os.execve(arguments[0], arguments, environment)


def leave_cgroup(cgroup: str) -> None:
    """The machine's root is systemd's alone: it could not hand controllers down otherwise."""
    aside = f"{cgroup}/starter.scope"
    os.makedirs(aside, exist_ok=True)
    with open(f"{aside}/cgroup.procs", "w", encoding="ascii") as procs:
        procs.write("0")


def main() -> None:
    cgroup, root, lower, upper, work, pid_file = sys.argv[1:]
    check(libc.unshare(CLONE), "unshare")
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        # Our parent's root moves with ours: it has to be done with the old one.
        outer_pid = os.read(ready, 32).decode()
        mount_root(root, lower, upper, work, outer_pid)
        make_devices(f"{root}/dev")
        become_systemd(root)
    leave_cgroup(cgroup)
    with open(f"{pid_file}.new", "w", encoding="ascii") as file:
        file.write(str(child))
    os.rename(f"{pid_file}.new", pid_file)
    os.write(told, str(child).encode())
    os.close(told)
    signal.signal(signal.SIGTERM, lambda number, frame: os.kill(child, signal.SIGKILL))
    _, status = os.waitpid(child, 0)
    sys.exit(0 if os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0 else 1)


main()
