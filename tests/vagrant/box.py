# SPDX-License-Identifier: Apache-2.0
"""A Vagrant box of Debian 12 made from Debian's archive, with kernel and initrd beside it.

It has no boot loader: libvirt loads the kernel itself. It brings what Cordon's packages and the
sample services depend on, so that the machines need no network but their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.vm import making
from tests.vm.errors import VmError

PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "udev", "kmod", "util-linux", "procps", "passwd"),
    *("iproute2", "iputils-ping", "hostname", "openssh-server", "sudo", "rsync", "ca-certificates"),
    *("linux-image-cloud-amd64", "initramfs-tools"),
    *("python3", "python3-bpfcc", "libbpf1", "nginx-light", "curl"),
)
_INITRD = (
    'mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"',
    'echo MODULES=list >"$1/etc/initramfs-tools/conf.d/box"',
    'printf "%s\\n" virtio_pci virtio_blk >"$1/usr/share/initramfs-tools/modules.d/box"',
)
"""As small as it may be: the processor that unpacks it is a slow one."""
_NETWORK = "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\n[DHCPv4]\nClientIdentifier=mac\n"
_HOSTS = "127.0.0.1 localhost\n::1 localhost\n"
_SSHD = "UseDNS no\n"
_SUDO = "vagrant ALL=(ALL) NOPASSWD: ALL\n"
_KEYS = "/usr/share/rubygems-integration/all/gems/vagrant-*/keys/vagrant.pub"


@dataclass(frozen=True, slots=True)
class Box:
    """Files of one box. file: what `vagrant box add` takes."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "cordon.box"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd"


def make(kept: Path) -> Box:
    """The box of this list of packages; made now if it is not there. Raises VmError."""
    made_of = repr((making.SUITE, PACKAGES, making.MASKED, Path(__file__).read_bytes()))
    place = kept / f"box-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"
    if not place.exists():
        with making.scratch(kept) as scratch:
            _build(scratch)
            making.replace(scratch / "box", place, "box-*")
    return Box(place)


def _build(scratch: Path) -> None:
    root, box = scratch / "root", scratch / "box"
    box.mkdir()
    making.bootstrap(root, PACKAGES, _INITRD)
    _furnish(root)
    for name in ("vmlinuz", "initrd"):
        shutil.copy(next(root.glob(f"boot/{name}*")), box / name)
    shutil.rmtree(root / "boot")
    making.lighten(root)
    making.make_image(root, scratch / "image", "root")
    _pack(scratch, box / "cordon.box")


def _furnish(root: Path) -> None:
    making.run(["chroot", str(root), "useradd", "-m", "-s", "/bin/bash", "vagrant"])
    ssh = root / "home/vagrant/.ssh"
    ssh.mkdir(mode=0o700)
    shutil.copy(_public_key(), ssh / "authorized_keys")
    making.run(["chroot", str(root), "chown", "-R", "vagrant:vagrant", "/home/vagrant/.ssh"])
    for name, content in (
        ("etc/systemd/network/20-eth0.network", _NETWORK),
        ("etc/ssh/sshd_config.d/box.conf", _SSHD),
        ("etc/sudoers.d/vagrant", _SUDO),
        ("etc/hosts", _HOSTS),
        ("etc/hostname", "box\n"),
        ("etc/machine-id", ""),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    making.run(["systemctl", f"--root={root}", "enable", "systemd-networkd", "ssh"])
    making.run(["systemctl", f"--root={root}", "disable", "nginx"])


def _public_key() -> Path:
    """The one by which Vagrant enters a new machine, to put a fresh one in its place."""
    found = sorted(Path("/").glob(_KEYS.lstrip("/")))
    if not found:
        raise VmError(f"Vagrant's public key is not at {_KEYS}: is the package vagrant installed?")
    return found[-1]


def _pack(scratch: Path, target: Path) -> None:
    image = scratch / "box.img"
    making.run(["qemu-img", "convert", "-O", "qcow2", str(scratch / "image"), str(image)])
    gibibytes = -(-os.stat(scratch / "image").st_size // 2**30)
    facts = {"provider": "libvirt", "format": "qcow2", "virtual_size": gibibytes}
    (scratch / "metadata.json").write_text(json.dumps(facts))
    (scratch / "Vagrantfile").write_text('Vagrant.configure("2") { |config| }\n')
    names = ("metadata.json", "Vagrantfile", "box.img")
    making.run(["tar", "-cSf", str(target), "-C", str(scratch), *names])
