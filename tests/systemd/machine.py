# SPDX-License-Identifier: Apache-2.0
"""A lab host with systemd as its PID 1: real units, real packages, real restarts.

The host's cgroup is the root of the machine's hierarchy, its network namespace the machine's
network; mounts, processes and names are the machine's own. So the lab's clean-up takes a machine
away as it takes any host away: by its cgroup.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab import kernel
from tests.lab.host import LabHost
from tests.lab.process import PYTHON, LabProcess
from tests.lab.waiting import wait_until

STARTER = Path(__file__).with_name("boot.py")
BOOT_SECONDS = 180.0
COMMAND_SECONDS = 60.0
ENTER = ("--mount", "--uts", "--ipc", "--pid", "--cgroup")
UP = ("running", "degraded")
DROP_IN = "/etc/systemd/system/cordon-agent.service.d/numbers.conf"
OUTER_PROC = "[Service]\nBindReadOnlyPaths=/srv/proc:/proc\n"


@dataclass
class Machine:
    """`lower`: folders of the root file system, the topmost first."""

    host: LabHost
    lower: list[Path]
    pid: int = 0
    """Of systemd, as the test sees it."""
    _starter: LabProcess | None = field(default=None, repr=False)

    @property
    def upper(self) -> Path:
        """What the machine has written; it stays over a reboot, and may be written to before."""
        return self.host.folder / "upper"

    def path(self, name: str) -> Path:
        """A file of the running machine as the test sees it."""
        return Path(f"/proc/{self.pid}/root/{name.lstrip('/')}")

    def prepare(self, name: str, content: str | bytes, mode: int = 0o644) -> None:
        """Put a file into the root file system of a machine that does not run."""
        path = self.upper / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)

    def write(self, name: str, content: str | bytes, mode: int = 0o644) -> None:
        """Put a file into the running machine; it appears whole."""
        path = self.path(name)
        fresh = path.with_name(path.name + ".new")
        fresh.write_bytes(content.encode() if isinstance(content, str) else content)
        fresh.chmod(mode)
        fresh.rename(path)

    def enable(self, unit: str, target: str) -> None:
        """Make a unit start with a machine that does not run yet."""
        link = self.upper / f"etc/systemd/system/{target}.wants" / unit
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"/lib/systemd/system/{unit}")

    def boot(self) -> None:
        """Start systemd and wait until it has nothing more to start."""
        self.power_on()
        self.wait_up()

    def power_on(self) -> None:
        self.prepare(DROP_IN, OUTER_PROC)  # the agent's: see boot.py
        folder = self.host.folder
        pid_file = folder / "pid1"
        pid_file.unlink(missing_ok=True)
        parts = [
            self.host.cgroup,
            folder / "root",
            ":".join(map(str, self.lower)),
            self.upper,
            folder / "work",
        ]
        argv = [PYTHON, "-I", "-S", str(STARTER), *map(str, parts), str(pid_file)]
        self._starter = self.host.spawn(argv, "./")  # the machine's root

        def forked() -> bool:
            assert self._starter is not None
            assert self._starter.alive, f"the starter ended: {self._starter.output()}"
            return pid_file.exists()

        wait_until(forked, f"the starter of {self.host.name} forks", timeout=BOOT_SECONDS)
        self.pid = int(pid_file.read_text())

    def wait_up(self) -> None:
        wait_until(self._is_up, f"systemd on {self.host.name} is up", BOOT_SECONDS, interval=0.1)

    def _is_up(self) -> bool:
        assert self._starter is not None
        assert self._starter.alive, f"systemd ended: {self._starter.output()}"
        told = self.run("systemctl", "is-system-running", check=False).stdout
        return told.strip() in UP

    def run(
        self, *argv: str, check: bool = True, input: str = "", timeout: float = COMMAND_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine as its administrator; a failure shows its output."""
        enter = ["nsenter", "--target", str(self.pid), *ENTER, "--", *argv]
        done = self.host.run(enter, "admin.scope/command", input=input, timeout=timeout)
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}\n{done.stderr}"
        return done

    def start(self, *argv: str) -> LabProcess:
        """Start a command in the machine that the test ends or waits for."""
        enter = ["nsenter", "--target", str(self.pid), *ENTER, "--", *argv]
        return self.host.spawn(enter, "admin.scope/command")

    def start_agent(self) -> LabProcess:
        """By hand, with the numbers of processes that its unit has by the drop-in."""
        by_hand = "mount --bind /srv/proc /proc && exec cordon-agent run"
        return self.start("unshare", "--mount", "sh", "-c", by_hand)

    def start_agent_outside(self) -> LabProcess:
        """By hand, in the pid namespace that the kernel counts in, as the agent of a real host is:
        this one can open processes by number, and so adopt their sockets (see boot.py).
        """
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--uts", "--ipc", "--cgroup"]
        by_hand = "mount --bind /srv/proc /proc && exec cordon-agent run"
        argv = [*enter, "--", "unshare", "--mount", "sh", "-c", by_hand]
        return self.host.spawn(argv, "admin.scope/agent")

    def property(self, unit: str, name: str) -> str:
        return self.run("systemctl", "show", "--value", "-p", name, unit).stdout.strip()

    def is_active(self, unit: str) -> bool:
        return self.property(unit, "ActiveState") == "active"

    def journal(self, *arguments: str) -> str:
        return self.run("journalctl", "--no-pager", "-o", "cat", *arguments).stdout

    def reboot(self) -> None:
        """Orderly down, and up again: processes, mounts, pins and runtime files are gone."""
        self.shut_down()
        self.boot()

    def shut_down(self) -> None:
        assert self._starter is not None
        self.run("systemctl", "--no-block", "poweroff", check=False)
        self._starter.wait(BOOT_SECONDS)
        self.pid = 0


TOOLS = ("mmdebstrap", "nsenter", "unshare", "dpkg-deb")


def unable() -> str:
    """The sentence that tells why no machine can be made here; empty if one can."""
    if os.geteuid() != 0:
        return "machines of the tests are namespaces, mounts and cgroups: run them as root"
    for name in TOOLS:
        if shutil.which(name) is None:
            return f"`{name}` is missing; `make setup` installs it"
    try:
        kernel.cgroup2_root()
    except OSError as failure:
        return str(failure)
    mounted = 'mount -t tmpfs none "$1" && mkdir "$1/l" "$1/u" "$1/w" "$1/r" && mount -t overlay '
    mounted += 'overlay -o "lowerdir=$1/l,upperdir=$1/u,workdir=$1/w" "$1/r"'
    with tempfile.TemporaryDirectory(prefix="cordon-systemd-") as folder:
        inside = ["unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup"]
        argv = [*inside, "--propagation", "private", "sh", "-ec", mounted, "sh", folder]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        return f"this machine refuses namespaces or overlay mounts to root: {done.stderr.strip()}"
    return ""


def chroot(lower: list[Path], upper: Path, work: Path, argv: list[str]) -> None:
    """Run a command in a root file system that no systemd runs in, as an image builder does."""
    root = work.with_name("root")
    for folder in (upper, work, root):
        folder.mkdir(parents=True, exist_ok=True)
    layers = f"lowerdir={':'.join(map(str, lower))},upperdir={upper},workdir={work}"
    overlay = 'mount -t overlay overlay -o "$1" "$2"; shift; mount -t proc proc "$1/proc"'
    script = f'{overlay}; exec chroot "$@"'
    inner = ["sh", "-ec", script, "sh", layers, str(root), *argv]
    command = ["unshare", "--mount", "--propagation", "private", *inner]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{argv}: {done.stdout}{done.stderr}")


if __name__ == "__main__":  # a look at it by hand: python -m tests.systemd.machine COMMAND
    from tests.lab import Lab
    from tests.systemd.images import root_image

    with Lab("a") as lab:
        machine = Machine(lab["a"], [root_image()])
        machine.boot()
        sys.stdout.write(machine.run(*sys.argv[1:], check=False).stdout)
