# SPDX-License-Identifier: Apache-2.0
"""What a virtual machine boots from: Debian's kernels and a Debian 12 root file system, kept.

Kernels are found by their metapackages, because Debian removes old versions from its archive: a
version that is written down here would be gone in a month. One root image serves every kernel, with
the modules of each; its name is the fingerprint of all that it is made of, so a change makes a new
one and the old one goes. Nothing is mounted and no loop device is needed: mke2fs copies the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm.errors import VmError

METAPACKAGES: Mapping[str, str] = {
    "6.1": "linux-image-cloud-amd64",
    "6.12": "linux-image-6.12-cloud-amd64",
}
"""Debian 12's own kernel, and the one of Debian 13 that Debian 12's security suite carries."""

SUITE = "bookworm"
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "udev", "kmod", "util-linux", "procps"),
    *("python3", "python3-bpfcc", "libbpf1"),
    *("iproute2", "nftables", "iputils-ping", "curl", "openssl", "ca-certificates"),
    *("gcc", "libc6-dev", "linux-libc-dev"),
    *("nginx-light", "redis-server", "redis-tools"),
)
"""What the agent and the lab run on; the Python environment comes from the tree."""

_GUEST = Path(__file__).with_name("guest")
_MASKED = (
    *("nginx.service", "redis-server.service", "systemd-firstboot.service"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("e2scrub_all.timer", "systemd-pstore.service", "proc-sys-fs-binfmt_misc.automount"),
    *("getty@tty1.service", "serial-getty@ttyS0.service", "systemd-timesyncd.service"),
)
_USELESS = ("usr/share/doc", "usr/share/man", "usr/share/locale", "var/lib/apt/lists", "boot")
_MAKING = "making-"
_COMMAND_SECONDS = 600.0
_IMAGE_SPARE_KIB = 512 * 1024


@dataclass(frozen=True, slots=True)
class Kernel:
    """One of Debian's kernels. name: of METAPACKAGES. tree: what its package unpacks to."""

    name: str
    release: str
    tree: Path

    @property
    def image(self) -> Path:
        return self.tree / "boot" / f"vmlinuz-{self.release}"


def folder() -> Path:
    """Where all is kept: $CORDON_VM_CACHE, or ~/.cache/cordon-vm."""
    return Path(os.environ.get("CORDON_VM_CACHE") or Path.home() / ".cache" / "cordon-vm")


@contextlib.contextmanager
def locked() -> Iterator[Path]:
    """The folder, for one run at a time, without what a killed run left. Raises VmError."""
    kept = folder()
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


def fetch_kernel(kept: Path, name: str) -> Kernel:
    """Debian's newest kernel of that name. Raises VmError."""
    package = _package_of(METAPACKAGES[name])
    version = _version_of(package)
    tree = kept / f"kernel-{name}-{version}"
    if not tree.exists():
        with _scratch(kept) as scratch:
            _run(["apt-get", "download", "-q", package], cwd=scratch)
            _run(["dpkg", "-x", str(next(scratch.glob("*.deb"))), str(scratch / "tree")])
            _replace(scratch / "tree", tree, f"kernel-{name}-*")
    return Kernel(name, package.removeprefix("linux-image-"), tree)


def root_image(kept: Path, kernels: Sequence[Kernel]) -> Path:
    """A root file system with the modules of these kernels. Raises VmError."""
    image = kept / f"root-{_fingerprint(kernels)}.img"
    if not image.exists():
        with _scratch(kept) as scratch:
            root = scratch / "root"
            _bootstrap(root)
            _furnish(root)
            for kernel in kernels:
                _add_modules(root, kernel)
            make_image(root, scratch / "image", "root")
            _replace(scratch / "image", image, "root-*.img")
    return image


def make_image(content: Path, image: Path, label: str) -> None:
    """An ext4 file system with what is in a folder, and room besides; sparse."""
    used = int(_run(["du", "-skx", str(content)]).split()[0])
    size = used + used // 8 + _IMAGE_SPARE_KIB
    options = ["-t", "ext4", "-O", "^has_journal", "-m", "0", "-L", label]
    _run(["mke2fs", "-q", *options, "-d", str(content), str(image), f"{size}k"])


def _package_of(metapackage: str) -> str:
    depends = re.search(r"Depends: (linux-image-\S+)", _run(["apt-cache", "depends", metapackage]))
    if depends is None:
        raise VmError(
            f"apt knows no kernel behind {metapackage}: `apt-get update`, and see that the main "
            f"and the security suite of {SUITE} are among its sources"
        )
    return depends[1]


def _version_of(package: str) -> str:
    candidate = re.search(r"Candidate: (\S+)", _run(["apt-cache", "policy", package]))
    if candidate is None:
        raise VmError(f"apt has no version of {package} to install; run `apt-get update`")
    return candidate[1]


def _fingerprint(kernels: Sequence[Kernel]) -> str:
    digest = hashlib.sha256()
    parts = [SUITE, *PACKAGES, *_MASKED, *_USELESS, *(kernel.tree.name for kernel in kernels)]
    digest.update("\0".join(parts).encode())
    for path in sorted(_GUEST.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _bootstrap(root: Path) -> None:
    """In namespaces of its own, so that /proc and /dev, which it mounts, go when it is killed, and
    are never met by whoever removes the folder."""
    _run(
        [
            *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            "mmdebstrap",
            "--quiet",
            "--mode=root",
            "--variant=minbase",
            f"--include={','.join(PACKAGES)}",
            SUITE,
            str(root),
        ]
    )


def _furnish(root: Path) -> None:
    for useless in _USELESS:
        shutil.rmtree(root / useless, ignore_errors=True)
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "etc/hostname").write_text("guest\n")
    units = root / "etc/systemd/system"
    for unit in _MASKED:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    shutil.copy(_GUEST / "cordon-guest.service", units)
    (units / "multi-user.target.wants").mkdir(exist_ok=True)
    (units / "multi-user.target.wants/cordon-guest.service").symlink_to("../cordon-guest.service")
    script = Path(shutil.copy(_GUEST / "cordon-guest", root / "usr/local/sbin"))
    script.chmod(0o755)


def _add_modules(root: Path, kernel: Kernel) -> None:
    """What this kernel has as modules; depmod here, because it is slow under emulation."""
    place = Path("lib/modules") / kernel.release
    source = next(p for p in (kernel.tree / place, kernel.tree / "usr" / place) if p.exists())
    shutil.copytree(source, root / "usr" / place, symlinks=True)
    _run(["depmod", "-b", str(root), kernel.release])


@contextlib.contextmanager
def _scratch(kept: Path) -> Iterator[Path]:
    """A folder beside what is kept, so that what is ready is renamed into its place."""
    with tempfile.TemporaryDirectory(prefix=_MAKING, dir=kept) as made:
        yield Path(made)


def _replace(fresh: Path, place: Path, old: str) -> None:
    for path in place.parent.glob(old):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    fresh.rename(place)


def _run(command: Sequence[str], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise VmError(f"`{command[0]}` did not end within {_COMMAND_SECONDS:g} s") from None
    if done.returncode != 0:
        raise VmError(f"`{' '.join(command)[:300]}` failed: {done.stderr.strip()[-1000:]}")
    return done.stdout
