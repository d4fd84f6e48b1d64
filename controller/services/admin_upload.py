# SPDX-License-Identifier: Apache-2.0
"""Files that come as a stream: the head first, then each file, within the contract's bounds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from controller.services.callers import Code, Context, refuse
from controller.yamlfile import MAX_BYTES

H = TypeVar("H")

MAX_FILES = 10_000
MAX_TOTAL = 64 * 1024 * 1024
MAX_NAME = 4096
SILENT_SECONDS = 30.0
"""Between two messages: who uploads holds a place that others wait for."""
UPLOAD_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Upload(Generic[H]):
    """files: name and content."""

    head: H
    files: Sequence[tuple[str, bytes]]


async def receive(context: Context, requests: AsyncIterator[Any]) -> Upload[Any]:
    """All of it, or the call ends here."""
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            return await _received(context, requests)
    except TimeoutError:
        sentence = f"the upload took more than {UPLOAD_SECONDS:.0f} s"
        await refuse(context, Code.DEADLINE_EXCEEDED, "SLOW", sentence)


async def _received(context: Context, requests: AsyncIterator[Any]) -> Upload[Any]:
    first = await _next(context, requests)
    if first is None or first.WhichOneof("part") != "head":
        await _refuse(context, "the first message has to be the head")
    files: list[tuple[str, bytes]] = []
    total = 0
    while (request := await _next(context, requests)) is not None:
        if request.WhichOneof("part") != "file":
            await _refuse(context, "every message but the first has to be a file")
        name, content = request.file.name, request.file.content
        total += len(content)
        if not (0 < len(name.encode()) <= MAX_NAME and name.isprintable()):
            await _refuse(context, f"expected a printable file name of 1 to {MAX_NAME} bytes")
        if len(content) > MAX_BYTES:
            await _refuse(context, f"{name}: expected at most {MAX_BYTES} bytes: split the file")
        if len(files) >= MAX_FILES or total > MAX_TOTAL:
            await _refuse(context, f"expected at most {MAX_FILES} files and {MAX_TOTAL} bytes")
        files.append((name, content))
    return Upload(first.head, files)


async def _next(context: Context, requests: AsyncIterator[Any]) -> Any:
    """None after the last."""
    try:
        async with asyncio.timeout(SILENT_SECONDS):
            return await anext(requests, None)
    except TimeoutError:
        sentence = f"nothing came for {SILENT_SECONDS:.0f} s"
        await refuse(context, Code.DEADLINE_EXCEEDED, "SILENT", sentence)


async def _refuse(context: Context, sentence: str) -> NoReturn:
    await refuse(context, Code.INVALID_ARGUMENT, "BOUNDS", sentence)
