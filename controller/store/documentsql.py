# SPDX-License-Identifier: Apache-2.0
"""The documents of a revision: for each the row with the highest revision up to it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, select

from controller.store.tables import documents


def newest_documents(*only: ColumnElement[bool], up_to: int | None = None) -> Select[Any]:
    """Rows of documents that are there, in the order of kind and name."""
    bounds = only if up_to is None else (*only, documents.c.revision <= up_to)
    newest = (
        select(documents.c.kind, documents.c.name, func.max(documents.c.revision).label("revision"))
        .where(*bounds)
        .group_by(documents.c.kind, documents.c.name)
        .subquery()
    )
    same = and_(
        documents.c.kind == newest.c.kind,
        documents.c.name == newest.c.name,
        documents.c.revision == newest.c.revision,
    )
    return (
        select(documents)
        .join(newest, same)
        .where(~documents.c.deleted)
        .order_by(documents.c.kind, documents.c.name)
    )
