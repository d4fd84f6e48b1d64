# SPDX-License-Identifier: Apache-2.0
"""What a virtual machine's end counts as, with a shell in the place of qemu."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm import machine, main
from tests.vm.cache import Kernel
from tests.vm.errors import VmError
from tests.vm.machine import Disks, Size


def run(
    monkeypatch: pytest.MonkeyPatch, folder: Path, script: str, seconds: float = 60.0
) -> int | None:
    """script: with $1 the console, $2 the guest's answer."""

    def command(*arguments: object) -> list[str]:
        serial = arguments[3]
        assert isinstance(serial, tuple)
        return ["sh", "-c", script, "sh", *map(str, serial)]

    monkeypatch.setattr(machine, "_command", command)
    kernel = Kernel("6.1", "6.1.0-test", folder)
    return machine.run(kernel, Disks(folder, folder), Size(seconds), folder, folder)


@pytest.mark.parametrize("status", [0, 1, 125])
def test_guests_last_word_is_the_status(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int
) -> None:
    said = f"printf '1 passed\\r\\ncordon-guest: status {status}\\r\\n' >$2"
    assert run(monkeypatch, tmp_path, said) == status


def test_machine_that_ends_without_a_status_has_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(VmError, match="Kernel panic"):
        run(monkeypatch, tmp_path, "echo 'Kernel panic' >$1; echo '1 passed' >$2")


def test_machine_that_does_not_end_is_ended_and_has_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forever = "echo $$ >$2; exec sleep 1000"
    with pytest.raises(VmError, match="without an answer"):
        run(monkeypatch, tmp_path, forever, seconds=2.0)
    pid = (tmp_path / "answer-6.1.log").read_text().strip()
    assert not Path("/proc", pid).exists()


def test_lines_are_shown_whole_with_their_kernel(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = machine.Lines("6.1")
    lines.show(b"test_a ")
    assert capsys.readouterr().out == ""
    lines.show(b"PASSED\r\ntest_b ")
    lines.end()
    assert capsys.readouterr().out == " 6.1: test_a PASSED\n 6.1: test_b \n"


def test_every_kernel_is_tried_whatever_becomes_of_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_one(kernel: Kernel, *_: object) -> int:
        if kernel.name == "6.1":
            raise VmError("it did not boot")
        return 0

    monkeypatch.setattr(machine, "run", run_one)
    kernels = [Kernel(name, f"{name}.0-test", tmp_path) for name in ("6.1", "6.12")]
    size = Size(60.0)
    failed = main._failed(
        kernels, lambda kernel: main._passes(kernel, Disks(tmp_path, tmp_path), size, tmp_path)
    )
    assert failed == ["6.1"]
    said = capsys.readouterr().out
    assert " 6.1: it did not boot" in said
    assert "6.12: status 0" in said
