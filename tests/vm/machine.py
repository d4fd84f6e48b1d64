# SPDX-License-Identifier: Apache-2.0
"""One virtual machine: boot a kernel, run what the work disk says, hear its answer.

No boot loader, no initrd and no network: qemu loads the kernel itself, Debian's cloud kernels have
NVMe and ext4 built in, and what is to run comes on a second disk. The guest answers on a second
serial port, line by line; its last line has the exit status. A machine without that line has
failed, whatever else it said. Both disks are thrown-away copies (snapshot=on).
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.vm.cache import Kernel
from tests.vm.errors import VmError

_BOOT_SECONDS = 180.0
"""Until the guest's first word: 8 s by itself, more where others have the processors."""
_POLL_SECONDS = 0.2
_LONGEST_LOOK = 5.0
"""What one look counts at most: while all of us is stopped, the machine is not late."""
_STATUS = re.compile(r"^cordon-guest: status (\d+)\r?$", re.MULTILINE)
_QUIET = "quiet mitigations=off net.ifnames=0 panic=-1 systemd.show_status=0"


@dataclass(frozen=True, slots=True)
class Disks:
    """root: of the guest. work: what it mounts as the tree and runs."""

    root: Path
    work: Path


@dataclass(frozen=True, slots=True)
class Size:
    """What a machine has, and how long it may take."""

    seconds: float
    processors: int = 2
    memory_mib: int = 3072


def run(kernel: Kernel, disks: Disks, size: Size, logs: Path, tree: Path) -> int:
    """The exit status of what ran inside. Its lines are shown as they come, each with the kernel's
    name before it. Raises VmError."""
    console, answer = logs / f"console-{kernel.name}.log", logs / f"answer-{kernel.name}.log"
    for path in (console, answer):
        path.write_bytes(b"")
    command = _command(kernel, disks, size, (console, answer), tree)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as machine:
        try:
            said = _listen(machine, answer, size.seconds, Lines(kernel.name))
        finally:
            if machine.poll() is None:
                machine.kill()
    status = _STATUS.search(said)
    if status is None:
        raise VmError(
            f"the machine with Linux {kernel.release} ended without an answer; its console says:\n"
            + console.read_text(errors="replace")[-3000:]
        )
    return int(status[1])


def _command(
    kernel: Kernel, disks: Disks, size: Size, serial: tuple[Path, Path], tree: Path
) -> list[str]:
    console, answer = serial
    return [
        *("setpriv", "--pdeathsig", "KILL"),  # it ends with us, however we end
        "qemu-system-x86_64",
        *("-accel", "tcg,thread=multi", "-cpu", "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt"),
        *("-smp", str(size.processors), "-m", str(size.memory_mib)),
        *("-nodefaults", "-display", "none", "-no-reboot"),
        *("-kernel", str(kernel.image)),
        *("-append", f"root=/dev/nvme0n1 rw console=ttyS0 {_QUIET} cordon.tree={tree}"),
        *("-serial", f"file:{console}", "-serial", f"file:{answer}"),
        *("-drive", f"file={disks.root},if=none,id=root,format=raw,snapshot=on"),
        *("-device", "nvme,drive=root,serial=root"),
        *("-drive", f"file={disks.work},if=none,id=work,format=raw,snapshot=on"),
        *("-device", "virtio-blk-pci,drive=work,serial=work"),
        *("-device", "virtio-rng-pci"),
    ]


class Lines:
    """Shows whole lines, for other machines speak at the same time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._begun = b""

    def show(self, piece: bytes) -> None:
        *whole, self._begun = (self._begun + piece).split(b"\n")
        for line in whole:
            say(self.name, line.decode(errors="replace").rstrip("\r"))

    def end(self) -> None:
        if self._begun:
            self.show(b"\n")


def say(name: str, line: str) -> None:
    sys.stdout.write(f"{name:>4}: {line}\n")
    sys.stdout.flush()


def _listen(machine: subprocess.Popen[bytes], answer: Path, seconds: float, lines: Lines) -> str:
    """All that the guest said until it ended, or until its time was over."""
    passed, looked = 0.0, time.monotonic()
    said = b""
    with answer.open("rb") as stream:
        while True:
            over = machine.poll() is not None
            piece = stream.read()
            said += piece
            lines.show(piece)
            if over:
                lines.end()
                return said.decode(errors="replace")
            now = time.monotonic()
            passed, looked = passed + min(now - looked, _LONGEST_LOOK), now
            if (not said and passed > _BOOT_SECONDS) or passed > seconds:
                lines.end()
                say(lines.name, f"the machine is ended after {passed:.0f} s")
                return said.decode(errors="replace")
            time.sleep(_POLL_SECONDS)
