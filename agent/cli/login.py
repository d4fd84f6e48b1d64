# SPDX-License-Identifier: Apache-2.0
"""`cordonctl login | logout | whoami`: from a token to a certificate, and out again.

The key is made here and never leaves the machine. Nothing is sent before the authority was
recognised by the token's pin (or by `--roots`), and the pin itself is never sent.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from agent.cli import credentials
from agent.cli.credentials import Login, NotLoggedIn
from agent.cli.local_view import as_dict, word_of
from agent.cli.output import Exit, fail, output_option, print_facts, print_json, print_line
from agent.cli.remote import administration, require_endpoint, told_of
from agent.cli.remote_options import controller_option
from agent.cli.values import moment_text
from agent.edge import enrolment_client, snapshot_file
from agent.edge.enrolment_client import EnrolmentError, Joining
from agent.edge.snapshot_file import SnapshotRefused
from agent.pb import admin_pb2 as pb
from agent.pb import enrolment_pb2
from controller.files import StateError

TOKEN_VARIABLE = "CORDON_TOKEN"
MAX_BYTES = 64 * 1024
_PATH = click.Path(path_type=Path)


@click.command("login")
@click.option(
    "--controller", "controllers", multiple=True, required=True, metavar="HOST:PORT",
    help="Enrolment port; may be repeated: they are tried in this order.",
)  # fmt: skip
@click.option(
    "--token-file", type=click.Path(path_type=Path, allow_dash=True), metavar="FILE|-",
    help="The token, in a file or on stdin.",
)  # fmt: skip
@click.option("--token", help="The token itself; who lists processes sees it.")
@click.option(
    "--roots", type=_PATH, help="Authorities to believe, PEM, instead of the token's pin."
)
@output_option
def login_command(
    controllers: tuple[str, ...],
    token_file: Path | None,
    token: str | None,
    roots: Path | None,
    output: str,
) -> None:
    """Get a certificate with the role that a token grants.

    The token comes from a file, from stdin, from the environment (CORDON_TOKEN), or is asked for
    on a terminal. Key and certificate go to ~/.config/cordon (or where CORDON_CONFIG_DIR says),
    for nobody else to read; the certificate is renewed while it is used.

    \b
    Example:
      cordonctl login --controller ctl.example.org:7441 --token-file operator.token
    """
    for controller in controllers:
        require_endpoint(controller)
    sent, pin = _token(token, token_file)
    believed = _read(roots) if roots else b""
    if not believed and not pin:
        fail(["the token has no PIN: expected --roots with the authorities"], Exit.BAD_INPUT)
    login = _logged_in(controllers, sent, pin, believed)
    if output == "json":
        print_json(_as_json(login))
    else:
        print_line(
            f"logged in as {login.name}, {login.role}, of {login.trust_domain}; "
            f"the certificate lives until {moment_text(login.expires)}"
        )


def _logged_in(controllers: Sequence[str], sent: str, pin: bytes, roots: bytes) -> Login:
    """By the first controller that answers: what one refuses, all refuse."""
    missed = []
    try:
        key = credentials.pending_key()
        for controller in controllers:
            try:
                believed = roots or enrolment_client.authority_by_pin(controller, pin)
                answer = enrolment_client.login(Joining(controller, believed, key, sent))
            except EnrolmentError as error:
                told = told_of(error, controller, "Login")
                missed.append(told)
                if told.status is not Exit.UNREACHABLE:
                    break
                continue
            login = _login(answer, key)
            credentials.save(login)
            credentials.forget(credentials.PENDING_KEY)
            return login
    except StateError as error:
        fail([str(error)], Exit.REFUSED)
    fail([told.sentence for told in missed], missed[-1].status)


def _login(answer: enrolment_pb2.LoginResponse, key: bytes) -> Login:
    given = answer.credentials
    return Login(
        name=answer.name,
        role=answer.role,
        trust_domain=answer.trust_domain,
        controllers=tuple(answer.controllers),
        expires=given.expires,
        renew_after=given.renew_after,
        chain=given.certificate_chain,
        roots=given.roots,
        key=key,
    )


def _as_json(login: Login) -> dict[str, object]:
    """What may be seen of it."""
    return {
        "name": login.name,
        "role": login.role,
        "trust_domain": login.trust_domain,
        "expires": login.expires,
        "controllers": list(login.controllers),
    }


def _token(token: str | None, file: Path | None) -> tuple[str, bytes]:
    """What is sent, and the pin."""
    if token is not None and file is not None:
        raise click.UsageError("expected only one of --token and --token-file")
    try:
        return enrolment_client.token_parts(_token_text(token, file))
    except ValueError as error:
        fail([str(error)], Exit.BAD_INPUT)


def _token_text(token: str | None, file: Path | None) -> str:
    if token is not None:
        return token
    if file is not None:
        return _read(file).decode(errors="replace")
    if TOKEN_VARIABLE in os.environ:
        return os.environ[TOKEN_VARIABLE]
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"expected a token: --token-file FILE, --token-file - for stdin, or {TOKEN_VARIABLE} "
            "in the environment"
        )
    return str(click.prompt("Token", hide_input=True, err=True))


def _read(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read(MAX_BYTES)
    try:
        return snapshot_file.read(path, MAX_BYTES)
    except SnapshotRefused as error:
        fail([str(error)], Exit.BAD_INPUT)


@click.command("logout")
def logout_command() -> None:
    """Forget the certificate and its key.

    Whoever copied them may use them until the certificate ends; an operator ends it at once by
    `cordonctl admins revoke`.

    \b
    Example:
      cordonctl logout
    """
    try:
        login = credentials.load()
    except (NotLoggedIn, StateError):
        login = None
    try:
        found = credentials.forget()
    except StateError as error:
        fail([str(error)], Exit.REFUSED)
    if login:
        print_line(f"logged out, {login.name} of {login.trust_domain}")
    else:
        print_line("logged out" if found else "there was no login")


@click.command("whoami")
@controller_option
@output_option
def whoami_command(controllers: tuple[str, ...], output: str) -> None:
    """Who you are to the controller, with which role and until when.

    \b
    Example:
      cordonctl whoami -o json
    """
    with administration(controllers) as admin:
        answer: pb.WhoamiResponse = admin.Whoami(pb.WhoamiRequest())
    if output == "json":
        print_json(as_dict(answer))
        return
    print_facts(
        [
            ("name", answer.name),
            ("role", word_of(pb.Role.DESCRIPTOR, answer.role)),
            ("fleet", answer.trust_domain),
            ("certificate", f"until {moment_text(answer.expires)}"),
            ("controller", f"{answer.controller} ({answer.controller_version})"),
        ]
    )
