# SPDX-License-Identifier: Apache-2.0
from agent.pb import snapshot_pb2 as _snapshot_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_VIEWER: _ClassVar[Role]
    ROLE_EDITOR: _ClassVar[Role]
    ROLE_OPERATOR: _ClassVar[Role]

class HostState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HOST_STATE_UNSPECIFIED: _ClassVar[HostState]
    HOST_STATE_ENROLLED: _ClassVar[HostState]
    HOST_STATE_CONNECTED: _ClassVar[HostState]
    HOST_STATE_SILENT: _ClassVar[HostState]
    HOST_STATE_LOST: _ClassVar[HostState]
    HOST_STATE_REVOKED: _ClassVar[HostState]

class ChangeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CHANGE_KIND_UNSPECIFIED: _ClassVar[ChangeKind]
    CHANGE_KIND_CREATED: _ClassVar[ChangeKind]
    CHANGE_KIND_UPDATED: _ClassVar[ChangeKind]
    CHANGE_KIND_DELETED: _ClassVar[ChangeKind]
ROLE_UNSPECIFIED: Role
ROLE_VIEWER: Role
ROLE_EDITOR: Role
ROLE_OPERATOR: Role
HOST_STATE_UNSPECIFIED: HostState
HOST_STATE_ENROLLED: HostState
HOST_STATE_CONNECTED: HostState
HOST_STATE_SILENT: HostState
HOST_STATE_LOST: HostState
HOST_STATE_REVOKED: HostState
CHANGE_KIND_UNSPECIFIED: ChangeKind
CHANGE_KIND_CREATED: ChangeKind
CHANGE_KIND_UPDATED: ChangeKind
CHANGE_KIND_DELETED: ChangeKind

class WhoamiRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WhoamiResponse(_message.Message):
    __slots__ = ("name", "role", "trust_domain", "expires", "controller", "controller_version")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    CONTROLLER_FIELD_NUMBER: _ClassVar[int]
    CONTROLLER_VERSION_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: Role
    trust_domain: str
    expires: int
    controller: str
    controller_version: str
    def __init__(self, name: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., trust_domain: _Optional[str] = ..., expires: _Optional[int] = ..., controller: _Optional[str] = ..., controller_version: _Optional[str] = ...) -> None: ...

class HostGrant(_message.Message):
    __slots__ = ("name", "labels", "networks", "addresses", "replace")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    REPLACE_FIELD_NUMBER: _ClassVar[int]
    name: str
    labels: _containers.ScalarMap[str, str]
    networks: _containers.RepeatedScalarFieldContainer[str]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    replace: bool
    def __init__(self, name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., networks: _Optional[_Iterable[str]] = ..., addresses: _Optional[_Iterable[str]] = ..., replace: _Optional[bool] = ...) -> None: ...

class AdministratorGrant(_message.Message):
    __slots__ = ("name", "role", "certificate_seconds")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: Role
    certificate_seconds: int
    def __init__(self, name: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., certificate_seconds: _Optional[int] = ...) -> None: ...

class CreateTokenRequest(_message.Message):
    __slots__ = ("host", "administrator", "ttl_seconds", "why")
    HOST_FIELD_NUMBER: _ClassVar[int]
    ADMINISTRATOR_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    host: HostGrant
    administrator: AdministratorGrant
    ttl_seconds: int
    why: str
    def __init__(self, host: _Optional[_Union[HostGrant, _Mapping]] = ..., administrator: _Optional[_Union[AdministratorGrant, _Mapping]] = ..., ttl_seconds: _Optional[int] = ..., why: _Optional[str] = ...) -> None: ...

class CreateTokenResponse(_message.Message):
    __slots__ = ("token", "info")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    INFO_FIELD_NUMBER: _ClassVar[int]
    token: str
    info: Token
    def __init__(self, token: _Optional[str] = ..., info: _Optional[_Union[Token, _Mapping]] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("id", "host", "administrator", "state", "created", "expires", "created_by", "used", "used_from")
    ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    ADMINISTRATOR_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    USED_FROM_FIELD_NUMBER: _ClassVar[int]
    id: str
    host: HostGrant
    administrator: AdministratorGrant
    state: str
    created: int
    expires: int
    created_by: str
    used: int
    used_from: str
    def __init__(self, id: _Optional[str] = ..., host: _Optional[_Union[HostGrant, _Mapping]] = ..., administrator: _Optional[_Union[AdministratorGrant, _Mapping]] = ..., state: _Optional[str] = ..., created: _Optional[int] = ..., expires: _Optional[int] = ..., created_by: _Optional[str] = ..., used: _Optional[int] = ..., used_from: _Optional[str] = ...) -> None: ...

class ListTokensRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTokensResponse(_message.Message):
    __slots__ = ("tokens", "next_page_token")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tokens: _containers.RepeatedCompositeFieldContainer[Token]
    next_page_token: str
    def __init__(self, tokens: _Optional[_Iterable[_Union[Token, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RevokeTokenRequest(_message.Message):
    __slots__ = ("id", "why")
    ID_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    id: str
    why: str
    def __init__(self, id: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class RevokeTokenResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Host(_message.Message):
    __slots__ = ("name", "number", "labels", "addresses", "state", "quarantined", "version", "current", "refused", "last_seen", "agent_version", "trouble")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CURRENT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    name: str
    number: int
    labels: _containers.ScalarMap[str, str]
    addresses: _containers.RepeatedScalarFieldContainer[str]
    state: HostState
    quarantined: bool
    version: int
    current: bool
    refused: str
    last_seen: int
    agent_version: str
    trouble: str
    def __init__(self, name: _Optional[str] = ..., number: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., addresses: _Optional[_Iterable[str]] = ..., state: _Optional[_Union[HostState, str]] = ..., quarantined: _Optional[bool] = ..., version: _Optional[int] = ..., current: _Optional[bool] = ..., refused: _Optional[str] = ..., last_seen: _Optional[int] = ..., agent_version: _Optional[str] = ..., trouble: _Optional[str] = ...) -> None: ...

class ListHostsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "labels", "states")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    labels: _containers.ScalarMap[str, str]
    states: _containers.RepeatedScalarFieldContainer[HostState]
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., states: _Optional[_Iterable[_Union[HostState, str]]] = ...) -> None: ...

class ListHostsResponse(_message.Message):
    __slots__ = ("hosts", "next_page_token", "total")
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    hosts: _containers.RepeatedCompositeFieldContainer[Host]
    next_page_token: str
    total: int
    def __init__(self, hosts: _Optional[_Iterable[_Union[Host, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total: _Optional[int] = ...) -> None: ...

class GetHostRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetHostResponse(_message.Message):
    __slots__ = ("host", "networks", "addresses_fixed", "addresses_refused", "tags_off", "nat", "enrolled", "enrolled_by", "certificate_expires", "kernel", "workloads", "running", "listeners", "agent_state", "controller")
    class RunningEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    HOST_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIXED_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_REFUSED_FIELD_NUMBER: _ClassVar[int]
    TAGS_OFF_FIELD_NUMBER: _ClassVar[int]
    NAT_FIELD_NUMBER: _ClassVar[int]
    ENROLLED_FIELD_NUMBER: _ClassVar[int]
    ENROLLED_BY_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_EXPIRES_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    LISTENERS_FIELD_NUMBER: _ClassVar[int]
    AGENT_STATE_FIELD_NUMBER: _ClassVar[int]
    CONTROLLER_FIELD_NUMBER: _ClassVar[int]
    host: Host
    networks: _containers.RepeatedScalarFieldContainer[str]
    addresses_fixed: bool
    addresses_refused: _containers.RepeatedScalarFieldContainer[str]
    tags_off: bool
    nat: bool
    enrolled: int
    enrolled_by: str
    certificate_expires: int
    kernel: str
    workloads: _containers.RepeatedScalarFieldContainer[str]
    running: _containers.ScalarMap[str, int]
    listeners: _containers.RepeatedScalarFieldContainer[str]
    agent_state: str
    controller: str
    def __init__(self, host: _Optional[_Union[Host, _Mapping]] = ..., networks: _Optional[_Iterable[str]] = ..., addresses_fixed: _Optional[bool] = ..., addresses_refused: _Optional[_Iterable[str]] = ..., tags_off: _Optional[bool] = ..., nat: _Optional[bool] = ..., enrolled: _Optional[int] = ..., enrolled_by: _Optional[str] = ..., certificate_expires: _Optional[int] = ..., kernel: _Optional[str] = ..., workloads: _Optional[_Iterable[str]] = ..., running: _Optional[_Mapping[str, int]] = ..., listeners: _Optional[_Iterable[str]] = ..., agent_state: _Optional[str] = ..., controller: _Optional[str] = ...) -> None: ...

class RevokeHostRequest(_message.Message):
    __slots__ = ("name", "why")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    name: str
    why: str
    def __init__(self, name: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class RevokeHostResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class UpdateHostRequest(_message.Message):
    __slots__ = ("name", "set_labels", "remove_labels", "networks", "addresses", "tags_off", "nat", "why")
    class SetLabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SET_LABELS_FIELD_NUMBER: _ClassVar[int]
    REMOVE_LABELS_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    TAGS_OFF_FIELD_NUMBER: _ClassVar[int]
    NAT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    name: str
    set_labels: _containers.ScalarMap[str, str]
    remove_labels: _containers.RepeatedScalarFieldContainer[str]
    networks: AddressList
    addresses: AddressList
    tags_off: bool
    nat: bool
    why: str
    def __init__(self, name: _Optional[str] = ..., set_labels: _Optional[_Mapping[str, str]] = ..., remove_labels: _Optional[_Iterable[str]] = ..., networks: _Optional[_Union[AddressList, _Mapping]] = ..., addresses: _Optional[_Union[AddressList, _Mapping]] = ..., tags_off: _Optional[bool] = ..., nat: _Optional[bool] = ..., why: _Optional[str] = ...) -> None: ...

class AddressList(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, items: _Optional[_Iterable[str]] = ...) -> None: ...

class UpdateHostResponse(_message.Message):
    __slots__ = ("host", "version")
    HOST_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    host: Host
    version: int
    def __init__(self, host: _Optional[_Union[Host, _Mapping]] = ..., version: _Optional[int] = ...) -> None: ...

class ListAdministratorsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListAdministratorsResponse(_message.Message):
    __slots__ = ("administrators",)
    ADMINISTRATORS_FIELD_NUMBER: _ClassVar[int]
    administrators: _containers.RepeatedCompositeFieldContainer[Administrator]
    def __init__(self, administrators: _Optional[_Iterable[_Union[Administrator, _Mapping]]] = ...) -> None: ...

class Administrator(_message.Message):
    __slots__ = ("name", "role", "expires", "revoked", "last_seen")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: Role
    expires: int
    revoked: bool
    last_seen: int
    def __init__(self, name: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., expires: _Optional[int] = ..., revoked: _Optional[bool] = ..., last_seen: _Optional[int] = ...) -> None: ...

class RevokeAdministratorRequest(_message.Message):
    __slots__ = ("name", "why")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    name: str
    why: str
    def __init__(self, name: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class RevokeAdministratorResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("head", "file")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    head: ApplyHead
    file: PolicyFile
    def __init__(self, head: _Optional[_Union[ApplyHead, _Mapping]] = ..., file: _Optional[_Union[PolicyFile, _Mapping]] = ...) -> None: ...

class ApplyHead(_message.Message):
    __slots__ = ("prune", "dry_run", "why", "expected_revision", "force")
    PRUNE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    prune: bool
    dry_run: bool
    why: str
    expected_revision: int
    force: bool
    def __init__(self, prune: _Optional[bool] = ..., dry_run: _Optional[bool] = ..., why: _Optional[str] = ..., expected_revision: _Optional[int] = ..., force: _Optional[bool] = ...) -> None: ...

class PolicyFile(_message.Message):
    __slots__ = ("name", "content")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    name: str
    content: bytes
    def __init__(self, name: _Optional[str] = ..., content: _Optional[bytes] = ...) -> None: ...

class DocumentProblem(_message.Message):
    __slots__ = ("file", "line", "field", "message")
    FILE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    file: str
    line: int
    field: str
    message: str
    def __init__(self, file: _Optional[str] = ..., line: _Optional[int] = ..., field: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class DocumentChange(_message.Message):
    __slots__ = ("change", "kind", "name", "diff")
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DIFF_FIELD_NUMBER: _ClassVar[int]
    change: ChangeKind
    kind: str
    name: str
    diff: str
    def __init__(self, change: _Optional[_Union[ChangeKind, str]] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., diff: _Optional[str] = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("revision", "version", "problems", "problems_total", "warnings", "changes", "changes_total", "hosts_touched")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    CHANGES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    HOSTS_TOUCHED_FIELD_NUMBER: _ClassVar[int]
    revision: int
    version: int
    problems: _containers.RepeatedCompositeFieldContainer[DocumentProblem]
    problems_total: int
    warnings: _containers.RepeatedCompositeFieldContainer[DocumentProblem]
    changes: _containers.RepeatedCompositeFieldContainer[DocumentChange]
    changes_total: int
    hosts_touched: int
    def __init__(self, revision: _Optional[int] = ..., version: _Optional[int] = ..., problems: _Optional[_Iterable[_Union[DocumentProblem, _Mapping]]] = ..., problems_total: _Optional[int] = ..., warnings: _Optional[_Iterable[_Union[DocumentProblem, _Mapping]]] = ..., changes: _Optional[_Iterable[_Union[DocumentChange, _Mapping]]] = ..., changes_total: _Optional[int] = ..., hosts_touched: _Optional[int] = ...) -> None: ...

class DiffRequest(_message.Message):
    __slots__ = ("head", "file")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    head: DiffHead
    file: PolicyFile
    def __init__(self, head: _Optional[_Union[DiffHead, _Mapping]] = ..., file: _Optional[_Union[PolicyFile, _Mapping]] = ...) -> None: ...

class DiffHead(_message.Message):
    __slots__ = ("prune",)
    PRUNE_FIELD_NUMBER: _ClassVar[int]
    prune: bool
    def __init__(self, prune: _Optional[bool] = ...) -> None: ...

class DiffResponse(_message.Message):
    __slots__ = ("problems", "warnings", "changes", "changes_total", "hosts_touched", "revision")
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    CHANGES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    HOSTS_TOUCHED_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    problems: _containers.RepeatedCompositeFieldContainer[DocumentProblem]
    warnings: _containers.RepeatedCompositeFieldContainer[DocumentProblem]
    changes: _containers.RepeatedCompositeFieldContainer[DocumentChange]
    changes_total: int
    hosts_touched: int
    revision: int
    def __init__(self, problems: _Optional[_Iterable[_Union[DocumentProblem, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[DocumentProblem, _Mapping]]] = ..., changes: _Optional[_Iterable[_Union[DocumentChange, _Mapping]]] = ..., changes_total: _Optional[int] = ..., hosts_touched: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class DocumentName(_message.Message):
    __slots__ = ("kind", "name")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class GetDocumentsRequest(_message.Message):
    __slots__ = ("documents", "revision")
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    documents: _containers.RepeatedCompositeFieldContainer[DocumentName]
    revision: int
    def __init__(self, documents: _Optional[_Iterable[_Union[DocumentName, _Mapping]]] = ..., revision: _Optional[int] = ...) -> None: ...

class GetDocumentsResponse(_message.Message):
    __slots__ = ("kind", "name", "text", "since")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    text: str
    since: int
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., text: _Optional[str] = ..., since: _Optional[int] = ...) -> None: ...

class DeleteDocumentsRequest(_message.Message):
    __slots__ = ("documents", "why", "expected_revision")
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    documents: _containers.RepeatedCompositeFieldContainer[DocumentName]
    why: str
    expected_revision: int
    def __init__(self, documents: _Optional[_Iterable[_Union[DocumentName, _Mapping]]] = ..., why: _Optional[str] = ..., expected_revision: _Optional[int] = ...) -> None: ...

class DeleteDocumentsResponse(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: ApplyResponse
    def __init__(self, result: _Optional[_Union[ApplyResponse, _Mapping]] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("revision", "why", "expected_revision")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    revision: int
    why: str
    expected_revision: int
    def __init__(self, revision: _Optional[int] = ..., why: _Optional[str] = ..., expected_revision: _Optional[int] = ...) -> None: ...

class RollbackResponse(_message.Message):
    __slots__ = ("result",)
    RESULT_FIELD_NUMBER: _ClassVar[int]
    result: ApplyResponse
    def __init__(self, result: _Optional[_Union[ApplyResponse, _Mapping]] = ...) -> None: ...

class ListRevisionsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListRevisionsResponse(_message.Message):
    __slots__ = ("revisions", "next_page_token")
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    revisions: _containers.RepeatedCompositeFieldContainer[Revision]
    next_page_token: str
    def __init__(self, revisions: _Optional[_Iterable[_Union[Revision, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Revision(_message.Message):
    __slots__ = ("number", "version", "at", "who", "why", "documents", "changes", "rollback_of")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_OF_FIELD_NUMBER: _ClassVar[int]
    number: int
    version: int
    at: int
    who: str
    why: str
    documents: int
    changes: int
    rollback_of: int
    def __init__(self, number: _Optional[int] = ..., version: _Optional[int] = ..., at: _Optional[int] = ..., who: _Optional[str] = ..., why: _Optional[str] = ..., documents: _Optional[int] = ..., changes: _Optional[int] = ..., rollback_of: _Optional[int] = ...) -> None: ...

class QuarantineRequest(_message.Message):
    __slots__ = ("host", "workload", "until", "why")
    HOST_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    host: str
    workload: str
    until: int
    why: str
    def __init__(self, host: _Optional[str] = ..., workload: _Optional[str] = ..., until: _Optional[int] = ..., why: _Optional[str] = ...) -> None: ...

class QuarantineResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class LiftQuarantineRequest(_message.Message):
    __slots__ = ("host", "workload", "why")
    HOST_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    host: str
    workload: str
    why: str
    def __init__(self, host: _Optional[str] = ..., workload: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class LiftQuarantineResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class ListQuarantinesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListQuarantinesResponse(_message.Message):
    __slots__ = ("quarantines",)
    QUARANTINES_FIELD_NUMBER: _ClassVar[int]
    quarantines: _containers.RepeatedCompositeFieldContainer[QuarantineEntry]
    def __init__(self, quarantines: _Optional[_Iterable[_Union[QuarantineEntry, _Mapping]]] = ...) -> None: ...

class QuarantineEntry(_message.Message):
    __slots__ = ("host", "workload", "until", "who", "why", "since")
    HOST_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    host: str
    workload: str
    until: int
    who: str
    why: str
    since: int
    def __init__(self, host: _Optional[str] = ..., workload: _Optional[str] = ..., until: _Optional[int] = ..., who: _Optional[str] = ..., why: _Optional[str] = ..., since: _Optional[int] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("source", "target", "port")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    source: str
    target: str
    port: str
    def __init__(self, source: _Optional[str] = ..., target: _Optional[str] = ..., port: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("result", "ends", "notes", "missing", "version")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    result: str
    ends: _containers.RepeatedCompositeFieldContainer[ExplainedEnd]
    notes: _containers.RepeatedScalarFieldContainer[str]
    missing: _containers.RepeatedScalarFieldContainer[str]
    version: int
    def __init__(self, result: _Optional[str] = ..., ends: _Optional[_Iterable[_Union[ExplainedEnd, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ..., missing: _Optional[_Iterable[str]] = ..., version: _Optional[int] = ...) -> None: ...

class ExplainedEnd(_message.Message):
    __slots__ = ("host", "direction", "peer", "mode", "verdict", "reason", "rule", "document")
    HOST_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    host: str
    direction: _snapshot_pb2.Direction
    peer: str
    mode: _snapshot_pb2.Mode
    verdict: str
    reason: str
    rule: int
    document: str
    def __init__(self, host: _Optional[str] = ..., direction: _Optional[_Union[_snapshot_pb2.Direction, str]] = ..., peer: _Optional[str] = ..., mode: _Optional[_Union[_snapshot_pb2.Mode, str]] = ..., verdict: _Optional[str] = ..., reason: _Optional[str] = ..., rule: _Optional[int] = ..., document: _Optional[str] = ...) -> None: ...

class WatchRolloutRequest(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class WatchRolloutResponse(_message.Message):
    __slots__ = ("version", "hosts", "enforced", "pending", "refused", "absent", "refusals", "done")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    ENFORCED_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    version: int
    hosts: int
    enforced: int
    pending: int
    refused: int
    absent: int
    refusals: _containers.RepeatedCompositeFieldContainer[HostRefusal]
    done: bool
    def __init__(self, version: _Optional[int] = ..., hosts: _Optional[int] = ..., enforced: _Optional[int] = ..., pending: _Optional[int] = ..., refused: _Optional[int] = ..., absent: _Optional[int] = ..., refusals: _Optional[_Iterable[_Union[HostRefusal, _Mapping]]] = ..., done: _Optional[bool] = ...) -> None: ...

class HostRefusal(_message.Message):
    __slots__ = ("host", "message")
    HOST_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    host: str
    message: str
    def __init__(self, host: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class GetSettingsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetSettingsResponse(_message.Message):
    __slots__ = ("settings",)
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    settings: FleetSettings
    def __init__(self, settings: _Optional[_Union[FleetSettings, _Mapping]] = ...) -> None: ...

class FleetSettings(_message.Message):
    __slots__ = ("epoch_seconds", "epochs_ahead", "validity_seconds", "lease_seconds", "confirm_seconds", "certificate_seconds", "hold_limit_ms", "refusal_events_per_second")
    EPOCH_SECONDS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_AHEAD_FIELD_NUMBER: _ClassVar[int]
    VALIDITY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    LEASE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    HOLD_LIMIT_MS_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_EVENTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    epoch_seconds: int
    epochs_ahead: int
    validity_seconds: int
    lease_seconds: int
    confirm_seconds: int
    certificate_seconds: int
    hold_limit_ms: int
    refusal_events_per_second: int
    def __init__(self, epoch_seconds: _Optional[int] = ..., epochs_ahead: _Optional[int] = ..., validity_seconds: _Optional[int] = ..., lease_seconds: _Optional[int] = ..., confirm_seconds: _Optional[int] = ..., certificate_seconds: _Optional[int] = ..., hold_limit_ms: _Optional[int] = ..., refusal_events_per_second: _Optional[int] = ...) -> None: ...

class UpdateSettingsRequest(_message.Message):
    __slots__ = ("settings", "why")
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    settings: FleetSettings
    why: str
    def __init__(self, settings: _Optional[_Union[FleetSettings, _Mapping]] = ..., why: _Optional[str] = ...) -> None: ...

class UpdateSettingsResponse(_message.Message):
    __slots__ = ("settings", "version")
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    settings: FleetSettings
    version: int
    def __init__(self, settings: _Optional[_Union[FleetSettings, _Mapping]] = ..., version: _Optional[int] = ...) -> None: ...

class ListAuditRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "since")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    since: int
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., since: _Optional[int] = ...) -> None: ...

class ListAuditResponse(_message.Message):
    __slots__ = ("entries", "next_page_token")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[AuditEntry]
    next_page_token: str
    def __init__(self, entries: _Optional[_Iterable[_Union[AuditEntry, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class AuditEntry(_message.Message):
    __slots__ = ("number", "at", "who", "what", "object", "why", "refused", "version")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    number: int
    at: int
    who: str
    what: str
    object: str
    why: str
    refused: str
    version: int
    def __init__(self, number: _Optional[int] = ..., at: _Optional[int] = ..., who: _Optional[str] = ..., what: _Optional[str] = ..., object: _Optional[str] = ..., why: _Optional[str] = ..., refused: _Optional[str] = ..., version: _Optional[int] = ..., **kwargs) -> None: ...
