# SPDX-License-Identifier: Apache-2.0
"""Tests under systemd: real packages on machines whose PID 1 is systemd. They need root."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import Lab
from tests.systemd import packages
from tests.systemd.images import root_image
from tests.systemd.machine import Machine, chroot, unable
from tests.systemd.pair import Pair

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.kernel)


@pytest.fixture(scope="session", autouse=True)
def _able() -> None:
    """What a machine cannot do is a failure here, not a skip: these tests are part of `make test`,
    and without them nothing has tried the packages.
    """
    reason = unable()
    if reason:
        pytest.fail(reason, pytrace=False)


@pytest.fixture(scope="session")
def image(_able: None) -> Path:
    return root_image()


@pytest.fixture(scope="session")
def debs(_able: None) -> list[Path]:
    return packages.built()


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """Outside pytest's folders, which keep the last three runs: this is some hundred megabytes."""
    with tempfile.TemporaryDirectory(prefix="cordon-systemd-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def installed(image: Path, debs: list[Path], scratch: Path) -> list[Path]:
    """Layers of a root file system that has the packages, as an image builder would make it."""
    upper = scratch / "installed/upper"
    for package in debs:
        target = upper / "debs" / package.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(package.read_bytes())
    chroot([image], upper, scratch / "installed/work", ["sh", "-c", "dpkg -i /debs/*.deb"])
    return [upper, image]


@pytest.fixture(scope="session")
def newer(debs: list[Path], scratch: Path) -> list[Path]:
    """Packages of a higher version."""
    folder = scratch / "newer"
    folder.mkdir()
    return packages.newer(debs, folder)


@pytest.fixture
def blank(image: Path) -> Iterator[Machine]:
    """A machine without our packages, not yet booted."""
    with Lab("a") as lab:
        yield Machine(lab["a"], [image])


@pytest.fixture
def single(installed: list[Path]) -> Iterator[Machine]:
    """A machine with our packages, not yet booted."""
    with Lab("a") as lab:
        yield Machine(lab["a"], installed)


@pytest.fixture(scope="module")
def pair(installed: list[Path]) -> Iterator[Pair]:
    """Two machines under one policy, agents enabled and ready."""
    with Lab("web", "db") as lab:
        built = Pair(lab, installed)
        built.start()
        yield built
