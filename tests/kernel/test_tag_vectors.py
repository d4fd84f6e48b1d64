# SPDX-License-Identifier: Apache-2.0
"""The same vectors once more, computed by the kernel itself."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.core import tag
from agent.edge import libbpf, sources
from agent.edge.maps import BpfMap
from tests import vectors

VECTORS = vectors.load()
SCHED_CLS = 3
QUESTION = struct.Struct("<16s16s16s16sIIIIIHHBBB5x64s")
ANSWER = struct.Struct("<8s16s8sIIII")
FOUND = {0: "absent", 2: "malformed"}
Ask = Callable[..., tuple[Any, ...]]


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    """A function from the fields of a question to those of its answer."""
    os.environ["BCC_KERNEL_SOURCE"] = str(sources.source_root() / "include")
    from bcc import BPF

    here = Path(__file__).with_name("tag_vectors.bpf.c").read_text()
    text = here
    for name in ("siphash.h", "tag.h"):
        text = text.replace(f'#include "{name}"', (sources.source_root() / name).read_text())
    module = BPF(text=text.encode())
    program = libbpf.prog_load(
        SCHED_CLS, module.dump_func(b"answer_question"), "vectors", "Dual BSD/GPL", 0
    )
    maps = [BpfMap(os.dup(module[name.encode()].map_fd), name) for name in ("questions", "answers")]

    def answer(**given: Any) -> tuple[Any, ...]:
        maps[0].put(bytes(4), question(**given))
        assert libbpf.prog_test_run(program, bytes(64))[0] == 0
        value = maps[1].get(bytes(4))
        assert value is not None
        return ANSWER.unpack(value)

    yield answer
    for opened in maps:
        opened.close()
    os.close(program)
    module.cleanup()


def question(
    *,
    key: str = "00" * 16,
    secret: str = "00" * 16,
    sender: int = 0,
    covered: bytes = bytes(56),
    options: bytes = b"",
) -> bytes:
    """`covered` is the reference's own MAC input, taken apart again."""
    direction, version, identity, host, sequence = struct.unpack("!BB2xIII", covered[:16])
    source_port, destination_port, acknowledged = struct.unpack("!HHI", covered[48:])
    return QUESTION.pack(
        bytes.fromhex(secret),
        bytes.fromhex(key),
        covered[16:32],
        covered[32:48],
        sender,
        identity,
        host,
        sequence,
        acknowledged,
        source_port,
        destination_port,
        direction,
        version,
        len(options),
        options,
    )


@pytest.mark.parametrize("vector", VECTORS["macs"], ids=lambda v: str(v["name"]))
def test_mac_vector(ask: Ask, vector: dict[str, Any]) -> None:
    covered = tag.MacInput(
        direction=vector["direction"],
        identity=vector["identity"],
        host=vector["host"],
        epoch=vector["epoch"],
        sequence=vector["sequence"],
        source=tag.address_bytes(vector["source"]),
        destination=tag.address_bytes(vector["destination"]),
        source_port=vector["source_port"],
        destination_port=vector["destination_port"],
        acknowledged=vector["acknowledged"],
        nat=vector["nat"],
    )
    assert ask(key=vector["key"], covered=covered.encode())[0].hex() == vector["mac"]


@pytest.mark.parametrize("vector", VECTORS["keys"], ids=lambda v: str(v["name"]))
def test_key_vector(ask: Ask, vector: dict[str, Any]) -> None:
    answer = ask(secret=vector["receive_secret"], sender=vector["sender"])
    assert answer[1].hex() == vector["pair_key"]


@pytest.mark.parametrize("vector", VECTORS["options"], ids=lambda v: str(v["name"]))
def test_options_vector(ask: Ask, vector: dict[str, Any]) -> None:
    _, _, mac, identity, host, version, found = ask(options=bytes.fromhex(vector["options"]))
    words = FOUND.get(found, f"{identity} {host} {version} {mac.hex()}")
    assert words == vector["found"]
