# SPDX-License-Identifier: Apache-2.0
"""`cordonctl settings get | set`: what holds for the whole fleet."""

from __future__ import annotations

from collections.abc import Iterable

import click

from agent.cli.local_view import as_dict
from agent.cli.output import output_option, print_facts, print_json
from agent.cli.remote import administration
from agent.cli.remote_options import Waiting, controller_option, wait_options, why_option
from agent.cli.rollout import conclude
from agent.cli.values import duration, duration_text
from agent.pb import admin_pb2 as pb

_SECONDS = "_seconds"
NAMES = [field.name.removesuffix(_SECONDS) for field in pb.FleetSettings.DESCRIPTOR.fields]
_FIELDS = {field.name.removesuffix(_SECONDS): field.name
           for field in pb.FleetSettings.DESCRIPTOR.fields}  # fmt: skip
_MAX = (1 << 32) - 1


@click.group("settings")
def settings_group() -> None:
    """Settings of the fleet: lives of keys, releases, leases and certificates, and the agents'."""


@settings_group.command("get")
@controller_option
@output_option
def get_command(controllers: tuple[str, ...], output: str) -> None:
    """Settings as they are.

    \b
    Example:
      cordonctl settings get
    """
    with administration(controllers) as admin:
        answer = admin.GetSettings(pb.GetSettingsRequest())
    if output == "json":
        print_json(as_dict(answer.settings))
    else:
        print_facts(settings_facts(answer.settings))


def settings_facts(settings: pb.FleetSettings) -> list[tuple[str, object]]:
    """As `set` reads them."""
    return [
        (name, duration_text(value) if field.endswith(_SECONDS) else value)
        for name, field in _FIELDS.items()
        for value in [getattr(settings, field)]
    ]


def parse_settings(words: Iterable[str]) -> pb.FleetSettings:
    """Of "lease=1h" and the like; what is not named is 0. Raises ValueError."""
    found: dict[str, int] = {}
    for word in words:
        name, equals, text = word.partition("=")
        field = _FIELDS.get(name) or (name if name in _FIELDS.values() else None)
        if field is None or not equals:
            raise ValueError(f"expected NAME=VALUE with one of {', '.join(NAMES)}, got {word!r}")
        if field in found:
            raise ValueError(f"{name} is there twice")
        found[field] = _value(name, field, text)
    return pb.FleetSettings(**found)


def _value(name: str, field: str, text: str) -> int:
    if field.endswith(_SECONDS) and not text.isdecimal():
        value = duration(text)
    elif text.isdecimal() and text.isascii() and len(text) <= 10:
        value = int(text)
    else:
        raise ValueError(f"{name}: expected a whole number, got {text!r}")
    if not 1 <= value <= _MAX:
        raise ValueError(f"{name}: expected 1 to {_MAX}, got {text}")
    return value


@settings_group.command("set")
@click.argument("values", metavar="NAME=VALUE...", nargs=-1, required=True)
@why_option()
@wait_options
@controller_option
@output_option
def set_command(
    values: tuple[str, ...],
    why: str,
    waiting: Waiting,
    controllers: tuple[str, ...],
    output: str,
) -> None:
    """Change settings; what is not named stays as it is.

    \b
    Example:
      cordonctl settings set lease=2h certificate=12h -m "slow links"
    """
    try:
        wanted = parse_settings(values)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with administration(controllers) as admin:
        answer = admin.UpdateSettings(pb.UpdateSettingsRequest(settings=wanted, why=why))
        facts = "; ".join(f"{name} {value}" for name, value in settings_facts(answer.settings))
        conclude(admin, waiting, output, as_dict(answer), facts)
