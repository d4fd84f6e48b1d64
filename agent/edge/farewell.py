# SPDX-License-Identifier: Apache-2.0
"""The last that a controller hears of a host that was uninstalled: one stream, one report.

The controller hears of a beat after it, so its answer proves that the report was read.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from pathlib import Path

from agent.core import stream
from agent.edge import identity_files, report
from agent.edge.control_link import INSTANCE_BYTES
from agent.edge.controller_client import ControllerStream, Ending
from agent.edge.hooks import HOOKS
from agent.edge.identity_files import Identity
from agent.edge.stream_codec import BadStream, decode, encode

SECONDS = 5.0
"""For each controller."""


class NotHeard(Exception):
    """No controller has taken it; the sentence says why the last one did not."""


def tell_uninstalled(folder: Path) -> str:
    """The controller that was told. folder: of the host's identity.

    Raises NotHeard, IdentityError.
    """
    identity = identity_files.load(folder)
    last = "the identity names no controller"
    for controller in random.sample(identity.controllers, len(identity.controllers)):
        try:
            asyncio.run(_tell(controller, identity))
        except TimeoutError:
            last = f"{controller} did not answer within {SECONDS:.0f} s"
        except NotHeard as error:
            last = f"{controller}: {error}"
        else:
            return controller
    raise NotHeard(last)


async def _tell(controller: str, identity: Identity) -> None:
    """Raises NotHeard, TimeoutError."""
    instance = secrets.token_bytes(INSTANCE_BYTES)
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def say(message: stream.Up) -> None:
        line.say(encode(message, instance))

    def heard(data: bytes) -> None:
        try:
            message = decode(data, identity.key_set.keys)
        except BadStream as error:
            ended(Ending("PROTOCOL", str(error)))
            return
        match message:
            case stream.Welcome():
                say(stream.Report(report.uninstalled(len(HOOKS)).SerializeToString()))
                say(stream.Beat(1, 0))
            case stream.BeatAnswered() if not done.done():
                done.set_result(None)

    def ended(ending: Ending) -> None:
        if not done.done():
            done.set_exception(NotHeard(ending.sentence or ending.reason))

    line = ControllerStream(heard, ended)
    line.open(controller, identity, encode(_hello(identity), instance))
    try:
        async with asyncio.timeout(SECONDS):
            await done
    finally:
        line.close()
        await line.wait_closed()


def _hello(identity: Identity) -> stream.Hello:
    """Of a host that holds nothing any more."""
    return stream.Hello(
        host=identity.host,
        host_name=identity.host_name,
        policy=None,
        unconfirmed=None,
        record_serial=0,
        keys_serial=0,
        last_epoch=0,
        key_set_serial=identity.key_set.serial,
        refused=None,
    )
