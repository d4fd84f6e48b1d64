# SPDX-License-Identifier: Apache-2.0
"""The store: `controller.storage.Storage` over SQLite or PostgreSQL."""

from __future__ import annotations

from sqlalchemy.engine import URL

from controller.store import migrating
from controller.store.allocating import Allocated
from controller.store.bell import Bell
from controller.store.database import Database
from controller.store.enrolment import EnrolmentMethods
from controller.store.fleet import FleetMethods
from controller.store.flow_queries import FlowQueries
from controller.store.flows import FlowMethods
from controller.store.hosts import HostMethods
from controller.store.operation import OperationMethods
from controller.store.policy import PolicyMethods


class SqlStorage(
    FleetMethods,
    EnrolmentMethods,
    HostMethods,
    PolicyMethods,
    OperationMethods,
    FlowMethods,
    FlowQueries,
):
    """Threads share one. Which database it is, only `database.py` knows."""

    def __init__(self, database: Database, master_key: bytes) -> None:
        self._db = database
        self._master_key = master_key
        self._allocated = Allocated()

    @property
    def bell(self) -> Bell:
        """Rung for every version, whoever made it."""
        return self._db.bell

    def close(self) -> None:
        self._db.close()


def open_store(url: str | URL, master_key: bytes) -> SqlStorage:
    """A store with this version's tables. Raises Unavailable, Refused."""
    database = Database(url)
    try:
        migrating.refuse_unless_at_head(database)
    except BaseException:
        database.close()
        raise
    return SqlStorage(database, master_key)


def upgrade(url: str | URL) -> tuple[str, str]:
    """Make or renew the tables: their version before and now. Raises Unavailable."""
    database = Database(url)
    try:
        return migrating.upgrade(database)
    finally:
        database.close()
