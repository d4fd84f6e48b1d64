# SPDX-License-Identifier: Apache-2.0
"""`cordon-agent`: the daemon and the few things that are done to its pins from outside.

Exit statuses: 0 done; 1 it did not work; 2 the configuration or the command line is wrong, nothing
was touched.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from agent.config import Config, ConfigError
from agent.edge import failpoint
from agent.edge.config_file import read_config

F = TypeVar("F", bound=Callable[..., Any])
FAILED = 1
BAD_INPUT = 2


def _config_option(command: F) -> F:
    return click.option(
        "--config",
        "path",
        type=click.Path(path_type=Path),
        default=Path("/etc/cordon/agent.toml"),
        show_default=True,
        help="The agent's configuration.",
    )(command)


def _end(sentence: object, status: int) -> NoReturn:
    click.echo(f"cordon-agent: {sentence}", err=True)
    sys.exit(status)


def _fail(error: Exception) -> NoReturn:
    """It did not work: the error's own sentence, or what the system says of which file."""
    if not isinstance(error, OSError) or not error.filename:
        _end(error, FAILED)
    way_out = ", run this as root" if isinstance(error, PermissionError) else ""
    _end(f"{error.filename}: {error.strerror}{way_out}", FAILED)


def _read(path: Path) -> Config:
    try:
        return read_config(path)
    except ConfigError as error:
        _end(error, BAD_INPUT)


def _record(message: str, config: Config) -> None:
    """For the journal: who did it is in the entry's own fields (_UID, _AUDIT_LOGINUID)."""
    from agent.edge import logs

    logs.record("warning", message, [("instance", config.instance)])


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cordon_agent() -> None:
    """Guard the workloads of this host."""
    try:
        failpoint.arm()
    except failpoint.FailpointError as error:
        _end(error, BAD_INPUT)


@cordon_agent.command()
@_config_option
def run(path: Path) -> None:
    """Guard this host until told to stop.

    Loads the datapath and keeps it in step with processes and policy, in the foreground.
    Enforcement goes on in the kernel when the agent ends.
    """
    from agent.daemon import Daemon
    from agent.edge import logs
    from agent.edge.flock import AlreadyRunning, take_lock
    from agent.edge.identity_files import IdentityError
    from agent.edge.local_server import LocalSocketError
    from agent.edge.procfs import ForeignProc, require_kernels_numbers

    config = _read(path)
    logs.configure(config.log_level, config.instance)
    if (armed := failpoint.armed()) is not None:
        logs.write("warning", "a failpoint is armed, this agent is under test",
                   [("failpoint", armed.name), ("action", armed.action)])  # fmt: skip
    os.umask(0o077)
    key = _policy_key(path, config)
    place = _place(config)
    try:
        require_kernels_numbers()
        take_lock(config.lock, config.instance)  # held until this process ends
        status = asyncio.run(Daemon(config, path, place, key).run())
    except IdentityError as error:
        _end(error, BAD_INPUT)
    except (AlreadyRunning, ForeignProc, LocalSocketError, OSError) as error:
        _fail(error)
    sys.exit(status)


def _policy_key(path: Path, config: Config) -> Any:
    """What snapshot files are checked with; None where policy comes from a controller."""
    from agent.edge import identity_files
    from agent.edge.snapshot_file import SnapshotRefused, load_public_key

    if config.policy_key is None:
        if not identity_files.exists(config.identity):
            _end(
                f"{path}: expected snapshot and policy_key, or a host that has joined a "
                "controller: run `cordon-agent join`",
                BAD_INPUT,
            )
        return None
    try:
        return load_public_key(config.policy_key)
    except SnapshotRefused as error:
        _end(f"{path}: policy_key: {error}", BAD_INPUT)


def _place(config: Config) -> Any:
    """Where the instance lives; typed in the daemon, imported late for the other commands' sake."""
    from agent.edge import cgroups
    from agent.edge.hooks import Pins
    from agent.edge.kernel import Place

    try:
        mount = cgroups.mount_point()
        root = config.cgroup_root or mount
        cgroups.level(root, mount)
        cgroups.cgroup_id(root)
    except cgroups.CgroupError as error:
        _end(error, BAD_INPUT)
    except OSError as error:
        _end(f"cgroup_root {config.cgroup_root}: {error.strerror}", BAD_INPUT)
    return Place(Pins(config.pins), root, mount, config.hold_limit_ms)


@cordon_agent.command()
@_config_option
def load(path: Path) -> None:
    """Compile and pin the datapath.

    Nothing is attached. `run` does this by itself; alone it shows whether this kernel takes the
    programs. Reports in one line of JSON.
    """
    from agent.edge.bpffs import BpffsError
    from agent.edge.compiler import LoadFailed
    from agent.edge.libbpf import BpfError
    from agent.edge.loader import LoadRequest
    from agent.edge.loader import load as load_datapath

    config = _read(path)
    try:
        result = load_datapath(LoadRequest(pins=config.pins, bpffs=config.bpffs))
    except (LoadFailed, BpfError, BpffsError, OSError) as error:
        _fail(error)
    click.echo(json.dumps(asdict(result)))


@cordon_agent.command()
@_config_option
def uninstall(path: Path) -> None:
    """Take it out of the kernel.

    Everything of this instance is detached and unpinned, and all traffic passes. The agent must
    not be running. Policy is kept on disk.
    """
    from agent.edge import removal
    from agent.edge.flock import AlreadyRunning

    config = _read(path)
    try:
        count = removal.uninstall(config)
    except (AlreadyRunning, OSError) as error:
        _fail(error)
    _record("uninstalled by an administrator, all traffic passes", config)
    click.echo(
        f"Detached and removed {count} pins of instance {config.instance}: all traffic passes."
    )
    if config.snapshot is None:
        _say_farewell(config)


def _say_farewell(config: Config) -> None:
    """It is uninstalled, whether or not anybody hears of it."""
    from agent.edge import farewell
    from agent.edge.identity_files import IdentityError

    try:
        controller = farewell.tell_uninstalled(config.identity)
    except (farewell.NotHeard, IdentityError, OSError) as error:
        click.echo(f"No controller could be told of it: {error}.", err=True)
    else:
        click.echo(f"The controller {controller} was told.")


@cordon_agent.command()
@_config_option
def suspend(path: Path) -> None:
    """Let everything pass until `resume`.

    Every hook that judges is detached: all traffic passes, and nothing is counted. Processes are
    followed on, and the agent may go on running.
    """
    from agent.edge import removal

    config = _read(path)
    try:
        count = removal.suspend(config)
    except OSError as error:
        _fail(error)
    _record("suspended by an administrator, all traffic passes", config)
    click.echo(
        f"Detached {count} hooks of instance {config.instance}: ALL TRAFFIC PASSES, nothing is "
        "judged, until `cordon-agent resume` or the agent's next start."
    )


@cordon_agent.command()
@_config_option
def resume(path: Path) -> None:
    """Attach again what `suspend` detached."""
    from agent.edge import hooks, removal
    from agent.edge.libbpf import BpfError

    config = _read(path)
    place = _place(config)
    try:
        if not place.pins.programs.is_dir():
            what = f"the instance {config.instance} is not loaded"
            _end(f"{what}: start it with `cordon-agent run`", FAILED)
        trouble = removal.resume(place.pins, place.root)
    except (BpfError, OSError) as error:
        _fail(error)
    _record("resumed by an administrator", config)
    click.echo(f"Attached {hooks.attached(place.pins)} hooks of instance {config.instance}.")
    if trouble:
        what = "services that began to listen meanwhile answer without proof of who they are"
        click.echo(f"cordon-agent: {what} until they are restarted: {trouble}", err=True)


@cordon_agent.command()
@_config_option
@click.option("--controller", required=True, help="HOST:PORT of a controller's enrolment port.")
@click.option("--token", help="As printed; better by --token-file, for others see it here.")
@click.option("--token-file", type=click.Path(path_type=Path), help="A file that holds the token.")
@click.option("--roots", type=click.Path(path_type=Path), help="Authorities to believe, PEM.")
@click.option("--name", default="", help="Refused if the token is for another host.")
@click.option("--replace", is_flag=True, help="Although this host has joined before.")
def join(path: Path, **options: Any) -> None:
    """Enrol this host with a controller.

    The host's key is made here; it gets a certificate, a number and the keys that policy is signed
    with.
    """
    from agent.cli import join as joining

    config = _read(path)
    os.umask(0o077)
    try:
        identity = joining.join(config, joining.Options(**options))
    except joining.JoinError as error:
        _end(error, error.status)
    click.echo(
        f"Joined {identity.trust_domain} as host {identity.host_name} ({identity.host}); "
        "start the agent, or restart it."
    )


@cordon_agent.command("metrics-user")
@click.argument("name")
@click.password_option(help="Asked for, if it is not given; better not given, for others see it.")
def metrics_user(name: str, password: str) -> None:
    """Make a line for the file of metrics users.

    The file is what the setting `metrics_users` names; NAME may then ask for metrics.
    """
    from agent.edge.http_auth import hash_line

    try:
        click.echo(hash_line(name, password))
    except ValueError as error:
        _end(error, BAD_INPUT)


def main() -> None:
    """Entry point."""
    cordon_agent(prog_name="cordon-agent")


if __name__ == "__main__":
    main()
