# SPDX-License-Identifier: Apache-2.0
"""The identity tag: the Python reference, and bpf/tag.h compiled for the host, against one file."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.core import tag
from agent.core.tag import MacInput, Tag, TagError, find_tag
from tests import vectors

ROOT = Path(__file__).resolve().parents[2]
VECTORS = vectors.load()
SIPHASH_OF_15_BYTES = "e545be4961ca29a1"
"""From the appendix of the paper: key 00..0f, message 00..0e."""

tags = st.builds(
    Tag,
    identity=st.integers(0, 0xFFFFFF).filter(lambda n: n not in tag.NEVER_SPEAK),
    host=st.integers(0, 0xFFFFFFFF),
    epoch=st.integers(0, 15),
    mac=st.binary(min_size=8, max_size=8),
    nat=st.booleans(),
)
pieces = st.one_of(
    st.just(b"\x01"),
    st.just(b"\x00"),
    tags.map(Tag.encode),
    st.binary(min_size=0, max_size=8).map(lambda body: bytes([2, len(body) + 2]) + body),
    st.binary(min_size=1, max_size=6),
    st.integers(0, 40).map(lambda length: bytes([254, length, 0xC0, 0xD1])),
)
option_strings = st.lists(pieces, max_size=8).map(lambda parts: b"".join(parts)[:40])


def mac_input(vector: dict[str, Any]) -> MacInput:
    return MacInput(
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


def found(options: bytes) -> str:
    """What find_tag says, in the words of the host program."""
    try:
        view = find_tag(options)
    except TagError:
        return "malformed"
    if view is None:
        return "absent"
    return f"{view.identity} {view.host} {view.version_byte} {view.mac.hex()}"


@pytest.fixture(scope="session")
def host_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("tag") / "tag_host"
    source = Path(__file__).with_name("tag_host.c")
    include = str(ROOT / "bpf")
    argv = ["gcc", "-O1", "-Wall", "-Werror", "-I", include, "-o", str(program), str(source)]
    subprocess.run(argv, check=True)
    return program


def ask(program: Path, questions: Sequence[str]) -> list[str]:
    text = "".join(f"{question}\n" for question in questions)
    done = subprocess.run(
        [program], input=text, capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout.splitlines()


def test_siphash_gives_the_published_vector() -> None:
    assert tag.siphash24(bytes(range(16)), bytes(range(15))).hex() == SIPHASH_OF_15_BYTES


@pytest.mark.parametrize("vector", VECTORS["macs"], ids=lambda v: str(v["name"]))
def test_mac_vector(vector: dict[str, Any]) -> None:
    assert tag.tag_mac(bytes.fromhex(vector["key"]), mac_input(vector)).hex() == vector["mac"]


@pytest.mark.parametrize("vector", VECTORS["keys"], ids=lambda v: str(v["name"]))
def test_key_vector(vector: dict[str, Any]) -> None:
    secret = tag.receive_secret(
        bytes.fromhex(vector["epoch_secret"]), vector["receiver"], vector["epoch"]
    )
    assert secret.hex() == vector["receive_secret"]
    assert tag.pair_key(secret, vector["sender"]).hex() == vector["pair_key"]


@pytest.mark.parametrize("vector", VECTORS["options"], ids=lambda v: str(v["name"]))
def test_options_vector(vector: dict[str, Any]) -> None:
    assert found(bytes.fromhex(vector["options"])) == vector["found"]


def test_mac_input_has_56_bytes_and_binds_every_field() -> None:
    base = mac_input(VECTORS["macs"][0])
    assert len(base.encode()) == 56
    others = [
        replace(base, direction=1),
        replace(base, identity=base.identity + 1),
        replace(base, host=base.host + 1),
        replace(base, epoch=base.epoch + 1),
        replace(base, sequence=base.sequence + 1),
        replace(base, source=bytes(16)),
        replace(base, destination=bytes(16)),
        replace(base, source_port=1),
        replace(base, destination_port=1),
        replace(base, acknowledged=1),
        replace(base, nat=True),
    ]
    assert len({base.encode(), *(other.encode() for other in others)}) == len(others) + 1


def test_nat_binding_leaves_out_addresses_and_ports_but_not_the_sequence() -> None:
    base = replace(mac_input(VECTORS["macs"][0]), nat=True)
    rewritten = replace(base, source=bytes(16), source_port=1)
    assert base.encode() == rewritten.encode()
    assert base.encode() != replace(base, sequence=base.sequence + 1).encode()


@given(tags)
def test_tag_round_trip(value: Tag) -> None:
    assert Tag.decode(value.encode()) == value
    assert find_tag(b"\x01" * 4 + value.encode()) == value


@pytest.mark.parametrize("identity", sorted(tag.NEVER_SPEAK))
def test_reserved_identity_never_speaks(identity: int) -> None:
    with pytest.raises(TagError, match="never speaks"):
        Tag.decode(Tag(identity, 1, 0, bytes(8)).encode())


def test_host_c_agrees_on_vectors(host_program: Path) -> None:
    questions, expected = [], []
    for vector in VECTORS["macs"]:
        covered = mac_input(vector)
        version = covered.encode()[1]
        questions.append(
            f"mac {vector['key']} {covered.direction} {version} {covered.identity} {covered.host} "
            f"{covered.sequence} {covered.source.hex()} {covered.destination.hex()} "
            f"{covered.source_port} {covered.destination_port} {covered.acknowledged}"
        )
        expected.append(vector["mac"])
    for vector in VECTORS["keys"]:
        questions.append(f"key {vector['receive_secret']} {vector['sender']}")
        expected.append(vector["pair_key"])
    for vector in VECTORS["options"]:
        questions.append(f"find {vector['options'] or '-'}")
        expected.append(vector["found"])
    assert ask(host_program, questions) == expected


@settings(max_examples=20)
@given(st.lists(option_strings, min_size=100, max_size=400))
def test_host_c_agrees_on_any_options(host_program: Path, strings: list[bytes]) -> None:
    questions = [f"find {options.hex() or '-'}" for options in strings]
    assert ask(host_program, questions) == [found(options) for options in strings]


@settings(max_examples=20)
@given(st.lists(tags, min_size=1, max_size=100))
def test_host_c_writes_the_same_option(host_program: Path, values: list[Tag]) -> None:
    questions = [f"write {t.version_byte} {t.identity} {t.host} {t.mac.hex()}" for t in values]
    assert ask(host_program, questions) == [t.encode().hex() for t in values]
