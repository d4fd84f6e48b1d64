# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.vagrant.inside FOLDER BOX`: what runs in the namespaces that main.py makes.

Brings up the machines of the Vagrantfile, asks from inside them what the policy lets through, takes
a permission away and gives it back, provisions again, and destroys the machines.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.vagrant import libvirt
from tests.vagrant.box import Box
from tests.vm.errors import VmError

ROOT = Path(__file__).resolve().parents[2]
MACHINES = ("controller", "web", "db")
STOCK = "In stock: 12 apples, 7 pears"
REFUSED = (7, 28)
"""Of curl: told at once that it is refused, and told nothing."""
_UP_SECONDS = 1200.0
_COMMAND_SECONDS = 180.0
_HELD_SECONDS = 90.0
_PAUSE_SECONDS = 2.0
_CURL = "curl -sS --connect-timeout 20 -m 60"


class Fleet:
    """`vagrant` on the project's own Vagrantfile, with nothing kept outside `folder`."""

    def __init__(self, folder: Path, box: Box) -> None:
        self._environment = {
            **os.environ,
            "HOME": str(folder),
            "VAGRANT_HOME": str(folder / "vagrant.d"),
            "VAGRANT_DOTFILE_PATH": str(folder / "dot"),
            "VAGRANT_CWD": str(ROOT),
            "VAGRANT_DEFAULT_PROVIDER": "libvirt",
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "VAGRANT_NO_COLOR": "1",
            "CORDON_VAGRANT_BOX": "cordon-local",
            "CORDON_VAGRANT_DRIVER": "qemu",
            "CORDON_VAGRANT_KERNEL": str(box.kernel),
            "CORDON_VAGRANT_INITRD": str(box.initrd),
            "CORDON_VAGRANT_PATIENCE": "4",
        }

    def vagrant(self, *arguments: str, seconds: float = _UP_SECONDS) -> None:
        """Run it to its end with its output shown. Raises VmError."""
        _say(f"$ vagrant {' '.join(arguments)}")
        started = time.monotonic()
        command = ["vagrant", *arguments]
        done = subprocess.run(
            command, env=self._environment, stdin=subprocess.DEVNULL, timeout=seconds, check=False
        )
        if done.returncode != 0:
            raise VmError(f"`{' '.join(command)}` failed with status {done.returncode}")
        _say(f"  ({time.monotonic() - started:.0f} s)")

    def ssh(self, machine: str, command: str) -> tuple[int, str]:
        """Exit status and output of a command on a machine."""
        _say(f"$ vagrant ssh {machine} -c '{command}'")
        done = subprocess.run(
            ["vagrant", "ssh", machine, "--no-tty", "-c", command],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
        _say(f"{done.stdout.rstrip()}\n  (status {done.returncode})")
        return done.returncode, done.stdout

    def asked(self, machine: str, command: str) -> str:
        """The output of a command that has to succeed."""
        status, said = self.ssh(machine, command)
        if status != 0:
            raise VmError(f"`{command}` on {machine}: status {status}")
        return said


def check(fleet: Fleet) -> None:
    """Raises VmError for the first thing that is not as it has to be."""
    hosts = fleet.asked("controller", "sudo cordonctl hosts list")
    _expect("web" in hosts and "db" in hosts, "both hosts are known to the controller")
    _until(lambda: _served(fleet, f"{_CURL} http://localhost/"), "the shop reaches the stock")
    _until(lambda: _served(fleet, f"sudo -u clerk {_CURL} http://db/"), "the clerk reaches it")
    _expect(_refused(fleet, f"{_CURL} http://db/"), "whoever else sits on web does not")
    _expect(_refused(fleet, f"sudo {_CURL} http://db/"), "nor does root there")
    why = fleet.asked("db", "sudo cordonctl observe --last 20 --no-follow --verdict refuse")
    _expect("no_rule" in why and "stock" in why, "db says why")
    change = "sudo cordonctl delete allow front-to-stock --wait -m nobody"
    fleet.asked("controller", change)
    _expect(_refused(fleet, f"sudo -u clerk {_CURL} http://db/"), "nor the clerk without the rule")
    fleet.vagrant("provision")
    _until(lambda: _served(fleet, f"sudo -u clerk {_CURL} http://db/"), "with it he does again")
    _expect(_refused(fleet, f"{_CURL} http://db/"), "and the others still do not")


def _served(fleet: Fleet, command: str) -> bool:
    status, said = fleet.ssh("web", command)
    return status == 0 and STOCK in said


def _refused(fleet: Fleet, command: str) -> bool:
    status, said = fleet.ssh("web", command)
    return status in REFUSED and STOCK not in said


def _until(holds: Callable[[], bool], what: str) -> None:
    """Keys for a host that has just joined come to the others a moment later."""
    deadline = time.monotonic() + _HELD_SECONDS
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    _expect(held, what)


def _expect(held: bool, what: str) -> None:
    _say(f"{'held' if held else 'NOT HELD'}: {what}\n")
    if not held:
        raise VmError(f"not held: {what}")


def _say(text: str) -> None:
    print(text, flush=True)


def main(argv: Sequence[str]) -> int:
    """As the first process of a pid namespace: what libvirtd leaves to us has to be waited for, or
    libvirtd thinks that it lives on."""
    worker = os.fork()
    if worker == 0:
        os._exit(_run(Path(argv[0]), Box(Path(argv[1]))))
    while True:
        ended, status = os.wait()
        if ended == worker:
            return 0 if status == 0 else 1


def _run(folder: Path, box: Box) -> int:
    fleet = Fleet(folder, box)
    try:
        with libvirt.running(folder / "libvirt"):
            fleet.vagrant("box", "add", "--name", "cordon-local", str(box.file))
            try:
                for machine in MACHINES:
                    fleet.vagrant("up", machine)
                check(fleet)
            finally:
                fleet.vagrant("destroy", "-f")
    except (VmError, subprocess.TimeoutExpired) as error:
        print(f"test-vagrant: {error}", file=sys.stderr)
        return 1
    print("test-vagrant: all held")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
