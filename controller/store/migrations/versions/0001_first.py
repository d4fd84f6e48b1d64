# SPDX-License-Identifier: Apache-2.0
"""The first tables. Frozen: what changes later is a migration of its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_APPEND_ONLY = ("documents", "revisions", "versions", "audit")
_LINE: sa.types.TypeEngine[str] = sa.Text().with_variant(
    postgresql.TEXT(collation="C"), "postgresql"
)
_REFUSE_FUNCTION = """
CREATE FUNCTION cordon_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME;
END $$
"""


def _text(name: str, *, key: bool = False) -> sa.Column[str]:
    return sa.Column(name, _LINE, primary_key=key, nullable=False)


def _number(name: str, *, key: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, primary_key=key, nullable=False, autoincrement=False)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False)


def _bytes(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, nullable=False)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON, nullable=False)


def _host(*, key: bool = False) -> sa.Column[int]:
    host = sa.ForeignKey("hosts.number")
    return sa.Column(
        "number", sa.BigInteger, host, primary_key=key, nullable=False, autoincrement=False
    )


def upgrade() -> None:
    for create in (_fleet, _policy, _hosts, _host_parts, _tokens, _certificates, _secrets):
        create()
    _indexes()
    if op.get_bind().dialect.name == "postgresql":
        op.execute(_REFUSE_FUNCTION)
        protect = _protect_postgresql
    else:
        protect = _protect_sqlite
    for table in _APPEND_ONLY:
        protect(table)


def _fleet() -> None:
    op.create_table(
        "fleet",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        _text("trust_domain"),
        _number("store_epoch"),
        _number("version"),
        _number("revision"),
        _number("audit"),
        _number("next_host"),
        _number("at"),
        _json("settings"),
    )
    op.create_table(
        "versions",
        _number("version", key=True),
        _number("at"),
        _text("cause"),
        _text("object"),
    )
    op.create_table(
        "audit",
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


def _policy() -> None:
    op.create_table(
        "documents",
        _text("kind", key=True),
        _text("name", key=True),
        _number("revision", key=True),
        _text("text"),
        _text("file"),
        _number("line"),
        _flag("deleted"),
    )
    op.create_table(
        "revisions",
        _number("number", key=True),
        _number("version"),
        _number("at"),
        _text("who"),
        _text("why"),
        _number("documents"),
        _number("changes"),
        _number("rollback_of"),
    )
    op.create_table(
        "allocations",
        _text("kind", key=True),
        _text("name", key=True),
        _number("number"),
        _number("revision"),
        sa.UniqueConstraint("kind", "number", name="uq_allocations_kind_number"),
    )


def _hosts() -> None:
    op.create_table(
        "hosts",
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
    )


def _host_parts() -> None:
    op.create_table(
        "host_addresses",
        _text("address", key=True),
        _host(),
    )
    op.create_table(
        "host_seen",
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
    op.create_table(
        "quarantines",
        _text("kind", key=True),
        _text("name", key=True),
        _number("until"),
        _number("since"),
        _text("who"),
        _text("why"),
    )


def _tokens() -> None:
    op.create_table(
        "tokens",
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
    op.create_table(
        "administrators",
        _text("name", key=True),
        _number("role"),
        _number("expires"),
        _flag("revoked"),
        _number("seen"),
    )


def _certificates() -> None:
    op.create_table(
        "certificates",
        _text("serial", key=True),
        _text("subject"),
        _text("name"),
        _number("host"),
        _number("issued"),
        _number("expires"),
        _flag("revoked"),
    )


def _secrets() -> None:
    op.create_table(
        "secrets",
        _text("kind", key=True),
        _text("id", key=True),
        _text("stage"),
        _number("since"),
        _bytes("public"),
        _bytes("sealed"),
    )
    op.create_table(
        "key_sets",
        _number("number", key=True),
        _number("at"),
        _bytes("signed"),
    )


def _indexes() -> None:
    op.create_index("ix_documents_revision", "documents", ["revision"])
    op.create_index("ix_allocations_revision", "allocations", ["revision"])
    op.create_index("ix_hosts_name", "hosts", ["name"])
    op.create_index("ix_hosts_token", "hosts", ["token"])
    op.create_index(
        "uq_hosts_living",
        "hosts",
        ["name"],
        unique=True,
        sqlite_where=sa.text("revoked = 0"),
        postgresql_where=sa.text("NOT revoked"),
    )
    op.create_index("ix_host_addresses_number", "host_addresses", ["number"])
    op.create_index("ix_certificates_host", "certificates", ["host"])
    op.create_index("ix_certificates_name", "certificates", ["name"])
    op.create_index("ix_certificates_expires", "certificates", ["expires"])


def _protect_postgresql(table: str) -> None:
    op.execute(
        f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION cordon_append_only()"
    )


def _protect_sqlite(table: str) -> None:
    for happening in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{happening.lower()} BEFORE {happening} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, 'rows of {table} are never changed'); END"
        )
