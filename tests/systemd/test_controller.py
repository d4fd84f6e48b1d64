# SPDX-License-Identifier: Apache-2.0
"""The controller as a service: a user of its own for as long as it runs, and state that stays."""

from __future__ import annotations

from tests.systemd.machine import Machine

CONTROLLER = "cordon-controller"
STATE = "/var/lib/private/cordon-controller"
AS_ITSELF = (
    "systemd-run", "--quiet", "--pipe", "--wait", "-p", "DynamicUser=yes",
    "-p", f"User={CONTROLLER}", "-p", f"StateDirectory={CONTROLLER}", "--",
)  # fmt: skip
"""As docs/install.md has it."""
START_SECONDS = 120.0


def mode_and_user(machine: Machine, name: str) -> tuple[str, str]:
    mode, user = machine.run("stat", "-c", "%a %u", name).stdout.split()
    return mode, user


def test_unit_is_understood_and_fenced_as_far_as_promised(single: Machine) -> None:
    single.boot()
    unit = f"/lib/systemd/system/{CONTROLLER}.service"
    verified = single.run("systemd-analyze", "verify", "--man=no", unit)
    assert verified.stdout + verified.stderr == "", "verify answers 0 on keys it does not know"
    single.run("systemd-analyze", "security", "--offline=true", "--threshold=15", unit)


def test_controller_serves_as_nobody_else_and_keeps_its_authority_over_restart_and_removal(
    single: Machine,
) -> None:
    single.boot()
    assert single.property(CONTROLLER, "UnitFileState") == "disabled"
    said = single.run(*AS_ITSELF, CONTROLLER, "init", "--trust-domain", "lab.example").stdout
    assert "cordon1." in said, "a token for the first administrator"
    single.run("systemctl", "enable", "--now", CONTROLLER, timeout=START_SECONDS)
    user = single.run("ps", "-o", "uid=", "-p", single.property(CONTROLLER, "MainPID")).stdout
    assert user.strip() != "0"
    assert mode_and_user(single, f"{STATE}/master.key") == ("600", user.strip())
    assert "cordon1." in single.run(*AS_ITSELF, CONTROLLER, "token", "--name", "kim").stdout
    health = single.run("curl", "-s", "http://127.0.0.1:9440/metrics").stdout
    assert "cordon_controller_store_up 1.0" in health
    single.run("systemctl", "restart", CONTROLLER, timeout=START_SECONDS)
    assert single.is_active(CONTROLLER)
    key = single.run("sha256sum", f"{STATE}/master.key").stdout
    single.run("dpkg", "-P", CONTROLLER)
    assert not single.is_active(CONTROLLER)
    assert single.run("sha256sum", f"{STATE}/master.key").stdout == key
