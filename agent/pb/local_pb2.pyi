# SPDX-License-Identifier: Apache-2.0
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("instance", "state", "summary", "host_name", "host", "policy_version", "policy_expires", "generation", "rules", "entries", "workloads", "peers", "hooks_attached", "hooks_expected", "apply_seconds", "load_seconds", "refused", "processes", "counters", "lifelines", "modes", "uptime_seconds", "adoption_seconds_left", "repairs", "tampering", "unseen")
    class ModesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    HOST_NAME_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_EXPIRES_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    HOOKS_ATTACHED_FIELD_NUMBER: _ClassVar[int]
    HOOKS_EXPECTED_FIELD_NUMBER: _ClassVar[int]
    APPLY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LOAD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    COUNTERS_FIELD_NUMBER: _ClassVar[int]
    LIFELINES_FIELD_NUMBER: _ClassVar[int]
    MODES_FIELD_NUMBER: _ClassVar[int]
    UPTIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ADOPTION_SECONDS_LEFT_FIELD_NUMBER: _ClassVar[int]
    REPAIRS_FIELD_NUMBER: _ClassVar[int]
    TAMPERING_FIELD_NUMBER: _ClassVar[int]
    UNSEEN_FIELD_NUMBER: _ClassVar[int]
    instance: str
    state: str
    summary: str
    host_name: str
    host: int
    policy_version: int
    policy_expires: int
    generation: int
    rules: int
    entries: int
    workloads: int
    peers: int
    hooks_attached: int
    hooks_expected: int
    apply_seconds: float
    load_seconds: float
    refused: str
    processes: int
    counters: _containers.RepeatedCompositeFieldContainer[Counter]
    lifelines: _containers.RepeatedScalarFieldContainer[str]
    modes: _containers.ScalarMap[str, str]
    uptime_seconds: int
    adoption_seconds_left: float
    repairs: int
    tampering: str
    unseen: str
    def __init__(self, instance: _Optional[str] = ..., state: _Optional[str] = ..., summary: _Optional[str] = ..., host_name: _Optional[str] = ..., host: _Optional[int] = ..., policy_version: _Optional[int] = ..., policy_expires: _Optional[int] = ..., generation: _Optional[int] = ..., rules: _Optional[int] = ..., entries: _Optional[int] = ..., workloads: _Optional[int] = ..., peers: _Optional[int] = ..., hooks_attached: _Optional[int] = ..., hooks_expected: _Optional[int] = ..., apply_seconds: _Optional[float] = ..., load_seconds: _Optional[float] = ..., refused: _Optional[str] = ..., processes: _Optional[int] = ..., counters: _Optional[_Iterable[_Union[Counter, _Mapping]]] = ..., lifelines: _Optional[_Iterable[str]] = ..., modes: _Optional[_Mapping[str, str]] = ..., uptime_seconds: _Optional[int] = ..., adoption_seconds_left: _Optional[float] = ..., repairs: _Optional[int] = ..., tampering: _Optional[str] = ..., unseen: _Optional[str] = ...) -> None: ...

class Counter(_message.Message):
    __slots__ = ("kind", "direction", "verdict", "reason", "value")
    KIND_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    direction: str
    verdict: str
    reason: str
    value: int
    def __init__(self, kind: _Optional[str] = ..., direction: _Optional[str] = ..., verdict: _Optional[str] = ..., reason: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...

class ProcessesRequest(_message.Message):
    __slots__ = ("pid",)
    PID_FIELD_NUMBER: _ClassVar[int]
    pid: int
    def __init__(self, pid: _Optional[int] = ...) -> None: ...

class Process(_message.Message):
    __slots__ = ("pid", "command", "identity", "workload", "segment", "mode", "state", "evidence", "uid", "cgroup", "exe", "age_seconds", "parent")
    PID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    CGROUP_FIELD_NUMBER: _ClassVar[int]
    EXE_FIELD_NUMBER: _ClassVar[int]
    AGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    pid: int
    command: str
    identity: int
    workload: str
    segment: str
    mode: str
    state: str
    evidence: _containers.RepeatedScalarFieldContainer[str]
    uid: int
    cgroup: str
    exe: str
    age_seconds: float
    parent: int
    def __init__(self, pid: _Optional[int] = ..., command: _Optional[str] = ..., identity: _Optional[int] = ..., workload: _Optional[str] = ..., segment: _Optional[str] = ..., mode: _Optional[str] = ..., state: _Optional[str] = ..., evidence: _Optional[_Iterable[str]] = ..., uid: _Optional[int] = ..., cgroup: _Optional[str] = ..., exe: _Optional[str] = ..., age_seconds: _Optional[float] = ..., parent: _Optional[int] = ...) -> None: ...

class ProcessesResponse(_message.Message):
    __slots__ = ("processes",)
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    processes: _containers.RepeatedCompositeFieldContainer[Process]
    def __init__(self, processes: _Optional[_Iterable[_Union[Process, _Mapping]]] = ...) -> None: ...

class WhoisRequest(_message.Message):
    __slots__ = ("pid",)
    PID_FIELD_NUMBER: _ClassVar[int]
    pid: int
    def __init__(self, pid: _Optional[int] = ...) -> None: ...

class WhoisResponse(_message.Message):
    __slots__ = ("process", "facts", "conflict", "candidates")
    class FactsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    process: Process
    facts: _containers.ScalarMap[str, str]
    conflict: str
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    def __init__(self, process: _Optional[_Union[Process, _Mapping]] = ..., facts: _Optional[_Mapping[str, str]] = ..., conflict: _Optional[str] = ..., candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("workload", "segment", "alternative", "matched", "won", "selector", "wanted", "found")
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    ALTERNATIVE_FIELD_NUMBER: _ClassVar[int]
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    WON_FIELD_NUMBER: _ClassVar[int]
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    workload: str
    segment: str
    alternative: int
    matched: bool
    won: bool
    selector: str
    wanted: str
    found: str
    def __init__(self, workload: _Optional[str] = ..., segment: _Optional[str] = ..., alternative: _Optional[int] = ..., matched: _Optional[bool] = ..., won: _Optional[bool] = ..., selector: _Optional[str] = ..., wanted: _Optional[str] = ..., found: _Optional[str] = ...) -> None: ...

class SocketsRequest(_message.Message):
    __slots__ = ("pid",)
    PID_FIELD_NUMBER: _ClassVar[int]
    pid: int
    def __init__(self, pid: _Optional[int] = ...) -> None: ...

class Socket(_message.Message):
    __slots__ = ("protocol", "state", "local_address", "local_port", "remote_address", "remote_port", "pid", "local_identity", "local_workload", "peer_identity", "peer_workload", "proof", "verdict", "reason", "rule", "rule_name", "generation", "cookie", "ipv6", "adopted", "adopted_seconds_left")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LOCAL_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LOCAL_PORT_FIELD_NUMBER: _ClassVar[int]
    REMOTE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    REMOTE_PORT_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    LOCAL_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    LOCAL_WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    PEER_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    PEER_WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    RULE_NAME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    COOKIE_FIELD_NUMBER: _ClassVar[int]
    IPV6_FIELD_NUMBER: _ClassVar[int]
    ADOPTED_FIELD_NUMBER: _ClassVar[int]
    ADOPTED_SECONDS_LEFT_FIELD_NUMBER: _ClassVar[int]
    protocol: str
    state: str
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    pid: int
    local_identity: int
    local_workload: str
    peer_identity: int
    peer_workload: str
    proof: str
    verdict: str
    reason: str
    rule: int
    rule_name: str
    generation: int
    cookie: int
    ipv6: bool
    adopted: bool
    adopted_seconds_left: float
    def __init__(self, protocol: _Optional[str] = ..., state: _Optional[str] = ..., local_address: _Optional[str] = ..., local_port: _Optional[int] = ..., remote_address: _Optional[str] = ..., remote_port: _Optional[int] = ..., pid: _Optional[int] = ..., local_identity: _Optional[int] = ..., local_workload: _Optional[str] = ..., peer_identity: _Optional[int] = ..., peer_workload: _Optional[str] = ..., proof: _Optional[str] = ..., verdict: _Optional[str] = ..., reason: _Optional[str] = ..., rule: _Optional[int] = ..., rule_name: _Optional[str] = ..., generation: _Optional[int] = ..., cookie: _Optional[int] = ..., ipv6: _Optional[bool] = ..., adopted: _Optional[bool] = ..., adopted_seconds_left: _Optional[float] = ...) -> None: ...

class SocketsResponse(_message.Message):
    __slots__ = ("sockets", "more")
    SOCKETS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    sockets: _containers.RepeatedCompositeFieldContainer[Socket]
    more: bool
    def __init__(self, sockets: _Optional[_Iterable[_Union[Socket, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class ObserveRequest(_message.Message):
    __slots__ = ("workloads", "verdicts", "port", "direction", "reasons", "pid", "last", "kept_only")
    WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    KEPT_ONLY_FIELD_NUMBER: _ClassVar[int]
    workloads: _containers.RepeatedScalarFieldContainer[str]
    verdicts: _containers.RepeatedScalarFieldContainer[str]
    port: int
    direction: str
    reasons: _containers.RepeatedScalarFieldContainer[str]
    pid: int
    last: int
    kept_only: bool
    def __init__(self, workloads: _Optional[_Iterable[str]] = ..., verdicts: _Optional[_Iterable[str]] = ..., port: _Optional[int] = ..., direction: _Optional[str] = ..., reasons: _Optional[_Iterable[str]] = ..., pid: _Optional[int] = ..., last: _Optional[int] = ..., kept_only: _Optional[bool] = ...) -> None: ...

class Flow(_message.Message):
    __slots__ = ("time", "direction", "verdict", "reason", "protocol", "local_address", "local_port", "remote_address", "remote_port", "local_identity", "local_workload", "peer_identity", "peer_workload", "proof", "rule", "rule_name", "pid", "peer_host", "policy_version", "suppressed", "generation", "id")
    TIME_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    LOCAL_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    LOCAL_PORT_FIELD_NUMBER: _ClassVar[int]
    REMOTE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    REMOTE_PORT_FIELD_NUMBER: _ClassVar[int]
    LOCAL_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    LOCAL_WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    PEER_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    PEER_WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    RULE_NAME_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    PEER_HOST_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSED_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    time: float
    direction: str
    verdict: str
    reason: str
    protocol: str
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    local_identity: int
    local_workload: str
    peer_identity: int
    peer_workload: str
    proof: str
    rule: int
    rule_name: str
    pid: int
    peer_host: int
    policy_version: int
    suppressed: int
    generation: int
    id: int
    def __init__(self, time: _Optional[float] = ..., direction: _Optional[str] = ..., verdict: _Optional[str] = ..., reason: _Optional[str] = ..., protocol: _Optional[str] = ..., local_address: _Optional[str] = ..., local_port: _Optional[int] = ..., remote_address: _Optional[str] = ..., remote_port: _Optional[int] = ..., local_identity: _Optional[int] = ..., local_workload: _Optional[str] = ..., peer_identity: _Optional[int] = ..., peer_workload: _Optional[str] = ..., proof: _Optional[str] = ..., rule: _Optional[int] = ..., rule_name: _Optional[str] = ..., pid: _Optional[int] = ..., peer_host: _Optional[int] = ..., policy_version: _Optional[int] = ..., suppressed: _Optional[int] = ..., generation: _Optional[int] = ..., id: _Optional[int] = ...) -> None: ...

class ExplainFlowRequest(_message.Message):
    __slots__ = ("id", "protocol", "address", "port", "other_address", "other_port")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    OTHER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    OTHER_PORT_FIELD_NUMBER: _ClassVar[int]
    id: int
    protocol: str
    address: str
    port: int
    other_address: str
    other_port: int
    def __init__(self, id: _Optional[int] = ..., protocol: _Optional[str] = ..., address: _Optional[str] = ..., port: _Optional[int] = ..., other_address: _Optional[str] = ..., other_port: _Optional[int] = ...) -> None: ...

class ExplainFlowResponse(_message.Message):
    __slots__ = ("flow", "process", "mode", "proof", "because", "now_verdict", "now_reason", "now_rule", "now_version", "allow", "notes")
    FLOW_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    BECAUSE_FIELD_NUMBER: _ClassVar[int]
    NOW_VERDICT_FIELD_NUMBER: _ClassVar[int]
    NOW_REASON_FIELD_NUMBER: _ClassVar[int]
    NOW_RULE_FIELD_NUMBER: _ClassVar[int]
    NOW_VERSION_FIELD_NUMBER: _ClassVar[int]
    ALLOW_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    flow: Flow
    process: Process
    mode: str
    proof: str
    because: str
    now_verdict: str
    now_reason: str
    now_rule: str
    now_version: int
    allow: str
    notes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, flow: _Optional[_Union[Flow, _Mapping]] = ..., process: _Optional[_Union[Process, _Mapping]] = ..., mode: _Optional[str] = ..., proof: _Optional[str] = ..., because: _Optional[str] = ..., now_verdict: _Optional[str] = ..., now_reason: _Optional[str] = ..., now_rule: _Optional[str] = ..., now_version: _Optional[int] = ..., allow: _Optional[str] = ..., notes: _Optional[_Iterable[str]] = ...) -> None: ...
