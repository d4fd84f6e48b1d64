# SPDX-License-Identifier: Apache-2.0
"""Brings the tables of a database to this version's, by Alembic's migrations in `migrations/`.

One at a time: PostgreSQL's advisory lock, SQLite's own. `serve` never does it by itself, because
with several controllers it is the operator who knows which of them run an older version.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from controller.storage import Refused
from controller.store.database import Database, mapped

_LOCK = 0x636F72646F6E
"""Any number that is ours: "cordon"."""


def upgrade(database: Database) -> tuple[str, str]:
    """The revision of the tables before ("" for none) and now. Raises Unavailable."""
    with database.first_writing() as connection:
        if database.postgresql:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        before = _revision(connection)
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        return before, _revision(connection)


def refuse_unless_at_head(database: Database) -> None:
    """Raises Refused for tables of another version."""
    with mapped(), database.reading() as connection:
        found = _revision(connection)
    wanted = head()
    if found != wanted:
        raise Refused(
            f"the database's tables are of {found or 'no version'}, expected {wanted}: "
            "run `cordon-controller store migrate`"
        )


def head() -> str:
    """The newest revision that this version knows."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _revision(connection: Connection) -> str:
    return MigrationContext.configure(connection).get_current_revision() or ""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.set_main_option("path_separator", "os")
    return config
