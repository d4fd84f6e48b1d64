# SPDX-License-Identifier: Apache-2.0
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ShipFlowsRequest(_message.Message):
    __slots__ = ("instance", "sequence", "records", "lost")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    instance: bytes
    sequence: int
    records: _containers.RepeatedCompositeFieldContainer[FlowRecord]
    lost: int
    def __init__(self, instance: _Optional[bytes] = ..., sequence: _Optional[int] = ..., records: _Optional[_Iterable[_Union[FlowRecord, _Mapping]]] = ..., lost: _Optional[int] = ...) -> None: ...

class ShipFlowsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FlowRecord(_message.Message):
    __slots__ = ("minute", "direction", "verdict", "reason", "rule", "source", "destination", "proof", "protocol", "port", "executable", "address", "count", "first_ms", "last_ms", "closed", "source_bytes", "destination_bytes", "source_packets", "destination_packets", "duration_ms")
    MINUTE_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    EXECUTABLE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FIRST_MS_FIELD_NUMBER: _ClassVar[int]
    LAST_MS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    SOURCE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_BYTES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_PACKETS_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_PACKETS_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    minute: int
    direction: str
    verdict: str
    reason: str
    rule: str
    source: str
    destination: str
    proof: str
    protocol: str
    port: int
    executable: str
    address: bytes
    count: int
    first_ms: int
    last_ms: int
    closed: int
    source_bytes: int
    destination_bytes: int
    source_packets: int
    destination_packets: int
    duration_ms: int
    def __init__(self, minute: _Optional[int] = ..., direction: _Optional[str] = ..., verdict: _Optional[str] = ..., reason: _Optional[str] = ..., rule: _Optional[str] = ..., source: _Optional[str] = ..., destination: _Optional[str] = ..., proof: _Optional[str] = ..., protocol: _Optional[str] = ..., port: _Optional[int] = ..., executable: _Optional[str] = ..., address: _Optional[bytes] = ..., count: _Optional[int] = ..., first_ms: _Optional[int] = ..., last_ms: _Optional[int] = ..., closed: _Optional[int] = ..., source_bytes: _Optional[int] = ..., destination_bytes: _Optional[int] = ..., source_packets: _Optional[int] = ..., destination_packets: _Optional[int] = ..., duration_ms: _Optional[int] = ...) -> None: ...

class FlowFilter(_message.Message):
    __slots__ = ("source", "destination", "verdicts", "port", "protocol", "host", "since", "until")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    source: str
    destination: str
    verdicts: _containers.RepeatedScalarFieldContainer[str]
    port: int
    protocol: str
    host: str
    since: int
    until: int
    def __init__(self, source: _Optional[str] = ..., destination: _Optional[str] = ..., verdicts: _Optional[_Iterable[str]] = ..., port: _Optional[int] = ..., protocol: _Optional[str] = ..., host: _Optional[str] = ..., since: _Optional[int] = ..., until: _Optional[int] = ...) -> None: ...

class ListFlowsRequest(_message.Message):
    __slots__ = ("filter", "page_size", "page_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: FlowFilter
    page_size: int
    page_token: str
    def __init__(self, filter: _Optional[_Union[FlowFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListFlowsResponse(_message.Message):
    __slots__ = ("flows", "next_page_token")
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    flows: _containers.RepeatedCompositeFieldContainer[StoredFlow]
    next_page_token: str
    def __init__(self, flows: _Optional[_Iterable[_Union[StoredFlow, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StoredFlow(_message.Message):
    __slots__ = ("host", "record")
    HOST_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    host: str
    record: FlowRecord
    def __init__(self, host: _Optional[str] = ..., record: _Optional[_Union[FlowRecord, _Mapping]] = ...) -> None: ...

class ListTalkersRequest(_message.Message):
    __slots__ = ("filter", "limit", "by_bytes")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BY_BYTES_FIELD_NUMBER: _ClassVar[int]
    filter: FlowFilter
    limit: int
    by_bytes: bool
    def __init__(self, filter: _Optional[_Union[FlowFilter, _Mapping]] = ..., limit: _Optional[int] = ..., by_bytes: _Optional[bool] = ...) -> None: ...

class ListTalkersResponse(_message.Message):
    __slots__ = ("talkers",)
    TALKERS_FIELD_NUMBER: _ClassVar[int]
    talkers: _containers.RepeatedCompositeFieldContainer[Talker]
    def __init__(self, talkers: _Optional[_Iterable[_Union[Talker, _Mapping]]] = ...) -> None: ...

class Talker(_message.Message):
    __slots__ = ("source", "destination", "protocol", "port", "verdict", "egress", "ingress", "source_bytes", "destination_bytes")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    EGRESS_FIELD_NUMBER: _ClassVar[int]
    INGRESS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_BYTES_FIELD_NUMBER: _ClassVar[int]
    source: str
    destination: str
    protocol: str
    port: int
    verdict: str
    egress: int
    ingress: int
    source_bytes: int
    destination_bytes: int
    def __init__(self, source: _Optional[str] = ..., destination: _Optional[str] = ..., protocol: _Optional[str] = ..., port: _Optional[int] = ..., verdict: _Optional[str] = ..., egress: _Optional[int] = ..., ingress: _Optional[int] = ..., source_bytes: _Optional[int] = ..., destination_bytes: _Optional[int] = ...) -> None: ...

class ListEdgesRequest(_message.Message):
    __slots__ = ("filter", "new_since", "page_size", "page_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    NEW_SINCE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: FlowFilter
    new_since: int
    page_size: int
    page_token: str
    def __init__(self, filter: _Optional[_Union[FlowFilter, _Mapping]] = ..., new_since: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListEdgesResponse(_message.Message):
    __slots__ = ("edges", "next_page_token")
    EDGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    edges: _containers.RepeatedCompositeFieldContainer[FlowEdge]
    next_page_token: str
    def __init__(self, edges: _Optional[_Iterable[_Union[FlowEdge, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class FlowEdge(_message.Message):
    __slots__ = ("source", "destination", "protocol", "port", "direction", "verdict", "reason", "rule", "proof", "first_seen", "last_seen", "count", "allow")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    FIRST_SEEN_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ALLOW_FIELD_NUMBER: _ClassVar[int]
    source: str
    destination: str
    protocol: str
    port: int
    direction: str
    verdict: str
    reason: str
    rule: str
    proof: str
    first_seen: int
    last_seen: int
    count: int
    allow: str
    def __init__(self, source: _Optional[str] = ..., destination: _Optional[str] = ..., protocol: _Optional[str] = ..., port: _Optional[int] = ..., direction: _Optional[str] = ..., verdict: _Optional[str] = ..., reason: _Optional[str] = ..., rule: _Optional[str] = ..., proof: _Optional[str] = ..., first_seen: _Optional[int] = ..., last_seen: _Optional[int] = ..., count: _Optional[int] = ..., allow: _Optional[str] = ...) -> None: ...
