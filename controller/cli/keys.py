# SPDX-License-Identifier: Apache-2.0
"""`cordon-controller ca` and `signing-key`: replace what everybody believes, in three steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from cryptography import x509

from controller import ca as authorities
from controller import signing
from controller.access_records import SecretRow
from controller.cli.common import FAILED, HERE, config_option, end, now, opened, read_config
from controller.rotation import ACTIVE, NEXT, RETIRED, Rotation, RotationRefused
from controller.storage import Storage


@click.group()
def ca() -> None:
    """The authority that certificates are issued by."""


@ca.command("show")
@config_option
def ca_show(path: Path) -> None:
    """List authorities, with their stages and ends."""
    with opened(read_config(path)) as storage:
        for row in storage.secrets().authorities:
            certificate = x509.load_der_x509_certificate(row.public)
            click.echo(f"{row.id}  {row.stage:8}  until {certificate.not_valid_after_utc:%F}")


@ca.command("roots")
@config_option
def ca_roots(path: Path) -> None:
    """Print the certificates as PEM, for --roots of `join` and `login`."""
    with opened(read_config(path)) as storage:
        for row in storage.secrets().authorities:
            click.echo(authorities.from_secret(row).pem.decode(), nl=False)


@ca.command("prepare")
@config_option
def ca_prepare(path: Path) -> None:
    """Make the next authority, and let everybody believe it; nothing is signed by it yet."""
    with opened(read_config(path)) as storage:
        moment = now()
        serial = x509.random_serial_number()
        fresh = authorities.new_authority(storage.trust_domain(), moment, serial)
        row = authorities.to_secret(fresh, NEXT, moment)
        _step(storage, _authorities(storage).prepare, row)
    click.echo(f"Authority {fresh.id} is prepared; activate it when all have renewed.")


@ca.command("activate")
@config_option
def ca_activate(path: Path) -> None:
    """Sign with the next authority from now on; the old one is still believed."""
    with opened(read_config(path)) as storage:
        _step(storage, _authorities(storage).activate, now(), storage.certificates_end)
    click.echo("The next authority is active; retire the old one when all have renewed.")


@ca.command("retire")
@config_option
def ca_retire(path: Path) -> None:
    """Believe the old authority no more, and forget its key."""
    with opened(read_config(path)) as storage:
        _step(storage, _authorities(storage).retire, now(), storage.certificates_end)
    click.echo("The old authority is retired.")


def _authorities(storage: Storage) -> Rotation:
    return Rotation("authority", storage.secrets().authorities)


@click.group("signing-key")
def signing_key() -> None:
    """The key that policy is signed with."""


@signing_key.command("show")
@config_option
def key_show(path: Path) -> None:
    """List signing keys, with their stages."""
    with opened(read_config(path)) as storage:
        for row in storage.secrets().signing_keys:
            click.echo(f"{row.id}  {row.stage}")


@signing_key.command("prepare")
@config_option
def key_prepare(path: Path) -> None:
    """Make the next key, and let every host know it; nothing is signed with it yet."""
    with opened(read_config(path)) as storage:
        row = signing.to_secret(signing.new_key(), NEXT, now())
        replace_keys(storage, _signing_keys(storage).prepare, row)
    click.echo(f"Signing key {row.id} is prepared; activate it when all have renewed.")


@signing_key.command("activate")
@config_option
def key_activate(path: Path) -> None:
    """Sign with the next key from now on; the old one is still believed."""
    with opened(read_config(path)) as storage:
        replace_keys(storage, _signing_keys(storage).activate, now(), storage.certificates_end)
    click.echo("The next signing key is active; retire the old one when all have renewed.")


@signing_key.command("retire")
@config_option
def key_retire(path: Path) -> None:
    """Let no host believe the old key any more, and forget it."""
    with opened(read_config(path)) as storage:
        replace_keys(storage, _signing_keys(storage).retire, now(), storage.certificates_end)
    click.echo("The old signing key is retired.")


def _signing_keys(storage: Storage) -> Rotation:
    return Rotation("signing key", storage.secrets().signing_keys)


def _step(storage: Storage, step: Callable[..., Sequence[SecretRow]], *arguments: Any) -> None:
    storage.put_secrets(_allowed(step, *arguments), None, HERE, now())


def replace_keys(
    storage: Storage, step: Callable[..., Sequence[SecretRow]], *arguments: Any
) -> None:
    """One step. The set changes with the keys in it; who signs it is whom all know already."""
    stored = storage.secrets()
    changed = {row.id: row for row in _allowed(step, *arguments)}
    signer = signing.load_private(Rotation("signing key", stored.signing_keys).active.private)
    after = {row.id: row for row in stored.signing_keys} | changed
    keys = [row.public for row in after.values() if row.stage in (ACTIVE, NEXT, RETIRED)]
    before = [row.public for row in stored.signing_keys]
    fresh = None if set(keys) == set(before) else signing.next_key_set(stored.key_set, keys, signer)
    storage.put_secrets(list(changed.values()), fresh, HERE, now())


def _allowed(step: Callable[..., Sequence[SecretRow]], *arguments: Any) -> Sequence[SecretRow]:
    try:
        return step(*arguments)
    except RotationRefused as error:
        end(error, FAILED)
