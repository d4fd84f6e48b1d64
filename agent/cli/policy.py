# SPDX-License-Identifier: Apache-2.0
"""`cordonctl compile`, and `explain` of two parties: policy on files, without a controller.

The commands only talk: what a policy means is `controller`'s compiler and `agent.core`'s oracle.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from agent.cli import explain_view
from agent.cli.output import Exit, fail, output_option, print_json, print_table
from controller import explain as explaining
from controller import offline
from controller.files import StateError
from controller.problems import InputRefused

_PATH = click.Path(path_type=Path)


@click.command("compile")
@click.option("--inventory", type=_PATH, required=True, help="The hosts: hosts.yaml.")
@click.option("--policy", type=_PATH, required=True, help="Folder with the policy's YAML files.")
@click.option("--out", type=_PATH, required=True, help="Folder for the snapshots.")
@click.option("--state", type=_PATH, help="Folder of keys and numbers; keep it.  [OUT/state]")
@output_option
def compile_command(
    inventory: Path, policy: Path, out: Path, state: Path | None, output: str
) -> None:
    """Turn policy files into one signed snapshot per host.

    Writes OUT/HOST.snapshot for every host of the inventory, and OUT/policy.pub, which the agents
    check them with. All of it or, after an error, nothing. STATE holds the secrets and the numbers
    behind names: keep it private, and back it up.
    """
    try:
        result = offline.compile_files(inventory, policy, out, state or out / "state")
    except InputRefused as error:
        fail(error.sentences(), Exit.BAD_INPUT)
    except StateError as error:
        fail([str(error)], Exit.BAD_INPUT)
    else:
        _report(result, output)


def _report(result: offline.Result, output: str) -> None:
    warnings = [str(warning) for warning in result.compiled.warnings]
    warnings += [f"{path}: left from a host that is not in the inventory" for path in result.stale]
    rows = [_summary(name, result) for name in sorted(result.files)]
    if output == "json":
        print_json({"hosts": rows, "warnings": warnings, "public_key": str(result.public_key)})
        return
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    columns = ("host", "revision", "workloads", "rules", "peers", "expires", "file")
    print_table(columns, [[row[column] for column in columns] for row in rows])


def _summary(name: str, result: offline.Result) -> dict[str, Any]:
    snapshot = result.compiled.snapshots[name]
    return {
        "host": name,
        "revision": snapshot.version,
        "workloads": len(snapshot.workloads),
        "rules": len(snapshot.rules),
        "peers": sum(bool(peer.keys) for peer in snapshot.peers),
        "expires": offline.time_text(snapshot.expires),
        "file": str(result.files[name]),
    }


def explain_policy(source: str, target: str, port: str, output: str, **where: Any) -> None:
    """The answer for two parties, from files; ends the command with its exit status."""
    try:
        known = _known(**where)
        explanation = explaining.explain(known.snapshots, source, target, port)
    except InputRefused as error:
        fail(error.sentences(), Exit.BAD_INPUT)
    except (StateError, ValueError) as error:
        fail([str(error)], Exit.BAD_INPUT)
    else:
        show = explain_view.print_as_json if output == "json" else explain_view.print_for_people
        show(source, target, port, explanation, known.sources)
        sys.exit(Exit.REFUSED if explanation.result == "refused" else Exit.OK)


def _known(
    inventory: Path | None, policy: Path | None, snapshots: tuple[Path, ...], key: Path | None
) -> offline.Known:
    """Raises InputRefused, StateError, and UsageError for options that do not go together."""
    if snapshots and not inventory and not policy:
        return offline.known_from_snapshots(snapshots, key)
    if inventory and policy and not snapshots and not key:
        return offline.known_from_sources(inventory, policy)
    raise click.UsageError("expected either --inventory and --policy, or --snapshot")
