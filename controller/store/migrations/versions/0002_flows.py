# SPDX-License-Identifier: Apache-2.0
"""Flow records. Frozen: what changes later is a migration of its own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_LINE: sa.types.TypeEngine[str] = sa.Text().with_variant(
    postgresql.TEXT(collation="C"), "postgresql"
)
_SUMS = ("count", "first_ms", "last_ms", "closed", "source_bytes", "destination_bytes",
         "source_packets", "destination_packets", "duration_ms")  # fmt: skip


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, _LINE, nullable=False)


def _number(name: str, *, key: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, primary_key=key, nullable=False, autoincrement=False)


def _bytes(name: str, *, key: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary, primary_key=key, nullable=False)


def upgrade() -> None:
    for create in (_edges, _minutes, _senders):
        create()


def _edges() -> None:
    texts = ("direction", "verdict", "reason", "rule", "source", "destination", "proof", "protocol")
    op.create_table(
        "flow_edges",
        _bytes("key", key=True),
        *map(_text, texts),
        *map(_number, ("port", "first_seen", "last_seen", "count")),
    )
    op.create_index("ix_flow_edges_source", "flow_edges", ["source", "destination"])
    for column in ("destination", "first_seen", "last_seen"):
        op.create_index(f"ix_flow_edges_{column}", "flow_edges", [column])


def _minutes() -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "flow_minutes",
        sa.Column("id", number, primary_key=True),
        _number("minute"),
        _number("host"),
        _bytes("edge"),
        _text("executable"),
        _text("address"),
        *map(_number, _SUMS),
    )
    op.create_index("ix_flow_minutes_minute", "flow_minutes", ["minute"])
    op.create_index("ix_flow_minutes_edge", "flow_minutes", ["edge", "minute"])


def _senders() -> None:
    op.create_table(
        "flow_senders",
        _number("host", key=True),
        _bytes("instance"),
        _number("sequence"),
        _number("at"),
    )
