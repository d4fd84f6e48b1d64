# SPDX-License-Identifier: Apache-2.0
"""`cordon-controller init` and `store`: make a fleet, renew its tables, see that it is whole."""

from __future__ import annotations

import secrets
from pathlib import Path

import click
from cryptography import x509

from controller import ca, files, keys, signing
from controller.access_records import Role, SecretRow
from controller.cli.common import (
    BAD_INPUT,
    FAILED,
    HERE,
    config_option,
    end,
    master_key,
    now,
    opened,
    read_config,
    why_option,
)
from controller.cli.token import login_token
from controller.config import ControllerConfig
from controller.fields import NAME_EXPECTED, is_name, is_trust_domain
from controller.files import StateError
from controller.records import FleetSettings
from controller.rotation import ACTIVE
from controller.storage import Storage, StorageError
from controller.store import open_store, upgrade
from controller.store.sealed import MASTER_KEY_BYTES


@click.command()
@config_option
@click.option("--trust-domain", required=True, help="Such as example.org; for ever.")
@click.option("--operator", default="operator", show_default=True, help="Who may log in first.")
def init(path: Path, trust_domain: str, operator: str) -> None:
    """Make a fleet: master key, tables, authority, signing key; print an operator's login token."""
    if not is_trust_domain(trust_domain):
        end("--trust-domain: expected lower-case letters, digits, '.', '-' or '_'", BAD_INPUT)
    if not is_name(operator):
        end(f"--operator: {NAME_EXPECTED}", BAD_INPUT)
    config = read_config(path)
    try:
        key = _master_key(config)
        upgrade(config.database_url)
        storage = open_store(config.database_url, key)
        try:
            _make_fleet(storage, trust_domain)
            text = login_token(storage, operator, Role.OPERATOR)
        finally:
            storage.close()
    except (StateError, StorageError) as error:
        end(error, FAILED)
    click.echo(
        f"Fleet {trust_domain} is made. Log in within 15 minutes, with:\n"
        f"cordonctl login --controller HOST:PORT-OF-ENROLMENT --token {text}"
    )


def _master_key(config: ControllerConfig) -> bytes:
    """The one that is there, or a new one. Raises StateError."""
    files.make_folder(config.state_dir, files.PRIVATE_FOLDER)
    key = master_key(config)
    if key is None:
        key = secrets.token_bytes(MASTER_KEY_BYTES)
        files.write_private(config.master_key, key)
    return key


def _make_fleet(storage: Storage, trust_domain: str) -> None:
    moment = now()
    authority = ca.new_authority(trust_domain, moment, x509.random_serial_number())
    signer = signing.new_key()
    rows = [
        ca.to_secret(authority, ACTIVE, moment),
        signing.to_secret(signer, ACTIVE, moment),
        SecretRow("root", "1", ACTIVE, moment, b"", secrets.token_bytes(keys.ROOT_BYTES)),
    ]
    key_set = signing.key_set(1, [signing.raw_public(signer)], signer)
    storage.initialise(trust_domain, FleetSettings(), rows, key_set, moment)


@click.group()
def store() -> None:
    """What is done to the database."""


@store.command()
@config_option
def migrate(path: Path) -> None:
    """Bring the tables to this version's form. Back the database up before."""
    config = read_config(path)
    try:
        before, after = upgrade(config.database_url)
    except StorageError as error:
        end(error, FAILED)
    click.echo(f"Tables were of {before or 'no version'}, are of {after}.")


@store.command()
@config_option
def check(path: Path) -> None:
    """Look for what should not be; exit status 1 if there is something."""
    with opened(read_config(path)) as storage:
        findings = storage.check()
        head = storage.head()
    for sentence in findings:
        click.echo(sentence)
    if findings:
        end(f"{len(findings)} findings", FAILED)
    click.echo(
        f"All is well: epoch {head.store_epoch}, version {head.version}, revision {head.revision}."
    )


@store.command("raise-epoch")
@config_option
@why_option
def raise_epoch(path: Path, why: str) -> None:
    """After a restore from a backup: let every host follow this store again.

    Hosts that were enrolled after the backup are unknown and must enrol again; hosts that were
    revoked after it must be revoked again.
    """
    with opened(read_config(path)) as storage:
        head = storage.raise_epoch(HERE, why, now())
    click.echo(f"The store's epoch is {head.store_epoch}, its version {head.version}.")
