# SPDX-License-Identifier: Apache-2.0
"""The tables, once, for both databases; `migrations/` makes them and a test holds the two equal.

What is append-only (documents, revisions, versions, audit) is so by trigger and not by good will.
Times are unix seconds. Text is ordered by its bytes on both databases, so that pages are the same.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)

from controller.store.columns import bytes_column as _bytes
from controller.store.columns import flag_column as _flag
from controller.store.columns import number_column as _number
from controller.store.columns import text_column as _text

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)
APPEND_ONLY = ("documents", "revisions", "versions", "audit")


def _json(name: str) -> Column[object]:
    return Column(name, JSON, nullable=False)


def _host(*, key: bool = False) -> Column[int]:
    return Column(
        "number",
        BigInteger,
        ForeignKey("hosts.number"),
        primary_key=key,
        nullable=False,
        autoincrement=False,
    )


# One row. Every writing transaction locks it first: so writers are one after the other, numbers
# have no gaps, and whoever sees a version sees what it brought. `audit`: the last entry's number;
# `next_host`: of the next host that enrols; `at`: of the newest version, which never goes back.
fleet = Table(
    "fleet",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    _text("trust_domain"),
    _number("store_epoch"),
    _number("version"),
    _number("revision"),
    _number("audit"),
    _number("next_host"),
    _number("at"),
    _json("settings"),
)

versions = Table(
    "versions",
    metadata,
    _number("version", key=True),
    _number("at"),
    _text("cause"),
    _text("object"),
)

audit = Table(
    "audit",
    metadata,
    _number("number", key=True),
    _number("at"),
    _text("who"),
    _text("address"),
    _text("what"),
    _text("object"),
    _text("why"),
    _text("refused"),
    _number("version"),
)

# A document at revision R is its row with the highest revision up to R.
documents = Table(
    "documents",
    metadata,
    _text("kind", key=True),
    _text("name", key=True),
    _number("revision", key=True),
    _text("text"),
    _text("file"),
    _number("line"),
    _flag("deleted"),
    Index("ix_documents_revision", "revision"),
)

revisions = Table(
    "revisions",
    metadata,
    _number("number", key=True),
    _number("version"),
    _number("at"),
    _text("who"),
    _text("why"),
    _number("documents"),
    _number("changes"),
    _number("rollback_of"),
)

# Never removed: a number is given once. `revision`: the one that it came with.
allocations = Table(
    "allocations",
    metadata,
    _text("kind", key=True),
    _text("name", key=True),
    _number("number"),
    _number("revision"),
    UniqueConstraint("kind", "number"),
    Index("ix_allocations_revision", "revision"),
)

# A row is an incarnation and stays for ever, so that its number is never another's.
hosts = Table(
    "hosts",
    metadata,
    _number("number", key=True),
    _text("name"),
    _json("labels"),
    _json("networks"),
    _flag("fixed"),
    _flag("tags"),
    _flag("nat"),
    _flag("lost"),
    _flag("revoked"),
    _number("record_serial"),
    _number("record_at"),
    _number("enrolled_at"),
    _text("enrolled_by"),
    _text("token"),
    _number("certificate_expires"),
    _bytes("facts"),
    Index("ix_hosts_name", "name"),
    Index("ix_hosts_token", "token"),
    Index(
        "uq_hosts_living",
        "name",
        unique=True,
        sqlite_where=text("revoked = 0"),
        postgresql_where=text("NOT revoked"),
    ),
)

# An address has one host: the primary key says so whoever races.
host_addresses = Table(
    "host_addresses",
    metadata,
    _text("address", key=True),
    _host(),
    Index("ix_host_addresses_number", "number"),
)

# Apart from `hosts`, because it is written every minute and read for people.
host_seen = Table(
    "host_seen",
    metadata,
    _host(key=True),
    _number("at"),
    _text("controller"),
    _text("agent_version"),
    _number("store_epoch"),
    _number("version"),
    _number("refused_version"),
    _text("refused"),
    _text("trouble"),
    _bytes("report"),
)

quarantines = Table(
    "quarantines",
    metadata,
    _text("kind", key=True),
    _text("name", key=True),
    _number("until"),
    _number("since"),
    _text("who"),
    _text("why"),
)

# `used` 0 and `key_digest` empty: not spent.
tokens = Table(
    "tokens",
    metadata,
    _text("id", key=True),
    _bytes("secret_hash"),
    _json("grant"),
    _number("created"),
    _text("created_by"),
    _number("expires"),
    _number("used"),
    _text("used_from"),
    _bytes("key_digest"),
    _flag("revoked"),
)

administrators = Table(
    "administrators",
    metadata,
    _text("name", key=True),
    _number("role"),
    _number("expires"),
    _flag("revoked"),
    _number("seen"),
)

# `serial` is up to 160 bits, so it is hexadecimal text. `name`: of the host or administrator.
certificates = Table(
    "certificates",
    metadata,
    _text("serial", key=True),
    _text("subject"),
    _text("name"),
    _number("host"),
    _number("issued"),
    _number("expires"),
    _flag("revoked"),
    Index("ix_certificates_host", "host"),
    Index("ix_certificates_name", "name"),
    Index("ix_certificates_expires", "expires"),
)

# `sealed`: by controller.store.sealed, under the master key that is not in here.
secrets = Table(
    "secrets",
    metadata,
    _text("kind", key=True),
    _text("id", key=True),
    _text("stage"),
    _number("since"),
    _bytes("public"),
    _bytes("sealed"),
)

key_sets = Table(
    "key_sets",
    metadata,
    _number("number", key=True),
    _number("at"),
    _bytes("signed"),
)
