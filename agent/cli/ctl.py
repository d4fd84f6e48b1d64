# SPDX-License-Identifier: Apache-2.0
"""`cordonctl`: the administrator's shell. Here is only the list of commands.

Each command's module is imported when the command is used: `--help` and completion must not pay
for the compiler, and a host that only asks its agent needs none of it.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import click

HERE, FILES, FLEET = "This host", "Policy files", "The fleet, by its controller"


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command lives, and its line in `--help`, said here so that help imports nothing."""

    module: str
    attribute: str
    help: str
    section: str = HERE


def _fleet(module: str, attribute: str, help: str) -> Command:
    return Command(f"agent.cli.{module}", attribute, help, FLEET)


COMMANDS: Mapping[str, Command] = {
    "adopt": Command(
        "agent.cli.adopt",
        "adopt_command",
        "List connections older than the first policy, or end them.",
    ),
    "compile": Command(
        "agent.cli.policy",
        "compile_command",
        "Turn policy files into one signed snapshot per host.",
        FILES,
    ),
    "doctor": Command(
        "agent.cli.doctor",
        "doctor_command",
        "Try what Cordon stands on; say what is lost and what to do.",
    ),
    "explain": Command(
        "agent.cli.explain",
        "explain_command",
        "Say why something was refused, or whether it would pass.",
    ),
    "observe": Command("agent.cli.local", "observe_command", "Verdicts as they happen."),
    "ps": Command(
        "agent.cli.processes", "ps_command", "Who every process is, and by which evidence."
    ),
    "whois": Command(
        "agent.cli.processes", "whois_command", "Who a process is, and why it is no other workload."
    ),
    "sockets": Command(
        "agent.cli.local", "sockets_command", "Every socket's identities, verdict and rule."
    ),
    "status": Command(
        "agent.cli.local", "status_command", "What is in force, and whether all is well."
    ),
    "admins": _fleet("tokens", "admins_group", "Administrators: list, revoke."),
    "apply": _fleet("apply", "apply_command", "Make a revision of the policy from files."),
    "audit": _fleet("documents", "audit_command", "What was done or refused, by whom and why."),
    "delete": _fleet("apply", "delete_command", "Make a revision without some documents."),
    "diff": _fleet("apply", "diff_command", "What `apply` of the same files would change."),
    "flows": _fleet("flows", "flows_command", "Who talked to whom, and was refused or not."),
    "get": _fleet("documents", "get_command", "Documents of the policy, of any revision."),
    "history": _fleet("documents", "history_command", "Revisions: who, when and why."),
    "hosts": _fleet("hosts", "hosts_group", "Hosts: list, show, label, set, revoke."),
    "quarantine": _fleet(
        "quarantine", "quarantine_group", "Cut a host or a workload off; list, lift."
    ),
    "rollback": _fleet("apply", "rollback_command", "Make a revision equal to an old one."),
    "rollout": _fleet("rollout", "rollout_command", "How many hosts enforce a version."),
    "settings": _fleet("settings", "settings_group", "Settings of the fleet: get, set."),
    "token": _fleet("tokens", "token_group", "Tokens to join and log in: create, list, revoke."),
    "login": _fleet("login", "login_command", "Get a certificate with the role a token grants."),
    "logout": _fleet("login", "logout_command", "Forget the certificate and its key."),
    "whoami": _fleet("login", "whoami_command", "Who you are to the controller."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: Any = getattr(import_module(entry.module), entry.attribute)
        assert isinstance(command, click.Command), f"{entry} is no command"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section in (HERE, FILES, FLEET):
            names = [name for name in self.list_commands(ctx) if COMMANDS[name].section == section]
            with formatter.section(section):
                formatter.write_dl([(name, COMMANDS[name].help) for name in names])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cordonctl() -> None:
    """Look at and steer Cordon: policy, hosts, and the agent of this machine."""


def main() -> None:
    """Entry point."""
    if sys.stdout is None:  # or the next file that is opened would be taken for it
        sys.exit("cordonctl: stdout is closed, there is nowhere to write the answer")
    if isinstance(sys.stdout, io.TextIOWrapper):  # what a terminal's encoding lacks is escaped
        sys.stdout.reconfigure(errors="backslashreplace")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what grpc has to say, we say in sentences
    cordonctl(prog_name="cordonctl")


if __name__ == "__main__":
    main()
