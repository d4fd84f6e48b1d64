# SPDX-License-Identifier: Apache-2.0
"""`cordon-controller token`: the way in when no operator's certificate holds any more."""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from controller import ca, rotation, tokens
from controller.access_records import AdministratorGrant, NewToken, Role
from controller.cli.common import BAD_INPUT, HERE, config_option, end, now, opened, read_config
from controller.fields import NAME_EXPECTED, is_name
from controller.storage import Storage

CERTIFICATE_SECONDS = 8 * 3600
TTL_SECONDS = 900


@click.command()
@config_option
@click.option("--name", required=True, help="Of the administrator.")
@click.option(
    "--role",
    type=click.Choice([role.name.lower() for role in Role]),
    default=Role.OPERATOR.name.lower(),
    show_default=True,
)
def token(path: Path, name: str, role: str) -> None:
    """Print a login token for an administrator; good once, for 15 minutes."""
    if not is_name(name):
        end(f"--name: {NAME_EXPECTED}", BAD_INPUT)
    with opened(read_config(path)) as storage:
        click.echo(login_token(storage, name, Role[role.upper()]))


def login_token(storage: Storage, name: str, role: Role) -> str:
    """Raises StorageError."""
    active = rotation.Rotation("authority", storage.secrets().authorities).active
    pin = ca.spki_pin(ca.from_secret(active).certificate)
    text, id_, secret_hash = tokens.new_token(secrets.token_bytes(tokens.RANDOM_BYTES), pin)
    moment = now()
    grant = AdministratorGrant(name, role, CERTIFICATE_SECONDS)
    fresh = NewToken(id_, secret_hash, grant, moment + TTL_SECONDS)
    storage.create_token(fresh, HERE, "made on the controller's machine", moment)
    return text
