# SPDX-License-Identifier: Apache-2.0
"""The way from `cordonctl` to the agent of this host: which socket, and what is said if it fails.

Every failure is one sentence that names the socket and what to do, and exit status 1. An agent that
is not there does not end enforcement, and the sentence says so.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click
import grpc

from agent.cli.output import Exit, fail
from agent.config import ConfigError
from agent.edge.config_file import read_config
from agent.pb import local_pb2_grpc

RUN_DIR = Path("/run/cordon")
TIMEOUT_SECONDS = 10.0
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_SUN_PATH_BYTES = 107
"""What sockaddr_un holds beside its closing zero (unix(7))."""

PID = click.IntRange(1, 1 << 22)
"""The most that a kernel numbers (PID_MAX_LIMIT, linux/threads.h)."""
_PATH = click.Path(path_type=Path, readable=False)
"""Whether it can be read is found out by reading it, and told in our own words."""
_OPTIONS = (
    click.option("--instance", help="The agent's instance.  [default: default]"),
    click.option("--config", type=_PATH, help="The agent's agent.toml, instead."),
    click.option("--socket", type=_PATH, help="The agent's control socket, instead."),
)


def agent_options(command: Callable[..., None]) -> Callable[..., None]:
    """`--instance`, `--config` or `--socket`; the command gets the socket as `path`."""

    @functools.wraps(command)
    def with_path(
        instance: str | None, config: Path | None, socket: Path | None, **others: Any
    ) -> None:
        command(path=_chosen(instance, config, socket), **others)

    wrapped: Callable[..., None] = with_path
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def _chosen(instance: str | None, config: Path | None, socket: Path | None) -> Path:
    if sum(value is not None for value in (instance, config, socket)) > 1:
        raise click.UsageError("expected only one of --instance, --config and --socket")
    if socket is not None:
        return socket.absolute()
    if config is None:
        return RUN_DIR / f"{instance or 'default'}.sock"
    try:
        return read_config(config).socket
    except ConfigError as error:
        fail([str(error)], Exit.BAD_INPUT)


@contextlib.contextmanager
def connected(path: Path) -> Iterator[local_pb2_grpc.LocalServiceStub]:
    """The agent at a socket; what goes wrong on the way ends the command with a sentence."""
    if len(os.fsencode(path)) > _SUN_PATH_BYTES:
        fail([f"{path}: a socket's path has at most {_SUN_PATH_BYTES} bytes"], Exit.BAD_INPUT)
    options = [("grpc.max_receive_message_length", _MAX_ANSWER_BYTES)]
    try:
        with grpc.insecure_channel(f"unix:{quote(os.fsencode(path))}", options=options) as channel:
            yield local_pb2_grpc.LocalServiceStub(channel)
    except grpc.RpcError as error:
        fail([_sentence(path, error)], Exit.REFUSED)


def _sentence(path: Path, error: grpc.RpcError) -> str:
    code = error.code()
    if code is grpc.StatusCode.UNAVAILABLE:
        return _unreachable(path)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"the agent at {path} did not answer within {TIMEOUT_SECONDS:g} s"
    return f"the agent at {path}: {error.details()}"


def _unreachable(path: Path) -> str:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return (
            f"there is no agent at {path}: start it with `cordon-agent run`, or say which one is "
            f"meant by --instance, --config or --socket{_others(path.parent)}"
        )
    except OSError as error:
        return f"{path} cannot be reached ({error.strerror}): it is root's alone, run this as root"
    if not os.access(path, os.W_OK, effective_ids=True):
        return f"{path} cannot be used (Permission denied): it is root's alone, run this as root"
    return (
        f"no agent answers at {path}: it has ended, and what it enforced the kernel goes on "
        "enforcing; start it again with `cordon-agent run`"
    )


def _others(folder: Path) -> str:
    names = sorted(socket.stem for socket in folder.glob("*.sock"))
    return f" (in {folder}: {', '.join(names)})" if names else ""
