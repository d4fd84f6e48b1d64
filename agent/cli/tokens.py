# SPDX-License-Identifier: Apache-2.0
"""`cordonctl token | admins`: who may come in, and who is out again.

A token's secret is shown once, alone on stdout, so that it can go to a file or a pipe; what is said
about it goes to stderr.
"""

from __future__ import annotations

from typing import Any

import click

from agent.cli.local_view import Row, as_dict, word_of
from agent.cli.output import output_option, print_json, print_line, print_table, printable
from agent.cli.remote import administration
from agent.cli.remote_options import controller_option, limit_option, paged, why_option
from agent.cli.values import Duration, Labels, labels_text, merged, moment_text
from agent.pb import admin_pb2 as pb

ROLES = [name.removeprefix("ROLE_").lower() for name in pb.Role.keys()[1:]]
_MINUTE, _DAY = 60, 86_400
_TOKENS = ("id", "state", "for", "grants", "by", "created", "expires", "used", "from")
_ADMINS = ("name", "role", "certificate until", "revoked", "seen")
_OF_HOSTS = ("labels", "networks", "addresses", "replace")
_OF_ADMINS = ("role", "certificate_life")


@click.group("token")
def token_group() -> None:
    """Tokens, by which hosts join and administrators log in: once, within minutes."""


@token_group.command("create")
@click.option("--host", metavar="NAME", help="For `cordon-agent join` on this host.")
@click.option("--labels", multiple=True, type=Labels(), help="That the host will have.")
@click.option("--network", "networks", multiple=True, help="Its addresses must lie in.")
@click.option("--address", "addresses", multiple=True, help="It has these, whatever it reports.")
@click.option("--replace", is_flag=True, help="The host that has this name now ends.")
@click.option("--admin", metavar="NAME", help="For `cordonctl login` of this administrator.")
@click.option("--role", type=click.Choice(ROLES), help="That the administrator will have.")
@click.option(
    "--certificate-life", type=Duration(300, _DAY), help="Of each certificate.  [default: 8h]"
)
@click.option(
    "--ttl", type=Duration(_MINUTE, _DAY), default="15m", show_default=True,
    help="How long the token may be used.",
)  # fmt: skip
@why_option(required=False)
@controller_option
@output_option
def create_command(
    host: str | None,
    admin: str | None,
    ttl: int,
    why: str,
    controllers: tuple[str, ...],
    output: str,
    **grant: Any,
) -> None:
    """Make a token, for a host or for an administrator. It is shown once.

    \b
    Examples:
      cordonctl token create --host web-1 --labels role=web,zone=a --ttl 15m >web-1.token
      cordonctl token create --admin erika --role editor
    """
    wanted = pb.CreateTokenRequest(ttl_seconds=ttl, why=why, **_grant(host, admin, grant))
    with administration(controllers) as service:
        answer: pb.CreateTokenResponse = service.CreateToken(wanted)
    if output == "json":
        print_json(as_dict(answer))
        return
    name, command = (host, "cordon-agent join") if host else (admin, "cordonctl login")
    text = f"for `{command}` of {name}, once, until {moment_text(answer.info.expires)}:"
    click.echo(printable(text), err=True)
    print_line(answer.token)


def _grant(host: str | None, admin: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """The request's oneof. Raises UsageError for options that do not go together."""
    if (host is None) == (admin is None):
        raise click.UsageError("expected one of --host NAME and --admin NAME")
    wrong = [name for name in (_OF_ADMINS if host else _OF_HOSTS) if given[name]]
    if wrong:
        kind = "--host" if host else "--admin"
        raise click.UsageError(f"--{wrong[0].replace('_', '-')} does not go with {kind}")
    if host is not None:
        labels = merged(given["labels"])
        rest = {name: given[name] for name in ("networks", "addresses", "replace")}
        return {"host": pb.HostGrant(name=host, labels=labels, **rest)}
    if given["role"] is None:
        raise click.UsageError(f"expected --role with --admin: {', '.join(ROLES)}")
    role = f"ROLE_{given['role'].upper()}"
    life = given["certificate_life"] or 0
    return {"administrator": pb.AdministratorGrant(name=admin, role=role, certificate_seconds=life)}


@token_group.command("list")
@limit_option(100)
@controller_option
@output_option
def list_command(limit: int, controllers: tuple[str, ...], output: str) -> None:
    """Tokens that can be used, or were used or revoked lately; never their secrets.

    \b
    Example:
      cordonctl token list
    """
    with administration(controllers) as admin:
        found: list[pb.Token] = list(
            paged(
                lambda size, token: admin.ListTokens(
                    pb.ListTokensRequest(page_size=size, page_token=token)
                ),
                "tokens",
                limit,
            )
        )
    if output == "json":
        print_json([as_dict(one) for one in found])
    else:
        print_table(_TOKENS, map(token_row, found))


def token_row(token: pb.Token) -> Row:
    if token.WhichOneof("grant") == "administrator":
        name = f"administrator {token.administrator.name}"
        grants = word_of(pb.Role.DESCRIPTOR, token.administrator.role)
    else:
        name, grants = f"host {token.host.name}", labels_text(token.host.labels)
    return (
        token.id,
        token.state,
        name,
        grants,
        token.created_by,
        moment_text(token.created),
        moment_text(token.expires),
        moment_text(token.used),
        token.used_from,
    )


@token_group.command("revoke")
@click.argument("id")
@why_option(required=False)
@controller_option
@output_option
def revoke_command(id: str, why: str, controllers: tuple[str, ...], output: str) -> None:
    """A token that was not used yet will not be. ID is its second part, as `list` shows it.

    \b
    Example:
      cordonctl token revoke abcdefghijklmnop -m "sent to the wrong person"
    """
    if "." in id:  # a whole token: its secret has no business in a request
        id = id.split(".")[1]
    with administration(controllers) as admin:
        admin.RevokeToken(pb.RevokeTokenRequest(id=id, why=why))
    if output == "json":
        print_json({"id": id, "revoked": True})
    else:
        print_line(f"token {id} is revoked")


@click.group("admins")
def admins_group() -> None:
    """Administrators: who has a certificate, and the end of it."""


@admins_group.command("list")
@controller_option
@output_option
def admins_list_command(controllers: tuple[str, ...], output: str) -> None:
    """Administrators that have a certificate, or had one lately.

    \b
    Example:
      cordonctl admins list
    """
    with administration(controllers) as admin:
        answer = admin.ListAdministrators(pb.ListAdministratorsRequest())
    if output == "json":
        print_json([as_dict(one) for one in answer.administrators])
    else:
        print_table(_ADMINS, map(administrator_row, answer.administrators))


def administrator_row(one: pb.Administrator) -> Row:
    role = word_of(pb.Role.DESCRIPTOR, one.role)
    revoked = "revoked" if one.revoked else ""
    return one.name, role, moment_text(one.expires), revoked, moment_text(one.last_seen)


@admins_group.command("revoke")
@click.argument("name")
@why_option()
@controller_option
@output_option
def admins_revoke_command(name: str, why: str, controllers: tuple[str, ...], output: str) -> None:
    """End an administrator's certificates, from the next call on.

    \b
    Example:
      cordonctl admins revoke erika -m "left the company"
    """
    with administration(controllers) as admin:
        admin.RevokeAdministrator(pb.RevokeAdministratorRequest(name=name, why=why))
    if output == "json":
        print_json({"name": name, "revoked": True})
    else:
        print_line(f"administrator {name} is revoked")
