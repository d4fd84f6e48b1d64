# SPDX-License-Identifier: Apache-2.0
"""How root file systems and images are made, for all machines in qemu.

Nothing is mounted where others see it and no loop device is needed: mke2fs copies the folder. What
is not ready lies in a scratch folder beside its place, and is renamed when it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.vm.errors import VmError

SUITE = "bookworm"
MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("e2scrub_all.timer", "systemd-pstore.service", "proc-sys-fs-binfmt_misc.automount"),
    *("getty@tty1.service", "serial-getty@ttyS0.service", "systemd-timesyncd.service"),
    "systemd-firstboot.service",
)
"""Units that only take a slow machine's time."""
USELESS = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/lib/apt/lists")

_MAKING = "making-"
_COMMAND_SECONDS = 600.0
_IMAGE_SPARE_KIB = 512 * 1024


@contextlib.contextmanager
def locked(kept: Path) -> Iterator[Path]:
    """A folder of what is kept, for one run at a time, without what a killed run left. Raises
    VmError."""
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (kept / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise VmError(
                f"another run uses {kept}: wait for its end, or set CORDON_VM_CACHE to another "
                "folder"
            ) from None
        for left in kept.glob(f"{_MAKING}*"):
            shutil.rmtree(left)
        yield kept


@contextlib.contextmanager
def scratch(kept: Path) -> Iterator[Path]:
    """A folder beside what is kept, so that what is ready is renamed into its place."""
    with tempfile.TemporaryDirectory(prefix=_MAKING, dir=kept) as made:
        yield Path(made)


def replace(fresh: Path, place: Path, old: str) -> None:
    """Put what is ready into its place, and remove what the pattern `old` finds there."""
    for path in place.parent.glob(old):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    fresh.rename(place)


def bootstrap(root: Path, packages: Sequence[str], hooks: Sequence[str] = ()) -> None:
    """A Debian 12 with these packages. hooks: commands before they are installed; $1 is the root.

    In namespaces of its own, so that /proc and /dev, which it mounts, go when it is killed, and
    are never met by whoever removes the folder. Raises VmError.
    """
    run(
        [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase"),
            f"--include={','.join(packages)}",
            *(f"--essential-hook={hook}" for hook in hooks),
            SUITE,
            str(root),
        ]
    )


def lighten(root: Path, masked: Sequence[str] = MASKED, useless: Sequence[str] = USELESS) -> None:
    """Take out what a machine for tests only carries along."""
    for name in useless:
        shutil.rmtree(root / name, ignore_errors=True)
    units = root / "etc/systemd/system"
    for unit in masked:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")


def make_image(content: Path, image: Path, label: str) -> None:
    """An ext4 file system with what is in a folder, and room besides; sparse. Raises VmError."""
    used = int(run(["du", "-skx", str(content)]).split()[0])
    size = used + used // 8 + _IMAGE_SPARE_KIB
    options = ["-t", "ext4", "-O", "^has_journal", "-m", "0", "-L", label]
    run(["mke2fs", "-q", *options, "-d", str(content), str(image), f"{size}k"])


def install(packages: Sequence[str]) -> None:
    """Those of these Debian packages that this machine lacks. Raises VmError."""
    known = run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"]).splitlines()
    missing = sorted(
        set(packages) - {line.split()[0] for line in known if line.endswith(" installed")}
    )
    if missing:
        apt_get = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
        apt_get += ["-o", "Acquire::Retries=3"]
        run([*apt_get, "update"])
        run([*apt_get, "install", "-y", "--no-install-recommends", *missing])


def run(command: Sequence[str], cwd: Path | None = None) -> str:
    """What a command says. Raises VmError."""
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise VmError(f"`{command[0]}` did not end within {_COMMAND_SECONDS:g} s") from None
    if done.returncode != 0:
        raise VmError(f"`{' '.join(command)[:300]}` failed: {done.stderr.strip()[-1000:]}")
    return done.stdout
