# SPDX-License-Identifier: Apache-2.0
"""The two halves of the shared layout are equal: the header, compiled, against agent.core.abi."""

import ipaddress
import json
import re
import subprocess
from collections.abc import Iterable, Mapping
from enum import IntEnum, IntFlag
from pathlib import Path

import pytest

from agent.core import abi, model

_HEADER = Path(__file__).parents[2] / "bpf" / "abi.h"

_ENUMS: Mapping[str, Iterable[IntEnum | IntFlag]] = {
    "ID": model.Identity,
    "MODE": model.Mode,
    "DIR": model.Direction,
    "VERDICT": model.Verdict,
    "REASON": model.Reason,
    "PROOF": model.Proof,
    "OUTCOME": abi.Outcome,
    "GENERATION": abi.GenerationFlag,
    "CONTROL": abi.ControlFlag,
    "PROCESS": abi.ProcessFlag,
    "SOCKET": abi.SocketFlag,
    "SEGMENT": abi.Segment,
    "FLOW": abi.FlowKind,
    "SCOPE": abi.Scope,
    "ACTION": abi.RuleAction,
    "PEER": abi.PeerFlag,
    "MODE_FLAG": abi.ModeFlag,
    "PROCESS_EVENT": abi.ProcessEventKind,
}


def python_constants() -> dict[str, int]:
    """Every number of the Python half under its name in C."""
    found = {
        f"{prefix}_{member.name}": int(member) for prefix, enum in _ENUMS.items() for member in enum
    }
    plain = {name: value for name, value in vars(abi).items() if re.fullmatch("[A-Z_]+", name)}
    python_only = {"RANGE_PREFIX_BITS", "MAPPED_PREFIX_BITS"}
    return found | {
        name: value
        for name, value in plain.items()
        if isinstance(value, int) and name not in python_only
    }


def defines(source: str) -> list[str]:
    names = re.findall(r"^#define (\w+) ", source, re.M)
    return [name for name in names if name != "CORDON_ABI_H"]


def program(source: str) -> str:
    """C that prints the header's numbers as JSON."""
    lines = [f'out("{name}", (long){name});' for name in defines(source)]
    for layout in abi.LAYOUTS:
        struct = f"struct {layout.name}"
        lines.append(f'out("{layout.name}", (long)sizeof({struct}));')
        for name in layout.offsets:
            where = f"{layout.name}.{name}"
            lines.append(f'out("{where}", (long)offsetof({struct}, {name}));')
            lines.append(f'out("{where}#", (long)sizeof((({struct} *)0)->{name}));')
    return (
        "#include <linux/types.h>\n#include <stddef.h>\n#include <stdio.h>\n"
        f'#include "{_HEADER}"\n'
        'static void out(const char *n, long v) { printf(", \\"%s\\": %ld", n, v); }\n'
        "int main(void) {\n" + "\n".join(lines) + "\nreturn 0; }\n"
    )


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    folder = tmp_path_factory.mktemp("abi")
    (folder / "abi.c").write_text(program(_HEADER.read_text()))
    command = ["gcc", "-Wall", "-Werror", "-o", str(folder / "abi"), str(folder / "abi.c")]
    subprocess.run(command, check=True, timeout=60)
    text = subprocess.run([folder / "abi"], check=True, capture_output=True, text=True, timeout=10)
    found: dict[str, int] = json.loads("{" + text.stdout.lstrip(", ") + "}")
    return found


def test_a_big_endian_machine_is_refused_by_the_compiler_with_a_sentence() -> None:
    other = ["-U__BYTE_ORDER__", "-D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__"]
    command = ["gcc", *other, "-include", "linux/types.h", "-fsyntax-only", str(_HEADER)]
    said = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert said.returncode != 0
    assert "Cordon runs on little-endian machines only" in said.stderr


def test_every_constant_of_the_header_is_the_same_in_python(compiled: dict[str, int]) -> None:
    names = defines(_HEADER.read_text())
    assert {name: compiled[name] for name in names} == python_constants()


def test_every_struct_of_the_header_has_a_layout() -> None:
    structs = re.findall(r"^struct (\w+) \{", _HEADER.read_text(), re.M)
    assert structs == sorted((x.name for x in abi.LAYOUTS), key=structs.index)


@pytest.mark.parametrize("layout", abi.LAYOUTS, ids=lambda layout: layout.name)
def test_sizes_and_offsets_are_those_of_the_compiler(
    layout: abi.Layout[tuple[object, ...]], compiled: dict[str, int]
) -> None:
    assert layout.size == compiled[layout.name]
    assert layout.offsets == {name: compiled[f"{layout.name}.{name}"] for name in layout.offsets}
    assert layout.sizes == {name: compiled[f"{layout.name}.{name}#"] for name in layout.sizes}


@pytest.mark.parametrize("layout", abi.LAYOUTS, ids=lambda layout: layout.name)
def test_every_field_of_the_struct_but_padding_is_in_the_layout(
    layout: abi.Layout[tuple[object, ...]],
) -> None:
    body = re.search(rf"^struct {layout.name} \{{(.*?)^\}}", _HEADER.read_text(), re.M | re.S)
    assert body is not None
    code = re.sub(r"//.*", "", body[1])
    names = re.findall(r"(\w+)(?:\[\w+\])?;", code)
    assert [n for n in names if not n.startswith("pad")] == list(layout.offsets)


@pytest.mark.parametrize("layout", abi.LAYOUTS, ids=lambda layout: layout.name)
def test_unpack_inverts_pack(layout: abi.Layout[tuple[object, ...]]) -> None:
    data = bytes(i % 256 for i in range(layout.size))
    value = layout.unpack(data)
    assert layout.unpack(layout.pack(value)) == value
    assert getattr(value, "_fields", None) == tuple(layout.offsets)


def test_a_record_of_another_length_is_refused_with_a_sentence() -> None:
    with pytest.raises(ValueError, match=r"struct mode_entry has 4 bytes, got 3"):
        abi.MODE_ENTRY.unpack(b"abc")


@pytest.mark.parametrize("text", ["192.0.2.1", "fd00::1", "::1", "0.0.0.0"])
def test_addresses_go_through_16_bytes_and_back(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert abi.unpack_address(abi.pack_address(address)) == address


def test_ipv4_addresses_are_mapped() -> None:
    packed = abi.pack_address(ipaddress.ip_address("192.0.2.1"))
    assert packed.hex() == "00000000000000000000ffffc0000201"


def test_peer_keys_sit_in_the_slot_of_their_epoch() -> None:
    key = model.EpochKey(epoch=0x123, key=bytes(range(16)))
    value = abi.PEER.unpack(abi.pack_peer([key], abi.PeerFlag.NAT))
    start = 3 * abi.EPOCH_KEY.size
    slot = value.keys[start : start + abi.EPOCH_KEY.size]
    assert abi.EPOCH_KEY.unpack(slot) == (0x123, bytes(range(16)))
    assert value.keys.count(0) == len(value.keys) - 17
    assert value.flags == 2


def test_counter_index_and_its_inverse_agree() -> None:
    seen = {
        abi.counter_index(direction, verdict, reason): (direction, verdict, reason)
        for direction in model.Direction
        for verdict in model.Verdict
        for reason in model.Reason
    }
    assert all(abi.counter_of(index) == where for index, where in seen.items())
    assert max(seen) < abi.COUNTERS
