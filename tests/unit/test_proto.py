# SPDX-License-Identifier: Apache-2.0
"""The contract's form: buf's STANDARD rules as far as they matter, and a comment on everything.

The comments are the specification, so a message or a field without one is a fault. What departs
from the rules on purpose stands below with its reason.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

ROOT = Path(__file__).resolve().parents[2]
PROTO = ROOT / "proto"

OTHER_TYPES = {
    # A stream of what the rest of the answers list, one each; older than this rule.
    "LocalService.Observe": ("ObserveRequest", "Flow"),
    # Neither asks nor answers: two streams that run for as long as an agent lives.
    "PolicyService.Sync": ("AgentUp", "ControllerDown"),
}
"""Methods whose types are not called FooRequest and FooResponse."""

Location = tuple[int, ...]
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6  # numbers of FileDescriptorProto's fields
_FIELDS, _NESTED, _NESTED_ENUMS, _ONEOFS = 2, 3, 4, 8  # and of DescriptorProto's
_VALUES = _METHODS = 2


def describe(folder: Path, target: Path) -> list[FileDescriptorProto]:
    """Every file below `folder`, with its comments."""
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", "--include_source_info"]
    command += [f"--descriptor_set_out={target}", *map(str, sorted(folder.rglob("*.proto")))]
    subprocess.run(command, check=True, timeout=120)
    return list(FileDescriptorSet.FromString(target.read_bytes()).file)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[FileDescriptorProto]:
    return describe(PROTO, tmp_path_factory.mktemp("proto") / "all.pb")


def places(file: FileDescriptorProto) -> Iterator[tuple[Location, str]]:
    """Everything in a file that must have a comment."""
    for i, message in enumerate(file.message_type):
        yield from _message_places((_MESSAGES, i), message)
    for i, enum in enumerate(file.enum_type):
        yield from _enum_places((_ENUMS, i), enum)
    for i, service in enumerate(file.service):
        yield (_SERVICES, i), service.name
        for j, method in enumerate(service.method):
            yield (_SERVICES, i, _METHODS, j), f"{service.name}.{method.name}"


def _message_places(at: Location, message: DescriptorProto) -> Iterator[tuple[Location, str]]:
    if message.options.map_entry:
        return
    yield at, message.name
    for i, field in enumerate(message.field):
        yield (*at, _FIELDS, i), f"{message.name}.{field.name}"
    for i, oneof in enumerate(message.oneof_decl):
        if not oneof.name.startswith("_"):  # made by `optional`
            yield (*at, _ONEOFS, i), f"{message.name}.{oneof.name}"
    for i, nested in enumerate(message.nested_type):
        yield from _message_places((*at, _NESTED, i), nested)
    for i, enum in enumerate(message.enum_type):
        yield from _enum_places((*at, _NESTED_ENUMS, i), enum)


def _enum_places(at: Location, enum: EnumDescriptorProto) -> Iterator[tuple[Location, str]]:
    yield at, enum.name
    for i, value in enumerate(enum.value):
        yield (*at, _VALUES, i), f"{enum.name}.{value.name}"


def uncommented(file: FileDescriptorProto) -> list[str]:
    found = file.source_code_info.location
    said = {tuple(place.path) for place in found if place.leading_comments.strip()}
    return [name for place, name in places(file) if place not in said]


def bad_methods(service: ServiceDescriptorProto) -> list[str]:
    wrong = []
    for method in service.method:
        name = f"{service.name}.{method.name}"
        expected = OTHER_TYPES.get(name, (f"{method.name}Request", f"{method.name}Response"))
        types = tuple(t.rpartition(".")[2] for t in (method.input_type, method.output_type))
        if types != expected:
            wrong.append(f"{name}: {types}, expected {expected}")
    return wrong


def bad_values(enum: EnumDescriptorProto) -> list[str]:
    prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper() + "_"
    wrong = [v.name for v in enum.value if not v.name.startswith(prefix)]
    zero = enum.value[0]
    if (zero.number, zero.name) != (0, f"{prefix}UNSPECIFIED"):
        wrong.append(f"{zero.name} = {zero.number}")
    return wrong


def test_every_file_is_in_the_package_of_its_folder(files: list[FileDescriptorProto]) -> None:
    assert len(files) >= 6
    assert {file.package for file in files} == {"cordon.v1"}
    assert all(re.fullmatch(r"cordon/v1/[a-z_]+\.proto", file.name) for file in files)


def test_everything_has_a_comment(files: list[FileDescriptorProto]) -> None:
    assert [f"{file.name}: {name}" for file in files for name in uncommented(file)] == []


def test_services_and_methods_are_named_by_the_rules(files: list[FileDescriptorProto]) -> None:
    services = [service for file in files for service in file.service]
    assert [s.name for s in services if not s.name.endswith("Service")] == []
    assert [wrong for service in services for wrong in bad_methods(service)] == []


def test_exceptions_are_still_needed(files: list[FileDescriptorProto]) -> None:
    methods = {f"{s.name}.{m.name}" for file in files for s in file.service for m in s.method}
    assert OTHER_TYPES.keys() <= methods


def test_enums_begin_with_unspecified(files: list[FileDescriptorProto]) -> None:
    enums = [enum for file in files for enum in file.enum_type]
    assert enums
    assert [wrong for enum in enums for wrong in bad_values(enum)] == []


def test_names_are_written_by_the_rules(files: list[FileDescriptorProto]) -> None:
    messages = [message for file in files for message in file.message_type]
    assert [m.name for m in messages if not re.fullmatch(r"([A-Z][a-z0-9]+)+", m.name)] == []
    fields = [(m.name, f.name) for m in messages for f in m.field]
    assert [f for f in fields if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", f[1])] == []


def test_the_checks_see_faults(tmp_path: Path) -> None:
    text = """syntax = "proto3"; package cordon.v1;
    // Said.
    message Known { string silent = 1; }
    enum Colour { RED = 0; }
    service Paint { rpc Mix(Known) returns (Known); }
    """
    (tmp_path / "bad.proto").write_text(text)
    (file,) = describe(tmp_path, tmp_path / "all.pb")
    silent = ["Known.silent", "Colour", "Colour.RED", "Paint", "Paint.Mix"]
    assert uncommented(file) == silent
    assert bad_values(file.enum_type[0]) == ["RED", "RED = 0"]
    assert len(bad_methods(file.service[0])) == 1
