# SPDX-License-Identifier: Apache-2.0
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MODE_UNSPECIFIED: _ClassVar[Mode]
    MODE_OFF: _ClassVar[Mode]
    MODE_AUDIT: _ClassVar[Mode]
    MODE_ENFORCE: _ClassVar[Mode]

class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACTION_UNSPECIFIED: _ClassVar[Action]
    ACTION_LIFELINE: _ClassVar[Action]
    ACTION_DENY: _ClassVar[Action]
    ACTION_ALLOW: _ClassVar[Action]

class Direction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIRECTION_UNSPECIFIED: _ClassVar[Direction]
    DIRECTION_INGRESS: _ClassVar[Direction]
    DIRECTION_EGRESS: _ClassVar[Direction]
MODE_UNSPECIFIED: Mode
MODE_OFF: Mode
MODE_AUDIT: Mode
MODE_ENFORCE: Mode
ACTION_UNSPECIFIED: Action
ACTION_LIFELINE: Action
ACTION_DENY: Action
ACTION_ALLOW: Action
DIRECTION_UNSPECIFIED: Direction
DIRECTION_INGRESS: Direction
DIRECTION_EGRESS: Direction

class SignedSnapshot(_message.Message):
    __slots__ = ("payload", "signature", "key_id")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    signature: bytes
    key_id: bytes
    def __init__(self, payload: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., key_id: _Optional[bytes] = ...) -> None: ...

class Snapshot(_message.Message):
    __slots__ = ("host", "host_name", "version", "issued", "expires", "trust_domain", "workloads", "rules", "peers", "networks", "receive_secrets", "modes", "names", "settings", "managed", "store_epoch")
    class ModesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: Mode
        def __init__(self, key: _Optional[int] = ..., value: _Optional[_Union[Mode, str]] = ...) -> None: ...
    class NamesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: str
        def __init__(self, key: _Optional[int] = ..., value: _Optional[str] = ...) -> None: ...
    HOST_FIELD_NUMBER: _ClassVar[int]
    HOST_NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ISSUED_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_SECRETS_FIELD_NUMBER: _ClassVar[int]
    MODES_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    MANAGED_FIELD_NUMBER: _ClassVar[int]
    STORE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    host: int
    host_name: str
    version: int
    issued: int
    expires: int
    trust_domain: str
    workloads: _containers.RepeatedCompositeFieldContainer[Workload]
    rules: _containers.RepeatedCompositeFieldContainer[Rule]
    peers: _containers.RepeatedCompositeFieldContainer[Peer]
    networks: _containers.RepeatedCompositeFieldContainer[Network]
    receive_secrets: _containers.RepeatedCompositeFieldContainer[EpochKey]
    modes: _containers.ScalarMap[int, Mode]
    names: _containers.ScalarMap[int, str]
    settings: Settings
    managed: _containers.RepeatedScalarFieldContainer[bytes]
    store_epoch: int
    def __init__(self, host: _Optional[int] = ..., host_name: _Optional[str] = ..., version: _Optional[int] = ..., issued: _Optional[int] = ..., expires: _Optional[int] = ..., trust_domain: _Optional[str] = ..., workloads: _Optional[_Iterable[_Union[Workload, _Mapping]]] = ..., rules: _Optional[_Iterable[_Union[Rule, _Mapping]]] = ..., peers: _Optional[_Iterable[_Union[Peer, _Mapping]]] = ..., networks: _Optional[_Iterable[_Union[Network, _Mapping]]] = ..., receive_secrets: _Optional[_Iterable[_Union[EpochKey, _Mapping]]] = ..., modes: _Optional[_Mapping[int, Mode]] = ..., names: _Optional[_Mapping[int, str]] = ..., settings: _Optional[_Union[Settings, _Mapping]] = ..., managed: _Optional[_Iterable[bytes]] = ..., store_epoch: _Optional[int] = ...) -> None: ...

class Workload(_message.Message):
    __slots__ = ("identity", "name", "segment", "match")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    identity: int
    name: str
    segment: str
    match: _containers.RepeatedCompositeFieldContainer[Selector]
    def __init__(self, identity: _Optional[int] = ..., name: _Optional[str] = ..., segment: _Optional[str] = ..., match: _Optional[_Iterable[_Union[Selector, _Mapping]]] = ...) -> None: ...

class Selector(_message.Message):
    __slots__ = ("unit", "cgroup", "container", "exe", "sha256", "user", "group")
    UNIT_FIELD_NUMBER: _ClassVar[int]
    CGROUP_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    EXE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    unit: str
    cgroup: str
    container: str
    exe: str
    sha256: str
    user: str
    group: str
    def __init__(self, unit: _Optional[str] = ..., cgroup: _Optional[str] = ..., container: _Optional[str] = ..., exe: _Optional[str] = ..., sha256: _Optional[str] = ..., user: _Optional[str] = ..., group: _Optional[str] = ...) -> None: ...

class Identities(_message.Message):
    __slots__ = ("any", "numbers")
    ANY_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    any: bool
    numbers: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, any: _Optional[bool] = ..., numbers: _Optional[_Iterable[int]] = ...) -> None: ...

class PortRange(_message.Message):
    __slots__ = ("protocol", "first", "last")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    first: int
    last: int
    def __init__(self, protocol: _Optional[int] = ..., first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class Rule(_message.Message):
    __slots__ = ("number", "name", "action", "direction", "locals", "peers", "ports", "staged")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    LOCALS_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    PORTS_FIELD_NUMBER: _ClassVar[int]
    STAGED_FIELD_NUMBER: _ClassVar[int]
    number: int
    name: str
    action: Action
    direction: Direction
    locals: Identities
    peers: Identities
    ports: _containers.RepeatedCompositeFieldContainer[PortRange]
    staged: bool
    def __init__(self, number: _Optional[int] = ..., name: _Optional[str] = ..., action: _Optional[_Union[Action, str]] = ..., direction: _Optional[_Union[Direction, str]] = ..., locals: _Optional[_Union[Identities, _Mapping]] = ..., peers: _Optional[_Union[Identities, _Mapping]] = ..., ports: _Optional[_Iterable[_Union[PortRange, _Mapping]]] = ..., staged: _Optional[bool] = ...) -> None: ...

class EpochKey(_message.Message):
    __slots__ = ("epoch", "key")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    key: bytes
    def __init__(self, epoch: _Optional[int] = ..., key: _Optional[bytes] = ...) -> None: ...

class Peer(_message.Message):
    __slots__ = ("host", "name", "addresses", "keys", "residents", "tags_off", "nat")
    HOST_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    RESIDENTS_FIELD_NUMBER: _ClassVar[int]
    TAGS_OFF_FIELD_NUMBER: _ClassVar[int]
    NAT_FIELD_NUMBER: _ClassVar[int]
    host: int
    name: str
    addresses: _containers.RepeatedScalarFieldContainer[bytes]
    keys: _containers.RepeatedCompositeFieldContainer[EpochKey]
    residents: _containers.RepeatedScalarFieldContainer[int]
    tags_off: bool
    nat: bool
    def __init__(self, host: _Optional[int] = ..., name: _Optional[str] = ..., addresses: _Optional[_Iterable[bytes]] = ..., keys: _Optional[_Iterable[_Union[EpochKey, _Mapping]]] = ..., residents: _Optional[_Iterable[int]] = ..., tags_off: _Optional[bool] = ..., nat: _Optional[bool] = ...) -> None: ...

class Network(_message.Message):
    __slots__ = ("identity", "address", "prefix_length")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    identity: int
    address: bytes
    prefix_length: int
    def __init__(self, identity: _Optional[int] = ..., address: _Optional[bytes] = ..., prefix_length: _Optional[int] = ...) -> None: ...

class Settings(_message.Message):
    __slots__ = ("epoch_seconds", "hold_limit_ms", "refusal_events_per_second", "hash_limit_mib", "adoption_grace_seconds")
    EPOCH_SECONDS_FIELD_NUMBER: _ClassVar[int]
    HOLD_LIMIT_MS_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_EVENTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    HASH_LIMIT_MIB_FIELD_NUMBER: _ClassVar[int]
    ADOPTION_GRACE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    epoch_seconds: int
    hold_limit_ms: int
    refusal_events_per_second: int
    hash_limit_mib: int
    adoption_grace_seconds: int
    def __init__(self, epoch_seconds: _Optional[int] = ..., hold_limit_ms: _Optional[int] = ..., refusal_events_per_second: _Optional[int] = ..., hash_limit_mib: _Optional[int] = ..., adoption_grace_seconds: _Optional[int] = ...) -> None: ...
