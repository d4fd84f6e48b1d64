# SPDX-License-Identifier: Apache-2.0
"""The project's own packages as the tests install them: those of `make deb`, and newer ones.

The newer ones are the same files under a higher version with another build of the programs, so that
an upgrade swaps what runs in the kernel and not only what lies on the disk. Rebuilt ones have that
build, too, under the version of before.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("cordon-common", "cordon-agent", "cordon-cli", "cordon-controller")
BUILD_SECONDS = 900
NEWER = "+newer"
MAIN = "opt/cordon/lib/cordon/bpf/cordon.bpf.c"
BUILD = "/* a newer build */"


def built() -> list[Path]:
    """What `make deb` makes, built now if sources have changed since."""
    _run([str(ROOT / "scripts/build-deb")], BUILD_SECONDS)
    found = [sorted((ROOT / "dist").glob(f"{name}_*.deb")) for name in NAMES]
    assert all(len(files) == 1 for files in found), f"one package of each name: {found}"
    return [files[0] for files in found]


def version(package: Path) -> str:
    return _run(["dpkg-deb", "-f", str(package), "Version"]).strip()


def newer(packages: list[Path], folder: Path) -> list[Path]:
    """The same packages under a higher version."""
    return [_repack(package, folder, NEWER) for package in packages]


def rebuilt(packages: list[Path], folder: Path) -> list[Path]:
    """The same packages under their own version."""
    return [_repack(package, folder, "") for package in packages]


def _repack(package: Path, folder: Path, suffix: str) -> Path:
    old = version(package)
    tree = folder / f"{package.stem}-tree"
    _run(["dpkg-deb", "-R", str(package), str(tree)])
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(re.escape(old), old + suffix, control.read_text()))
    if (tree / MAIN).exists():
        with (tree / MAIN).open("a") as source:
            source.write(f"{BUILD}\n")
        (tree / "DEBIAN/md5sums").unlink()
    target = folder / package.name.replace(old, old + suffix)
    _run(["dpkg-deb", "-Zgzip", "-z1", "--root-owner-group", "-b", str(tree), str(target)])
    shutil.rmtree(tree)
    return target


def _run(argv: list[str], timeout: float = 120) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout
