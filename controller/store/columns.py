# SPDX-License-Identifier: Apache-2.0
"""Columns as both databases have them: never null, text ordered by its bytes."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, LargeBinary, Text
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

_LINE: TypeEngine[str] = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def text_column(name: str, *, key: bool = False) -> Column[str]:
    return Column(name, _LINE, primary_key=key, nullable=False)


def number_column(name: str, *, key: bool = False) -> Column[int]:
    return Column(name, BigInteger, primary_key=key, nullable=False, autoincrement=False)


def flag_column(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


def bytes_column(name: str, *, key: bool = False) -> Column[bytes]:
    return Column(name, LargeBinary, primary_key=key, nullable=False)
