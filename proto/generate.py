# SPDX-License-Identifier: Apache-2.0
"""Turn `proto/cordon/v1/*.proto` into `agent/pb/`, or prove with `--check` that it is fresh.

The generated code is committed, so that neither users nor packages need the compiler. It lies flat
in one package of ours instead of a top-level `cordon` package, hence the rewritten imports. Needs
`grpcio-tools` at the locked version: another version writes other text.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_PROTO = _ROOT / "proto"
_SOURCES = _PROTO / "cordon" / "v1"
_OUTPUT = _ROOT / "agent" / "pb"
_HEADER = "# SPDX-License-Identifier: Apache-2.0\n"
_PACKAGE = _HEADER + '"""Generated from proto/cordon/v1 by proto/generate.py; do not edit."""\n'
_IMPORT = re.compile(r"^from cordon\.v1 import ", re.M)
_SERVICE = re.compile(r"^service ", re.M)


def run_protoc(sources: list[Path], folder: Path) -> None:
    """Raises SystemExit with the compiler's own words."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{_PROTO}"]
    command += [f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python")]
    command += [str(source) for source in sources]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode != 0:
        raise SystemExit(f"protoc refused proto/cordon/v1:\n{done.stderr}")


def generate() -> dict[str, str]:
    """File name in agent/pb -> text."""
    sources = sorted(_SOURCES.glob("*.proto"))
    with_service = {s.stem for s in sources if _SERVICE.search(s.read_text("utf-8"))}
    files = {"__init__.py": _PACKAGE}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run_protoc(sources, folder)
        for path in sorted((folder / "cordon" / "v1").iterdir()):
            stem = path.name.removesuffix("_pb2_grpc.py")
            if stem == path.name or stem in with_service:
                files[path.name] = _HEADER + _IMPORT.sub("from agent.pb import ", path.read_text())
    return files


def stale(files: dict[str, str]) -> list[str]:
    """Names of committed files that are missing, different or left over."""
    present = {p.name: p.read_text() for p in _OUTPUT.glob("*.py*") if p.is_file()}
    names = present.keys() | files.keys()
    return sorted(name for name in names if present.get(name) != files.get(name))


def write(files: dict[str, str]) -> None:
    _OUTPUT.mkdir(parents=True, exist_ok=True)
    for name in stale(files):
        if name in files:
            (_OUTPUT / name).write_text(files[name])
        else:
            (_OUTPUT / name).unlink()
        print(f"agent/pb/{name}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Generate agent/pb from proto/cordon/v1.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if not fresh")
    arguments = parser.parse_args()
    files = generate()
    if not arguments.check:
        write(files)
        return 0
    found = stale(files)
    for name in found:
        print(f"agent/pb/{name} is stale: run python proto/generate.py")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
