# SPDX-License-Identifier: Apache-2.0
from agent.pb import signed_pb2 as _signed_pb2
from agent.pb import snapshot_pb2 as _snapshot_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NackReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NACK_REASON_UNSPECIFIED: _ClassVar[NackReason]
    NACK_REASON_SIGNATURE: _ClassVar[NackReason]
    NACK_REASON_AUDIENCE: _ClassVar[NackReason]
    NACK_REASON_OLDER: _ClassVar[NackReason]
    NACK_REASON_TIME: _ClassVar[NackReason]
    NACK_REASON_DELTA: _ClassVar[NackReason]
    NACK_REASON_CONTENT: _ClassVar[NackReason]
    NACK_REASON_TOO_LARGE: _ClassVar[NackReason]
    NACK_REASON_KERNEL: _ClassVar[NackReason]
    NACK_REASON_UNCONFIRMED: _ClassVar[NackReason]

class GoingAwayReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GOING_AWAY_REASON_UNSPECIFIED: _ClassVar[GoingAwayReason]
    GOING_AWAY_REASON_SHUTDOWN: _ClassVar[GoingAwayReason]
    GOING_AWAY_REASON_ADMISSION: _ClassVar[GoingAwayReason]
    GOING_AWAY_REASON_REPLACED: _ClassVar[GoingAwayReason]
    GOING_AWAY_REASON_SLOW: _ClassVar[GoingAwayReason]
    GOING_AWAY_REASON_REVOKED: _ClassVar[GoingAwayReason]
    GOING_AWAY_REASON_CERTIFICATE: _ClassVar[GoingAwayReason]
NACK_REASON_UNSPECIFIED: NackReason
NACK_REASON_SIGNATURE: NackReason
NACK_REASON_AUDIENCE: NackReason
NACK_REASON_OLDER: NackReason
NACK_REASON_TIME: NackReason
NACK_REASON_DELTA: NackReason
NACK_REASON_CONTENT: NackReason
NACK_REASON_TOO_LARGE: NackReason
NACK_REASON_KERNEL: NackReason
NACK_REASON_UNCONFIRMED: NackReason
GOING_AWAY_REASON_UNSPECIFIED: GoingAwayReason
GOING_AWAY_REASON_SHUTDOWN: GoingAwayReason
GOING_AWAY_REASON_ADMISSION: GoingAwayReason
GOING_AWAY_REASON_REPLACED: GoingAwayReason
GOING_AWAY_REASON_SLOW: GoingAwayReason
GOING_AWAY_REASON_REVOKED: GoingAwayReason
GOING_AWAY_REASON_CERTIFICATE: GoingAwayReason

class AgentUp(_message.Message):
    __slots__ = ("hello", "ack", "nack", "report", "heartbeat", "resync")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    NACK_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    RESYNC_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    ack: Ack
    nack: Nack
    report: Report
    heartbeat: Heartbeat
    resync: Resync
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., ack: _Optional[_Union[Ack, _Mapping]] = ..., nack: _Optional[_Union[Nack, _Mapping]] = ..., report: _Optional[_Union[Report, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., resync: _Optional[_Union[Resync, _Mapping]] = ...) -> None: ...

class ControllerDown(_message.Message):
    __slots__ = ("sequence", "welcome", "host_record", "keys", "policy", "in_sync", "confirm", "heartbeat", "going_away")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    HOST_RECORD_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    IN_SYNC_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    GOING_AWAY_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    welcome: Welcome
    host_record: HostRecordUpdate
    keys: KeyUpdate
    policy: PolicyUpdate
    in_sync: InSync
    confirm: Confirm
    heartbeat: HeartbeatReply
    going_away: GoingAway
    def __init__(self, sequence: _Optional[int] = ..., welcome: _Optional[_Union[Welcome, _Mapping]] = ..., host_record: _Optional[_Union[HostRecordUpdate, _Mapping]] = ..., keys: _Optional[_Union[KeyUpdate, _Mapping]] = ..., policy: _Optional[_Union[PolicyUpdate, _Mapping]] = ..., in_sync: _Optional[_Union[InSync, _Mapping]] = ..., confirm: _Optional[_Union[Confirm, _Mapping]] = ..., heartbeat: _Optional[_Union[HeartbeatReply, _Mapping]] = ..., going_away: _Optional[_Union[GoingAway, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("protocol", "host", "host_name", "instance_id", "agent_version", "policy", "unconfirmed", "host_record_serial", "keys", "policy_keys_serial", "refused")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    HOST_NAME_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    UNCONFIRMED_FIELD_NUMBER: _ClassVar[int]
    HOST_RECORD_SERIAL_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    POLICY_KEYS_SERIAL_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    host: int
    host_name: str
    instance_id: bytes
    agent_version: str
    policy: HeldPolicy
    unconfirmed: HeldPolicy
    host_record_serial: int
    keys: HeldKeys
    policy_keys_serial: int
    refused: Nack
    def __init__(self, protocol: _Optional[int] = ..., host: _Optional[int] = ..., host_name: _Optional[str] = ..., instance_id: _Optional[bytes] = ..., agent_version: _Optional[str] = ..., policy: _Optional[_Union[HeldPolicy, _Mapping]] = ..., unconfirmed: _Optional[_Union[HeldPolicy, _Mapping]] = ..., host_record_serial: _Optional[int] = ..., keys: _Optional[_Union[HeldKeys, _Mapping]] = ..., policy_keys_serial: _Optional[int] = ..., refused: _Optional[_Union[Nack, _Mapping]] = ...) -> None: ...

class HeldPolicy(_message.Message):
    __slots__ = ("store_epoch", "version", "content_digest", "expires", "audience")
    STORE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CONTENT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    store_epoch: int
    version: int
    content_digest: bytes
    expires: int
    audience: bytes
    def __init__(self, store_epoch: _Optional[int] = ..., version: _Optional[int] = ..., content_digest: _Optional[bytes] = ..., expires: _Optional[int] = ..., audience: _Optional[bytes] = ...) -> None: ...

class HeldKeys(_message.Message):
    __slots__ = ("serial", "last_epoch")
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    LAST_EPOCH_FIELD_NUMBER: _ClassVar[int]
    serial: int
    last_epoch: int
    def __init__(self, serial: _Optional[int] = ..., last_epoch: _Optional[int] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("controller", "store_epoch", "version", "now_ms", "heartbeat_seconds", "confirm_seconds", "lease_seconds", "policy_keys", "confirmed", "controllers")
    CONTROLLER_FIELD_NUMBER: _ClassVar[int]
    STORE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    POLICY_KEYS_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    CONTROLLERS_FIELD_NUMBER: _ClassVar[int]
    controller: str
    store_epoch: int
    version: int
    now_ms: int
    heartbeat_seconds: int
    confirm_seconds: int
    lease_seconds: int
    policy_keys: _signed_pb2.Signed
    confirmed: bool
    controllers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, controller: _Optional[str] = ..., store_epoch: _Optional[int] = ..., version: _Optional[int] = ..., now_ms: _Optional[int] = ..., heartbeat_seconds: _Optional[int] = ..., confirm_seconds: _Optional[int] = ..., lease_seconds: _Optional[int] = ..., policy_keys: _Optional[_Union[_signed_pb2.Signed, _Mapping]] = ..., confirmed: _Optional[bool] = ..., controllers: _Optional[_Iterable[str]] = ...) -> None: ...

class HostRecordUpdate(_message.Message):
    __slots__ = ("nonce", "record")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    nonce: int
    record: _signed_pb2.Signed
    def __init__(self, nonce: _Optional[int] = ..., record: _Optional[_Union[_signed_pb2.Signed, _Mapping]] = ...) -> None: ...

class HostRecord(_message.Message):
    __slots__ = ("store_epoch", "serial", "host", "host_name", "trust_domain", "audience", "addresses", "tags_off", "nat", "issued")
    STORE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    HOST_NAME_FIELD_NUMBER: _ClassVar[int]
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    TAGS_OFF_FIELD_NUMBER: _ClassVar[int]
    NAT_FIELD_NUMBER: _ClassVar[int]
    ISSUED_FIELD_NUMBER: _ClassVar[int]
    store_epoch: int
    serial: int
    host: int
    host_name: str
    trust_domain: str
    audience: bytes
    addresses: _containers.RepeatedScalarFieldContainer[bytes]
    tags_off: bool
    nat: bool
    issued: int
    def __init__(self, store_epoch: _Optional[int] = ..., serial: _Optional[int] = ..., host: _Optional[int] = ..., host_name: _Optional[str] = ..., trust_domain: _Optional[str] = ..., audience: _Optional[bytes] = ..., addresses: _Optional[_Iterable[bytes]] = ..., tags_off: _Optional[bool] = ..., nat: _Optional[bool] = ..., issued: _Optional[int] = ...) -> None: ...

class KeyUpdate(_message.Message):
    __slots__ = ("nonce", "keys")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    nonce: int
    keys: _signed_pb2.Signed
    def __init__(self, nonce: _Optional[int] = ..., keys: _Optional[_Union[_signed_pb2.Signed, _Mapping]] = ...) -> None: ...

class HostKeys(_message.Message):
    __slots__ = ("store_epoch", "serial", "host", "replaces_all", "receive_secrets", "peers", "issued", "expires")
    STORE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    REPLACES_ALL_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_SECRETS_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    ISSUED_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    store_epoch: int
    serial: int
    host: int
    replaces_all: bool
    receive_secrets: _containers.RepeatedCompositeFieldContainer[_snapshot_pb2.EpochKey]
    peers: _containers.RepeatedCompositeFieldContainer[PeerKeys]
    issued: int
    expires: int
    def __init__(self, store_epoch: _Optional[int] = ..., serial: _Optional[int] = ..., host: _Optional[int] = ..., replaces_all: _Optional[bool] = ..., receive_secrets: _Optional[_Iterable[_Union[_snapshot_pb2.EpochKey, _Mapping]]] = ..., peers: _Optional[_Iterable[_Union[PeerKeys, _Mapping]]] = ..., issued: _Optional[int] = ..., expires: _Optional[int] = ...) -> None: ...

class PeerKeys(_message.Message):
    __slots__ = ("host", "keys")
    HOST_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    host: int
    keys: _containers.RepeatedCompositeFieldContainer[_snapshot_pb2.EpochKey]
    def __init__(self, host: _Optional[int] = ..., keys: _Optional[_Iterable[_Union[_snapshot_pb2.EpochKey, _Mapping]]] = ...) -> None: ...

class PolicyUpdate(_message.Message):
    __slots__ = ("nonce", "release", "content", "delta", "unchanged")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    nonce: int
    release: _signed_pb2.Signed
    content: Content
    delta: Delta
    unchanged: Unchanged
    def __init__(self, nonce: _Optional[int] = ..., release: _Optional[_Union[_signed_pb2.Signed, _Mapping]] = ..., content: _Optional[_Union[Content, _Mapping]] = ..., delta: _Optional[_Union[Delta, _Mapping]] = ..., unchanged: _Optional[_Union[Unchanged, _Mapping]] = ...) -> None: ...

class Unchanged(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Release(_message.Message):
    __slots__ = ("store_epoch", "version", "issued", "expires", "audience", "content_digest", "revision")
    STORE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ISSUED_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    store_epoch: int
    version: int
    issued: int
    expires: int
    audience: bytes
    content_digest: bytes
    revision: int
    def __init__(self, store_epoch: _Optional[int] = ..., version: _Optional[int] = ..., issued: _Optional[int] = ..., expires: _Optional[int] = ..., audience: _Optional[bytes] = ..., content_digest: _Optional[bytes] = ..., revision: _Optional[int] = ...) -> None: ...

class Content(_message.Message):
    __slots__ = ("workloads", "rules", "peers", "networks", "modes", "names", "managed", "settings")
    WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    MODES_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    MANAGED_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    workloads: _containers.RepeatedCompositeFieldContainer[_snapshot_pb2.Workload]
    rules: _containers.RepeatedCompositeFieldContainer[_snapshot_pb2.Rule]
    peers: _containers.RepeatedCompositeFieldContainer[_snapshot_pb2.Peer]
    networks: _containers.RepeatedCompositeFieldContainer[_snapshot_pb2.Network]
    modes: _containers.RepeatedCompositeFieldContainer[LocalMode]
    names: _containers.RepeatedCompositeFieldContainer[IdentityName]
    managed: _containers.RepeatedScalarFieldContainer[bytes]
    settings: _snapshot_pb2.Settings
    def __init__(self, workloads: _Optional[_Iterable[_Union[_snapshot_pb2.Workload, _Mapping]]] = ..., rules: _Optional[_Iterable[_Union[_snapshot_pb2.Rule, _Mapping]]] = ..., peers: _Optional[_Iterable[_Union[_snapshot_pb2.Peer, _Mapping]]] = ..., networks: _Optional[_Iterable[_Union[_snapshot_pb2.Network, _Mapping]]] = ..., modes: _Optional[_Iterable[_Union[LocalMode, _Mapping]]] = ..., names: _Optional[_Iterable[_Union[IdentityName, _Mapping]]] = ..., managed: _Optional[_Iterable[bytes]] = ..., settings: _Optional[_Union[_snapshot_pb2.Settings, _Mapping]] = ...) -> None: ...

class LocalMode(_message.Message):
    __slots__ = ("identity", "mode")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    identity: int
    mode: _snapshot_pb2.Mode
    def __init__(self, identity: _Optional[int] = ..., mode: _Optional[_Union[_snapshot_pb2.Mode, str]] = ...) -> None: ...

class IdentityName(_message.Message):
    __slots__ = ("identity", "name")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    identity: int
    name: str
    def __init__(self, identity: _Optional[int] = ..., name: _Optional[str] = ...) -> None: ...

class Delta(_message.Message):
    __slots__ = ("base_version", "base_digest", "removals", "upserts")
    BASE_VERSION_FIELD_NUMBER: _ClassVar[int]
    BASE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    REMOVALS_FIELD_NUMBER: _ClassVar[int]
    UPSERTS_FIELD_NUMBER: _ClassVar[int]
    base_version: int
    base_digest: bytes
    removals: Removals
    upserts: Content
    def __init__(self, base_version: _Optional[int] = ..., base_digest: _Optional[bytes] = ..., removals: _Optional[_Union[Removals, _Mapping]] = ..., upserts: _Optional[_Union[Content, _Mapping]] = ...) -> None: ...

class Removals(_message.Message):
    __slots__ = ("workloads", "rules", "peers", "networks", "modes", "names", "managed")
    WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    MODES_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    MANAGED_FIELD_NUMBER: _ClassVar[int]
    workloads: _containers.RepeatedScalarFieldContainer[int]
    rules: _containers.RepeatedScalarFieldContainer[int]
    peers: _containers.RepeatedScalarFieldContainer[int]
    networks: _containers.RepeatedScalarFieldContainer[int]
    modes: _containers.RepeatedScalarFieldContainer[int]
    names: _containers.RepeatedScalarFieldContainer[int]
    managed: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, workloads: _Optional[_Iterable[int]] = ..., rules: _Optional[_Iterable[int]] = ..., peers: _Optional[_Iterable[int]] = ..., networks: _Optional[_Iterable[int]] = ..., modes: _Optional[_Iterable[int]] = ..., names: _Optional[_Iterable[int]] = ..., managed: _Optional[_Iterable[bytes]] = ...) -> None: ...

class InSync(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class Ack(_message.Message):
    __slots__ = ("nonce", "version", "apply_ms", "entries")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    APPLY_MS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    nonce: int
    version: int
    apply_ms: int
    entries: int
    def __init__(self, nonce: _Optional[int] = ..., version: _Optional[int] = ..., apply_ms: _Optional[int] = ..., entries: _Optional[int] = ...) -> None: ...

class Nack(_message.Message):
    __slots__ = ("nonce", "version", "store_epoch", "reason", "message")
    NONCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STORE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    nonce: int
    version: int
    store_epoch: int
    reason: NackReason
    message: str
    def __init__(self, nonce: _Optional[int] = ..., version: _Optional[int] = ..., store_epoch: _Optional[int] = ..., reason: _Optional[_Union[NackReason, str]] = ..., message: _Optional[str] = ...) -> None: ...

class Confirm(_message.Message):
    __slots__ = ("nonce",)
    NONCE_FIELD_NUMBER: _ClassVar[int]
    nonce: int
    def __init__(self, nonce: _Optional[int] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("sequence", "version")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    version: int
    def __init__(self, sequence: _Optional[int] = ..., version: _Optional[int] = ...) -> None: ...

class HeartbeatReply(_message.Message):
    __slots__ = ("sequence", "now_ms")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    now_ms: int
    def __init__(self, sequence: _Optional[int] = ..., now_ms: _Optional[int] = ...) -> None: ...

class Resync(_message.Message):
    __slots__ = ("content", "keys")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    content: bool
    keys: bool
    def __init__(self, content: _Optional[bool] = ..., keys: _Optional[bool] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("state", "identities", "listeners", "addresses", "health", "left_out", "kernel")
    STATE_FIELD_NUMBER: _ClassVar[int]
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    LISTENERS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    state: str
    identities: _containers.RepeatedCompositeFieldContainer[RunningIdentity]
    listeners: _containers.RepeatedCompositeFieldContainer[Listener]
    addresses: _containers.RepeatedScalarFieldContainer[bytes]
    health: Health
    left_out: int
    kernel: str
    def __init__(self, state: _Optional[str] = ..., identities: _Optional[_Iterable[_Union[RunningIdentity, _Mapping]]] = ..., listeners: _Optional[_Iterable[_Union[Listener, _Mapping]]] = ..., addresses: _Optional[_Iterable[bytes]] = ..., health: _Optional[_Union[Health, _Mapping]] = ..., left_out: _Optional[int] = ..., kernel: _Optional[str] = ...) -> None: ...

class RunningIdentity(_message.Message):
    __slots__ = ("identity", "processes")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    identity: int
    processes: int
    def __init__(self, identity: _Optional[int] = ..., processes: _Optional[int] = ...) -> None: ...

class Listener(_message.Message):
    __slots__ = ("protocol", "address", "port", "identity")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    address: bytes
    port: int
    identity: int
    def __init__(self, protocol: _Optional[int] = ..., address: _Optional[bytes] = ..., port: _Optional[int] = ..., identity: _Optional[int] = ...) -> None: ...

class Health(_message.Message):
    __slots__ = ("hooks_attached", "hooks_expected", "map_pressure", "events_lost", "tampered", "refused", "trouble", "clock_offset_ms")
    HOOKS_ATTACHED_FIELD_NUMBER: _ClassVar[int]
    HOOKS_EXPECTED_FIELD_NUMBER: _ClassVar[int]
    MAP_PRESSURE_FIELD_NUMBER: _ClassVar[int]
    EVENTS_LOST_FIELD_NUMBER: _ClassVar[int]
    TAMPERED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    CLOCK_OFFSET_MS_FIELD_NUMBER: _ClassVar[int]
    hooks_attached: int
    hooks_expected: int
    map_pressure: int
    events_lost: int
    tampered: int
    refused: int
    trouble: str
    clock_offset_ms: int
    def __init__(self, hooks_attached: _Optional[int] = ..., hooks_expected: _Optional[int] = ..., map_pressure: _Optional[int] = ..., events_lost: _Optional[int] = ..., tampered: _Optional[int] = ..., refused: _Optional[int] = ..., trouble: _Optional[str] = ..., clock_offset_ms: _Optional[int] = ...) -> None: ...

class GoingAway(_message.Message):
    __slots__ = ("reason", "retry_after_ms", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: GoingAwayReason
    retry_after_ms: int
    message: str
    def __init__(self, reason: _Optional[_Union[GoingAwayReason, str]] = ..., retry_after_ms: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class PolicyCache(_message.Message):
    __slots__ = ("host_record", "release", "content", "keys", "policy_keys")
    HOST_RECORD_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    POLICY_KEYS_FIELD_NUMBER: _ClassVar[int]
    host_record: _signed_pb2.Signed
    release: _signed_pb2.Signed
    content: Content
    keys: _containers.RepeatedCompositeFieldContainer[_signed_pb2.Signed]
    policy_keys: _signed_pb2.Signed
    def __init__(self, host_record: _Optional[_Union[_signed_pb2.Signed, _Mapping]] = ..., release: _Optional[_Union[_signed_pb2.Signed, _Mapping]] = ..., content: _Optional[_Union[Content, _Mapping]] = ..., keys: _Optional[_Iterable[_Union[_signed_pb2.Signed, _Mapping]]] = ..., policy_keys: _Optional[_Union[_signed_pb2.Signed, _Mapping]] = ...) -> None: ...
