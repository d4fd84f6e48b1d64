# SPDX-License-Identifier: Apache-2.0
"""The way from `cordonctl` to a controller: whose certificate, which controller, how long at most.

Controllers are tried in the order in which they are named, and the first that completes a handshake
is asked. Nothing is asked twice: whether a change came through is not to be guessed. Every failure
is one sentence and an exit status (remote_errors).
"""

from __future__ import annotations

import contextlib
import queue
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click
import grpc

from agent.cli import credentials, remote_errors
from agent.cli.credentials import Login, NotLoggedIn
from agent.cli.output import Exit, fail, printable
from agent.cli.remote_errors import Call
from agent.cli.values import moment_text
from agent.edge import enrolment_client, identity_files
from agent.edge.enrolment_client import EnrolmentError
from agent.pb import admin_pb2_grpc
from controller.files import StateError

CONNECT_SECONDS = 10.0
"""For one controller: name, connection and handshake."""
CALL_SECONDS = 30.0
DEADLINES: Mapping[str, float | None] = {
    "Apply": 300.0,
    "Diff": 300.0,
    "GetDocuments": 300.0,
    "WatchRollout": None,
}
"""Of the methods that take longer than CALL_SECONDS may."""
MAX_BYTES = 4 * 1024 * 1024
_OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", MAX_BYTES),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_retries", 0),
)


class Bounded:
    """A service whose every call has a deadline. call: the last one that was made."""

    def __init__(self, stub: Any, controller: str) -> None:
        self._stub = stub
        self._controller = controller
        self.call = Call(controller, "")

    def __getattr__(self, method: str) -> Callable[..., Any]:
        call = getattr(self._stub, method)

        def bounded(request: Any, seconds: float | None = None) -> Any:
            """seconds: instead of the method's own deadline."""
            limit = DEADLINES.get(method, CALL_SECONDS) if seconds is None else seconds
            self.call = Call(self._controller, method, limit)
            return call(request, timeout=limit)

        return bounded


@dataclass(frozen=True, slots=True)
class Connection:
    """A controller that has completed a handshake."""

    controller: str
    channel: grpc.Channel
    login: Login


@contextlib.contextmanager
def administration(controllers: Sequence[str]) -> Iterator[Bounded]:
    """AdminService of the first controller that can be reached."""
    with service(controllers, admin_pb2_grpc.AdminServiceStub) as admin:
        yield admin


@contextlib.contextmanager
def service(controllers: Sequence[str], stub: Callable[[grpc.Channel], Any]) -> Iterator[Bounded]:
    """A service of a main port; whatever goes wrong ends the command with a sentence."""
    login = usable_login()
    with _connected(login, controllers or login.controllers) as connection:
        _renew_when_due(connection)
        bounded = Bounded(stub(connection.channel), connection.controller)
        try:
            yield bounded
        except grpc.RpcError as error:
            told = remote_errors.told(enrolment_client.refusal_of(error), bounded.call)
            fail([told.sentence], told.status)


def usable_login() -> Login:
    try:
        login = credentials.load()
    except (NotLoggedIn, StateError) as error:
        fail([str(error)], Exit.NOT_PERMITTED)
    if login.expires <= time.time():
        ended = moment_text(login.expires)
        fail(
            [f"your certificate ended at {ended}; {remote_errors.LOGIN_AGAIN}"], Exit.NOT_PERMITTED
        )
    return login


@contextlib.contextmanager
def _connected(login: Login, controllers: Sequence[str]) -> Iterator[Connection]:
    shown = enrolment_client.credentials_of(login)
    missed = []
    for controller in controllers:
        require_endpoint(controller)
        with grpc.secure_channel(controller, shown, _OPTIONS) as channel:
            if _ready(channel):
                yield Connection(controller, channel, login)
                return
        missed.append(f"{controller} ({_why_not(controller)})")
    fail(
        [f"no controller can be reached: {', '.join(missed)}; name another one by --controller"],
        Exit.UNREACHABLE,
    )


def require_endpoint(controller: str) -> None:
    try:
        enrolment_client.endpoint(controller)
    except EnrolmentError as error:
        fail([str(error)], Exit.BAD_INPUT)


def _ready(channel: grpc.Channel) -> bool:
    """Whether the handshake was completed, at the first attempt and within CONNECT_SECONDS."""
    states: queue.SimpleQueue[grpc.ChannelConnectivity] = queue.SimpleQueue()
    channel.subscribe(states.put, try_to_connect=True)
    end = time.monotonic() + CONNECT_SECONDS
    try:
        while (left := end - time.monotonic()) > 0:
            match states.get(timeout=left):
                case grpc.ChannelConnectivity.READY:
                    return True
                case grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                    return False
    except queue.Empty:
        pass
    finally:
        channel.unsubscribe(states.put)
    return False


def _why_not(controller: str) -> str:
    """grpc does not tell; a connection of our own does."""
    try:
        socket.create_connection(enrolment_client.endpoint(controller), CONNECT_SECONDS).close()
    except OSError as error:
        return error.strerror or str(error)
    return "answers, but completes no handshake: it is of another fleet, or not a main port"


def _renew_when_due(connection: Connection) -> None:
    """What fails here is told and ignored: the certificate in hand is good for this command."""
    login = connection.login
    if time.time() < login.renew_after:
        return
    key = identity_files.new_key()
    try:
        answer = enrolment_client.renew(connection.controller, login, key)
        given = answer.credentials
        credentials.save(
            replace(
                login,
                controllers=tuple(answer.controllers) or login.controllers,
                expires=given.expires,
                renew_after=given.renew_after,
                chain=given.certificate_chain,
                roots=given.roots,
                key=key,
            )
        )
    except EnrolmentError as error:
        if error.refusal is None or error.refusal.reason != "RATE_LIMITED":  # else one has it
            _not_renewed(login, told_of(error, connection.controller, "Renew").sentence)
    except StateError as error:
        _not_renewed(login, str(error))


def told_of(error: EnrolmentError, controller: str, method: str) -> remote_errors.Told:
    """A refusal of EnrolmentService in the words of this command."""
    if error.refusal is None:
        return remote_errors.Told(str(error), Exit.UNREACHABLE)
    limit = enrolment_client.DEADLINE_SECONDS
    return remote_errors.told(error.refusal, Call(controller, method, limit))


def _not_renewed(login: Login, why: str) -> None:
    end = moment_text(login.expires)
    text = f"the certificate was not renewed, it ends {end}: {why}, ignoring"
    click.echo(f"cordonctl: {printable(text)}", err=True)
