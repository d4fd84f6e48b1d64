# SPDX-License-Identifier: Apache-2.0
"""`cordonctl flows`: what the hosts of the fleet have judged, by the controller's records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from agent.cli import flows_view as view
from agent.cli.local_view import as_dict
from agent.cli.output import output_option_of, print_json, print_line, print_table
from agent.cli.remote import Bounded, service
from agent.cli.remote_options import controller_option, limit_option, paged
from agent.cli.values import Moment
from agent.core.model import Protocol
from agent.pb import flow_pb2 as pb
from agent.pb import flow_pb2_grpc

_VERDICTS = ("allow", "refuse", "audit")
_PROTOCOLS = [protocol.name.lower() for protocol in Protocol]
_REFUSED = ("refuse", "audit")
_MOST_TALKERS = 1000


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found, and how it reads as a table and as JSON."""

    items: Sequence[Any]
    columns: Sequence[str]
    row: Callable[[Any], Sequence[object]]
    plain: Callable[[Any], Any] = as_dict


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    """Options of which records; each is passed by its field of FlowFilter."""
    for option in reversed(
        (
            click.option("--from", "source", metavar="NAME", help="The source: a workload as "
                         "name or segment/name, a segment, a network, world, unproven."),
            click.option("--to", "destination", metavar="NAME", help="The destination, likewise."),
            click.option("--verdict", "verdicts", multiple=True, type=click.Choice(_VERDICTS),
                         help="May be repeated. audit: passed, and would be refused in enforce "
                         "mode."),
            click.option("--port", type=click.IntRange(1, 65_535), help="The destination's."),
            click.option("--protocol", type=click.Choice(_PROTOCOLS), help="Of the connections."),
            click.option("--host", metavar="NAME", help="Told by this host."),
            click.option("--since", type=Moment(ahead=False), default="1h", show_default=True,
                         help="From then on: a duration back from now, or a time."),
            click.option("--until", type=Moment(ahead=False), help="Before then, likewise."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


@click.command("flows")
@_filters
@click.option("--top", "kind", flag_value="top", help="Who talked most.")
@click.option("--by-bytes", is_flag=True, help="With --top: by bytes, not by connections.")
@click.option("--new", "kind", flag_value="new", help="Edges never seen before --since.")
@click.option(
    "--refused", "kind", flag_value="refused",
    help="Edges refused or audited, and the Allow documents that would open them.",
)  # fmt: skip
@limit_option(100)
@controller_option
@output_option_of("table", "json", "yaml")
def flows_command(
    kind: str | None,
    by_bytes: bool,
    limit: int,
    controllers: tuple[str, ...],
    output: str,
    **filters: Any,
) -> None:
    """What the hosts of the fleet have judged, summed up by the minute.

    Each end of a connection between two hosts tells of it: once as egress, once as ingress. Newest
    first. With --refused, `-o yaml` prints the Allow documents alone.

    \b
    Examples:
      cordonctl flows --from web --to db --verdict refuse --since 2h
      cordonctl flows --top --by-bytes --since 1d
      cordonctl flows --new --since 1d
      cordonctl flows --refused -o yaml > allows.yaml
    """
    _check(kind, by_bytes, output)
    with service(controllers, flow_pb2_grpc.FlowQueryServiceStub) as stub:
        answer = _ask(stub, kind, by_bytes, limit, filters)
    if output == "json":
        print_json([answer.plain(item) for item in answer.items])
    elif output == "yaml":
        _print_documents(answer.items)
    else:
        print_table(answer.columns, map(answer.row, answer.items))
        if kind == "refused" and view.allows(answer.items):
            print_line("")
            _print_documents(answer.items)


def _check(kind: str | None, by_bytes: bool, output: str) -> None:
    if by_bytes and kind != "top":
        raise click.UsageError("expected --top with --by-bytes")
    if output == "yaml" and kind != "refused":
        raise click.UsageError("expected --refused with -o yaml")


def _ask(
    stub: Bounded, kind: str | None, by_bytes: bool, limit: int, filters: dict[str, Any]
) -> Answer:
    chosen = pb.FlowFilter(**{name: value for name, value in filters.items() if value is not None})
    match kind:
        case "top":
            most = min(limit, _MOST_TALKERS)
            request = pb.ListTalkersRequest(filter=chosen, limit=most, by_bytes=by_bytes)
            talkers = stub.ListTalkers(request).talkers
            return Answer(talkers, view.TALKER_COLUMNS, view.talker_row)
        case "new":
            edges = _edges(stub, chosen, limit, new_since=chosen.since)
            return Answer(edges, view.EDGE_COLUMNS, view.edge_row)
        case "refused":
            if not chosen.verdicts:
                chosen.verdicts.extend(_REFUSED)
            return Answer(_edges(stub, chosen, limit), view.EDGE_COLUMNS, view.edge_row)
    flows = paged(
        lambda size, token: stub.ListFlows(
            pb.ListFlowsRequest(filter=chosen, page_size=size, page_token=token)
        ),
        "flows",
        limit,
    )
    return Answer(list(flows), view.FLOW_COLUMNS, view.flow_row, view.flow_dict)


def _edges(
    stub: Bounded, chosen: pb.FlowFilter, limit: int, new_since: int = 0
) -> list[pb.FlowEdge]:
    return list(
        paged(
            lambda size, token: stub.ListEdges(
                pb.ListEdgesRequest(
                    filter=chosen, new_since=new_since, page_size=size, page_token=token
                )
            ),
            "edges",
            limit,
        )
    )


def _print_documents(edges: Iterable[pb.FlowEdge]) -> None:
    for number, text in enumerate(view.allows(edges)):
        for line in (*(("---",) if number else ()), *text.splitlines()):
            print_line(line)
