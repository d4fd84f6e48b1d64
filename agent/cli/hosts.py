# SPDX-License-Identifier: Apache-2.0
"""`cordonctl hosts list | show | label | set | revoke`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from agent.cli import hosts_view as view
from agent.cli.local_view import as_dict
from agent.cli.output import output_option, print_facts, print_json, print_line, print_table
from agent.cli.remote import administration
from agent.cli.remote_options import Waiting, controller_option, paged, wait_options, why_option
from agent.cli.rollout import conclude
from agent.cli.values import Labels, label_changes, merged
from agent.pb import admin_pb2 as pb

_STATES = [name.removeprefix("HOST_STATE_").lower() for name in pb.HostState.keys()[1:]]


@click.group("hosts")
def hosts_group() -> None:
    """Hosts of the fleet: how they stand, their labels and addresses, their end."""


@hosts_group.command("list")
@click.option("--label", "labels", multiple=True, type=Labels(), help="Only with all of these.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(_STATES),
    help="Only these; may be repeated.  [default: all but revoked]",
)  # fmt: skip
@controller_option
@output_option
def list_command(
    labels: tuple[dict[str, str], ...],
    states: tuple[str, ...],
    controllers: tuple[str, ...],
    output: str,
) -> None:
    """Hosts, in the order of names.

    \b
    Example:
      cordonctl hosts list --label role=web --state lost
    """
    chosen = [f"HOST_STATE_{state.upper()}" for state in states]
    wanted = merged(labels)
    with administration(controllers) as admin:
        found: list[pb.Host] = list(
            paged(
                lambda size, token: admin.ListHosts(
                    pb.ListHostsRequest(
                        page_size=size, page_token=token, labels=wanted, states=chosen
                    )
                ),
                "hosts",
            )
        )
    if output == "json":
        print_json([as_dict(host) for host in found])
    else:
        print_table(view.COLUMNS, map(view.row, found))


@hosts_group.command("show")
@click.argument("name")
@controller_option
@output_option
def show_command(name: str, controllers: tuple[str, ...], output: str) -> None:
    """All that is known of one host.

    \b
    Example:
      cordonctl hosts show web-1
    """
    with administration(controllers) as admin:
        answer: pb.GetHostResponse = admin.GetHost(pb.GetHostRequest(name=name))
    if output == "json":
        print_json(as_dict(answer))
        return
    print_facts(view.facts(answer))
    if answer.listeners:
        for line in ("", "listening:", *(f"  {one}" for one in answer.listeners)):
            print_line(line)


@hosts_group.command("label")
@click.argument("name")
@click.argument("changes", metavar="KEY=VALUE|KEY-...", nargs=-1, required=True)
@why_option(required=False)
@wait_options
@controller_option
@output_option
def label_command(name: str, changes: tuple[str, ...], **others: Any) -> None:
    """Set labels of a host, and remove those that end in a hyphen.

    \b
    Example:
      cordonctl hosts label web-1 role=web zone- -m "moved"
    """
    try:
        given, removed = label_changes(changes)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    _update({"name": name, "set_labels": given, "remove_labels": removed}, **others)


@hosts_group.command("set")
@click.argument("name")
@click.option("--network", "networks", multiple=True, help="Its addresses must lie in.")
@click.option("--any-network", is_flag=True, help="They may lie anywhere.")
@click.option("--address", "addresses", multiple=True, help="It has these, whatever it reports.")
@click.option("--reported-addresses", is_flag=True, help="It has those that it reports.")
@click.option("--tags/--no-tags", default=None, help="Whether its traffic carries identities.")
@click.option("--nat/--no-nat", default=None, help="Whether others see it by another address.")
@why_option(required=False)
@wait_options
@controller_option
@output_option
def set_command(
    name: str,
    networks: tuple[str, ...],
    any_network: bool,
    addresses: tuple[str, ...],
    reported_addresses: bool,
    tags: bool | None,
    nat: bool | None,
    **others: Any,
) -> None:
    """Change what the controller knows of a host's network.

    \b
    Example:
      cordonctl hosts set db-1 --address 10.0.0.7 --no-tags -m "behind the old firewall"
    """
    change: dict[str, Any] = {
        "networks": _list(networks, any_network, "--network", "--any-network"),
        "addresses": _list(addresses, reported_addresses, "--address", "--reported-addresses"),
        "tags_off": None if tags is None else not tags,
        "nat": nat,
    }
    change = {key: value for key, value in change.items() if value is not None}
    if not change:
        raise click.UsageError("expected something to change: see `cordonctl hosts set --help`")
    _update({"name": name, **change}, **others)


def _list(
    items: Iterable[str], none: bool, some_option: str, none_option: str
) -> pb.AddressList | None:
    """None: it stays as it is."""
    given = list(items)
    if given and none:
        raise click.UsageError(f"expected only one of {some_option} and {none_option}")
    return pb.AddressList(items=given) if given or none else None


def _update(
    change: dict[str, Any], why: str, waiting: Waiting, controllers: tuple[str, ...], output: str
) -> None:
    with administration(controllers) as admin:
        answer = admin.UpdateHost(pb.UpdateHostRequest(why=why, **change))
        labels = as_dict(answer.host)["labels"]
        sentence = f"host {answer.host.name}: {view.standing(answer.host, labels)}"
        conclude(admin, waiting, output, as_dict(answer), sentence)


@hosts_group.command("revoke", short_help="End a host, for ever.")
@click.argument("name")
@why_option()
@wait_options
@controller_option
@output_option
def revoke_command(
    name: str, why: str, waiting: Waiting, controllers: tuple[str, ...], output: str
) -> None:
    """End a host: its certificate, its stream, its keys, its place in every other's policy.

    For ever: the name may enrol anew, and is another host then.

    \b
    Example:
      cordonctl hosts revoke web-1 -m "stolen" --wait
    """
    with administration(controllers) as admin:
        answer = admin.RevokeHost(pb.RevokeHostRequest(name=name, why=why))
        sentence = (
            f"host {name} is revoked; those who are connected do not know it any longer with "
            f"version {answer.version}"
        )
        conclude(admin, waiting, output, {"name": name, **as_dict(answer)}, sentence)
