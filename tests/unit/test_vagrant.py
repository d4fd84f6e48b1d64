# SPDX-License-Identifier: Apache-2.0
"""The Vagrantfile's policy does what docs/vagrant.md promises, before any machine is brought up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from agent.cli.ctl import cordonctl

ROOT = Path(__file__).resolve().parents[2]
POLICY = ROOT / "packaging" / "vagrant" / "policy"
VAGRANTFILE = (ROOT / "Vagrantfile").read_text(encoding="utf-8")
PAGE = (ROOT / "docs" / "vagrant.md").read_text(encoding="utf-8")
ALLOWED, REFUSED = 0, 1


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """What the controller knows after both hosts have joined."""
    lines = ["trust_domain: vagrant.example", "hosts:"]
    for name in ("web", "db"):
        (address,) = re.findall(rf'^  "{name}" => "([0-9.]+)"', VAGRANTFILE, re.M)
        lines.append(f"  - {{name: {name}, addresses: [{address}], labels: {{role: {name}}}}}")
    path = tmp_path / "hosts.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("source", "target", "status"),
    [
        ("shop", "stock", ALLOWED),
        ("clerk", "stock", ALLOWED),
        ("host:web", "stock", REFUSED),
        ("host:web", "shop", ALLOWED),
        ("world", "shop", ALLOWED),
        ("world", "stock", REFUSED),
    ],
)
def test_only_the_front_reaches_the_stock(
    inventory: Path, source: str, target: str, status: int
) -> None:
    asked = ["--from", source, "--to", target, "--port", "tcp/80"]
    files = ["--inventory", str(inventory), "--policy", str(POLICY)]
    result = CliRunner().invoke(cordonctl, ["explain", *asked, *files])
    assert result.exit_code == status, result.output


def test_the_page_names_every_setting_of_the_vagrantfile() -> None:
    settings = set(re.findall(r'setting\("([A-Z]+)"', VAGRANTFILE))
    assert settings == set(re.findall(r"`CORDON_VAGRANT_([A-Z]+)`", PAGE))


def test_the_page_names_every_machine_with_its_address() -> None:
    machines = re.findall(r'^  "(\w+)" => "([0-9.]+)"', VAGRANTFILE, re.M)
    assert len(machines) == 3
    assert all(f"| `{name}` | {address} |" in PAGE for name, address in machines)
