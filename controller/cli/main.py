# SPDX-License-Identifier: Apache-2.0
"""`cordon-controller`: the server, and what is done on its machine by whoever may read its key.

Exit statuses: 0 done; 1 it did not work; 2 the configuration or the command line is wrong, nothing
was touched.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path

import click

from controller.cli.common import FAILED, config_option, end, opened, read_config
from controller.cli.keys import ca, signing_key
from controller.cli.store import init, store
from controller.cli.token import token


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cordon_controller() -> None:
    """Enrol hosts, hold the policy, stream it to them."""
    os.umask(0o077)


@cordon_controller.command()
@config_option
@click.option("--debug", is_flag=True, help="Let libraries log all that they do, too.")
def serve(path: Path, debug: bool) -> None:
    """Serve until told to stop."""
    from controller.daemon import Controller
    from controller.services.serving import PortError
    from controller.storage import StorageError

    config = read_config(path)
    if debug:
        logging.basicConfig(level=logging.DEBUG)
    with opened(config) as storage:
        try:
            status = asyncio.run(Controller(config, storage).run())
        except (StorageError, PortError) as error:
            end(error, FAILED)
    sys.exit(status)


for _command in (init, store, token, ca, signing_key):
    cordon_controller.add_command(_command)


def main() -> None:
    """Entry point."""
    cordon_controller(prog_name="cordon-controller")


if __name__ == "__main__":
    main()
