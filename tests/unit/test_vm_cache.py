# SPDX-License-Identifier: Apache-2.0
"""What `test-vm --cached` boots: what an earlier run left for this tree, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm import cache, main

RELEASES = {"6.1": "6.1.0-57-cloud-amd64", "6.12": "6.12.117+deb12-cloud-amd64"}


def keep_kernels(folder: Path, *names: str) -> list[cache.Kernel]:
    """As an earlier run leaves them, in versions that Debian may have replaced since."""
    kernels = []
    for name in names:
        kernel = cache.Kernel(name, RELEASES[name], folder / f"kernel-{name}-{name}.1-3")
        kernel.image.parent.mkdir(parents=True)
        kernel.image.write_bytes(b"")
        kernels.append(kernel)
    return kernels


def keep_root(folder: Path, kernels: list[cache.Kernel]) -> Path:
    root = cache._root_of(folder, kernels)
    root.write_bytes(b"")
    return root


def test_kept_kernels_and_their_root_are_found(tmp_path: Path) -> None:
    kernels = keep_kernels(tmp_path, "6.1", "6.12")
    root = keep_root(tmp_path, kernels)
    assert cache.kept_already(tmp_path) == cache.Bootable(kernels, root)


@pytest.mark.parametrize("name", ["6.1", "6.12"])
def test_missing_kernel_is_nothing_to_boot(tmp_path: Path, name: str) -> None:
    """6.12 is not taken for 6.1 either."""
    keep_root(tmp_path, keep_kernels(tmp_path, name))
    assert cache.kept_already(tmp_path) is None


def test_root_of_other_kernels_is_nothing_to_boot(tmp_path: Path) -> None:
    kernels = keep_kernels(tmp_path, "6.1", "6.12")
    older = [cache.Kernel(k.name, k.release, tmp_path / f"kernel-{k.name}-0") for k in kernels]
    keep_root(tmp_path, older)
    assert cache.kept_already(tmp_path) is None


def test_root_of_another_tree_is_nothing_to_boot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keep_root(tmp_path, keep_kernels(tmp_path, "6.1", "6.12"))
    monkeypatch.setattr(cache, "PACKAGES", (*cache.PACKAGES, "one-more"))
    assert cache.kept_already(tmp_path) is None


def test_nothing_kept_is_said_and_neither_fetched_nor_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CORDON_VM_CACHE", str(tmp_path / "kept"))
    monkeypatch.setenv("PATH", str(tmp_path))  # where no command is: one that ran would fail
    assert main.main(["--cached"]) == 0
    assert f"nothing was tried on other kernels: {tmp_path / 'kept'}" in capsys.readouterr().out
