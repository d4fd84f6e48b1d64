# SPDX-License-Identifier: Apache-2.0
"""The work disk: the tree as it is now, its Python environment, and the script that runs the tests.

What git does not know is not taken along, but for the environment, less the tools that only check
sources. Python is compiled here, where it is quick. The one thing that is not as in the tree is
that the datapath is compiled once (compile_once.py).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.vm.making import make_image

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ".guest-run"
_UNUSED = ("mypy*", "ruff*", "pip*", "*mypyc*", "librt*", "grpc_tools*")


def make_work_disk(scratch: Path, command: Sequence[str], environment: Mapping[str, str]) -> Path:
    """An image in `scratch` of the tree, with a script that runs `command` in it."""
    tree = scratch / "tree"
    _copy_tree(tree)
    packages = _copy_environment(tree)
    _compile_once(tree, packages)
    _compile_python(tree)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    (tree / SCRIPT).write_text("\n".join([*lines, f"exec {shlex.join(command)}"]) + "\n")
    image = scratch / "work.img"
    make_image(tree, image, "work")
    return image


def _copy_tree(tree: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)


def _compile_once(tree: Path, packages: Path) -> None:
    """Beside the environment's packages, where an agent that runs from a copy of the sources finds
    it too."""
    shutil.copy2(ROOT / "tests/vm/compile_once.py", packages)
    with (tree / "agent/edge/compiler.py").open("a") as module:
        module.write("\n\nfrom compile_once import once\n\ncompile_parts = once(compile_parts)\n")


def _compile_python(tree: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "-s", str(tree), "-p", str(ROOT), str(tree)],
        check=True,
        timeout=120,
    )


def _copy_environment(tree: Path) -> Path:
    """Where its packages are."""
    packages = next((ROOT / ".venv" / "lib").glob("python3*/site-packages"))
    unused = shutil.ignore_patterns(*_UNUSED)

    def ignore(folder: str, names: list[str]) -> set[str]:
        return set(unused(folder, names)) if os.path.samefile(folder, packages) else set()

    shutil.copytree(ROOT / ".venv", tree / ".venv", symlinks=True, ignore=ignore)
    return tree / packages.relative_to(ROOT)
