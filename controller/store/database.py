# SPDX-License-Identifier: Apache-2.0
"""Engines and transactions: how a reader sees one moment, and how a writer is the only one.

A reader's transaction is a snapshot on both databases (SQLite's WAL, PostgreSQL's REPEATABLE READ)
and never waits for a writer. A writer locks the row of `fleet` first, so all writers of all
controllers come one after the other; the version, the audit entry and the bell's message are part
of its transaction. Errors of the driver become the seam's here and nowhere else; parameters are
hidden from their texts, for some are secrets.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, exc, select, text
from sqlalchemy.engine import URL, make_url

from controller.storage import Conflict, NotFound, Unavailable
from controller.store import tables
from controller.store.bell import CHANNEL, Bell, Listener
from controller.store.writer import Writer

BUSY_SECONDS = 10
_BEGIN = "cordon_begin"
_POSTGRESQL_ARGUMENTS = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "options": "-c statement_timeout=60000 -c lock_timeout=10000 "
    "-c idle_in_transaction_session_timeout=60000",
}
_PRAGMAS = (
    f"busy_timeout = {BUSY_SECONDS * 1000}",
    "synchronous = FULL",
    "foreign_keys = ON",
)
_WAL_PAUSE = 0.02


def make_engine(url: str | URL) -> Engine:
    """Raises Unavailable for an URL of another database."""
    try:
        parsed = make_url(url)
    except exc.ArgumentError as error:
        raise Unavailable("the database's URL cannot be read") from error
    if parsed.drivername in ("sqlite", "sqlite+pysqlite"):
        return _sqlite(parsed)
    if parsed.drivername in ("postgresql", "postgresql+psycopg"):
        return create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            connect_args=_POSTGRESQL_ARGUMENTS,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=8,
            max_overflow=8,
            pool_timeout=BUSY_SECONDS,
        )
    raise Unavailable(
        f"expected a database sqlite:///PATH or postgresql+psycopg://..., got {parsed.drivername}"
    )


def _sqlite(url: URL) -> Engine:
    engine = create_engine(
        url, poolclass=QueuePool, hide_parameters=True, pool_timeout=BUSY_SECONDS
    )

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()
        _switch_to_wal(connection)

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))

    return engine


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Tried again while it is locked: of two first users one is told so at once, for SQLite heeds
    no busy timeout where it would have to wait for a lock that both want to raise."""
    for _ in range(int(BUSY_SECONDS / _WAL_PAUSE)):
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL").close()
            return
        time.sleep(_WAL_PAUSE)
    connection.execute("PRAGMA journal_mode = WAL").close()


class Database:
    """One store's engine, opened once per process."""

    def __init__(self, url: str | URL) -> None:
        self.engine = make_engine(url)
        self._bell = Bell()
        self._listener: Listener | None = None
        self.postgresql = self.engine.dialect.name == "postgresql"
        options: dict[str, Any] = (
            {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
            if self.postgresql
            else {}
        )
        self._reader = self.engine.execution_options(**options)
        self._writer = self.engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        self._turn = threading.Lock()
        self._listening = threading.Lock()

    @property
    def bell(self) -> Bell:
        """Of the whole store; listens to other processes from the first time that it is asked."""
        with self._listening:
            if self.postgresql and self._listener is None:
                plain = self.engine.url.set(drivername="postgresql")
                conninfo = plain.render_as_string(hide_password=False)
                self._listener = Listener(self._bell, conninfo)
        return self._bell

    def close(self) -> None:
        if self._listener:
            self._listener.close()
        self.engine.dispose()

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """One moment of the store. Raises Unavailable."""
        with mapped(), self._reader.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def writing(self, now: int) -> Iterator[Writer]:
        """All or nothing, committed when the block ends well. Raises Unavailable, Conflict."""
        with self._one_writer(), mapped():
            with self._writer.connect() as connection, connection.begin():
                writer = Writer(connection, self._locked(connection), now)
                yield writer
                self._finish(writer)
            if writer.versions:
                self._bell.ring(writer.head.version)

    @contextlib.contextmanager
    def appending(self) -> Iterator[Connection]:
        """A transaction beside the fleet's: of no version, on PostgreSQL in nobody's way.

        Raises Unavailable, Conflict.
        """
        with self._one_writer(), self.first_writing() as connection:
            yield connection

    @contextlib.contextmanager
    def first_writing(self) -> Iterator[Connection]:
        """A transaction that does not lock the fleet's row, such as where there is none yet."""
        with mapped(), self._writer.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def _one_writer(self) -> Iterator[None]:
        """In turn, where SQLite would poll; PostgreSQL queues by itself."""
        if self.postgresql:
            yield
            return
        if not self._turn.acquire(timeout=BUSY_SECONDS):
            raise Unavailable(f"the store's writer was busy for {BUSY_SECONDS} s; try again")
        try:
            yield
        finally:
            self._turn.release()

    def _locked(self, connection: Connection) -> Any:
        row = connection.execute(select(tables.fleet).with_for_update()).one_or_none()
        if row is None:
            raise NotFound(EMPTY)
        return row

    def _finish(self, writer: Writer) -> None:
        writer.flush()
        if writer.versions and self.postgresql:
            writer.connection.execute(
                text("SELECT pg_notify(:channel, :version)"),
                {"channel": CHANNEL, "version": str(writer.head.version)},
            )


EMPTY = "the store is empty: `cordon-controller init` makes a fleet in it"


@contextlib.contextmanager
def mapped() -> Iterator[None]:
    """The driver's errors as the seam's."""
    try:
        yield
    except exc.IntegrityError as error:
        raise Conflict("somebody else changed the same meanwhile; read again") from error
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
        raise Unavailable(f"the database does not answer ({_first_line(error)})") from error
    except exc.ProgrammingError as error:
        raise Unavailable(
            f"the database has not the tables of this version ({_first_line(error)}); "
            "run `cordon-controller store migrate`"
        ) from error


def _first_line(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip() or type(cause).__name__).splitlines()[0]
