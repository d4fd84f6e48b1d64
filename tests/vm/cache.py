# SPDX-License-Identifier: Apache-2.0
"""What a virtual machine boots from: Debian's kernels and a Debian 12 root file system, kept.

Kernels are found by their metapackages, because Debian removes old versions from its archive: a
version that is written down here would be gone in a month. One root image serves every kernel, with
the modules of each; its name is the fingerprint of all that it is made of, so a change makes a new
one and the old one goes.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm import making
from tests.vm.errors import VmError

METAPACKAGES: Mapping[str, str] = {
    "6.1": "linux-image-cloud-amd64",
    "6.12": "linux-image-6.12-cloud-amd64",
}
"""Debian 12's own kernel, and the one of Debian 13 that Debian 12's security suite carries."""

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "udev", "kmod", "util-linux", "procps"),
    *("python3", "python3-bpfcc", "libbpf1"),
    *("iproute2", "nftables", "iputils-ping", "curl", "openssl", "ca-certificates"),
    *("gcc", "libc6-dev", "linux-libc-dev"),
    *("nginx-light", "redis-server", "redis-tools", "postgresql"),
)
"""What the agent and the lab run on; the Python environment comes from the tree."""

_GUEST = Path(__file__).with_name("guest")
_MASKED = ("nginx.service", "redis-server.service", "postgresql.service", *making.MASKED)
_USELESS = (*making.USELESS, "boot")


@dataclass(frozen=True, slots=True)
class Kernel:
    """One of Debian's kernels. name: of METAPACKAGES. tree: what its package unpacks to."""

    name: str
    release: str
    tree: Path

    @property
    def image(self) -> Path:
        return self.tree / "boot" / f"vmlinuz-{self.release}"


@dataclass(frozen=True, slots=True)
class Bootable:
    """Kernels, and the root file system that has the modules of each of them."""

    kernels: Sequence[Kernel]
    root: Path


def folder() -> Path:
    """Where all is kept: $CORDON_VM_CACHE, or ~/.cache/cordon-vm."""
    return Path(os.environ.get("CORDON_VM_CACHE") or Path.home() / ".cache" / "cordon-vm")


def newest(kept: Path) -> Bootable:
    """Of Debian's newest kernels; fetches and makes what is not kept. Raises VmError."""
    kernels = [_fetch_kernel(kept, name) for name in METAPACKAGES]
    return Bootable(kernels, _make_root(kept, kernels))


def kept_already(kept: Path) -> Bootable | None:
    """What an earlier run left, however old its kernels are; asks apt nothing. None if a kernel is
    missing, or if this tree wants another root file system."""
    found = [_kept_kernel(kept, name) for name in METAPACKAGES]
    kernels = [kernel for kernel in found if kernel is not None]
    root = _root_of(kept, kernels)
    return Bootable(kernels, root) if len(kernels) == len(found) and root.exists() else None


def _kept_kernel(kept: Path, name: str) -> Kernel | None:
    """A folder appears under its name when it is whole, and the one before it is gone by then."""
    image = next(kept.glob(f"kernel-{name}-*/boot/vmlinuz-*"), None)
    if image is None:
        return None
    return Kernel(name, image.name.removeprefix("vmlinuz-"), image.parents[1])


def _fetch_kernel(kept: Path, name: str) -> Kernel:
    package = _package_of(METAPACKAGES[name])
    version = _version_of(package)
    tree = kept / f"kernel-{name}-{version}"
    if not tree.exists():
        with making.scratch(kept) as scratch:
            making.run(["apt-get", "download", "-q", package], cwd=scratch)
            making.run(["dpkg", "-x", str(next(scratch.glob("*.deb"))), str(scratch / "tree")])
            making.replace(scratch / "tree", tree, f"kernel-{name}-*")
    return Kernel(name, package.removeprefix("linux-image-"), tree)


def _root_of(kept: Path, kernels: Sequence[Kernel]) -> Path:
    return kept / f"root-{_fingerprint(kernels)}.img"


def _make_root(kept: Path, kernels: Sequence[Kernel]) -> Path:
    image = _root_of(kept, kernels)
    if not image.exists():
        with making.scratch(kept) as scratch:
            root = scratch / "root"
            making.bootstrap(root, PACKAGES)
            _furnish(root)
            for kernel in kernels:
                _add_modules(root, kernel)
            making.make_image(root, scratch / "image", "root")
            making.replace(scratch / "image", image, "root-*.img")
    return image


def _package_of(metapackage: str) -> str:
    depends = re.search(
        r"Depends: (linux-image-\S+)", making.run(["apt-cache", "depends", metapackage])
    )
    if depends is None:
        raise VmError(
            f"apt knows no kernel behind {metapackage}: `apt-get update`, and see that the main "
            f"and the security suite of {making.SUITE} are among its sources"
        )
    return depends[1]


def _version_of(package: str) -> str:
    candidate = re.search(r"Candidate: (\S+)", making.run(["apt-cache", "policy", package]))
    if candidate is None:
        raise VmError(f"apt has no version of {package} to install; run `apt-get update`")
    return candidate[1]


def _fingerprint(kernels: Sequence[Kernel]) -> str:
    digest = hashlib.sha256()
    parts = [
        making.SUITE,
        *PACKAGES,
        *_MASKED,
        *_USELESS,
        *(kernel.tree.name for kernel in kernels),
    ]
    digest.update("\0".join(parts).encode())
    for path in sorted(_GUEST.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _furnish(root: Path) -> None:
    making.lighten(root, _MASKED, _USELESS)
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "etc/hostname").write_text("guest\n")
    units = root / "etc/systemd/system"
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
    making.run(["depmod", "-b", str(root), kernel.release])
