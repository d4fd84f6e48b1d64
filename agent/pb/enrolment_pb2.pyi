# SPDX-License-Identifier: Apache-2.0
from agent.pb import signed_pb2 as _signed_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EnrolRequest(_message.Message):
    __slots__ = ("token", "csr", "host_name", "facts")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    HOST_NAME_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    token: str
    csr: bytes
    host_name: str
    facts: HostFacts
    def __init__(self, token: _Optional[str] = ..., csr: _Optional[bytes] = ..., host_name: _Optional[str] = ..., facts: _Optional[_Union[HostFacts, _Mapping]] = ...) -> None: ...

class HostFacts(_message.Message):
    __slots__ = ("agent_version", "kernel", "os", "architecture", "machine_id", "addresses")
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    OS_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    MACHINE_ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    agent_version: str
    kernel: str
    os: str
    architecture: str
    machine_id: bytes
    addresses: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, agent_version: _Optional[str] = ..., kernel: _Optional[str] = ..., os: _Optional[str] = ..., architecture: _Optional[str] = ..., machine_id: _Optional[bytes] = ..., addresses: _Optional[_Iterable[bytes]] = ...) -> None: ...

class EnrolResponse(_message.Message):
    __slots__ = ("host_name", "host", "trust_domain", "credentials", "policy_keys", "controllers")
    HOST_NAME_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    POLICY_KEYS_FIELD_NUMBER: _ClassVar[int]
    CONTROLLERS_FIELD_NUMBER: _ClassVar[int]
    host_name: str
    host: int
    trust_domain: str
    credentials: Credentials
    policy_keys: _signed_pb2.Signed
    controllers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, host_name: _Optional[str] = ..., host: _Optional[int] = ..., trust_domain: _Optional[str] = ..., credentials: _Optional[_Union[Credentials, _Mapping]] = ..., policy_keys: _Optional[_Union[_signed_pb2.Signed, _Mapping]] = ..., controllers: _Optional[_Iterable[str]] = ...) -> None: ...

class Credentials(_message.Message):
    __slots__ = ("certificate_chain", "roots", "expires", "renew_after")
    CERTIFICATE_CHAIN_FIELD_NUMBER: _ClassVar[int]
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    RENEW_AFTER_FIELD_NUMBER: _ClassVar[int]
    certificate_chain: bytes
    roots: bytes
    expires: int
    renew_after: int
    def __init__(self, certificate_chain: _Optional[bytes] = ..., roots: _Optional[bytes] = ..., expires: _Optional[int] = ..., renew_after: _Optional[int] = ...) -> None: ...

class LoginRequest(_message.Message):
    __slots__ = ("token", "csr")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    token: str
    csr: bytes
    def __init__(self, token: _Optional[str] = ..., csr: _Optional[bytes] = ...) -> None: ...

class LoginResponse(_message.Message):
    __slots__ = ("name", "role", "trust_domain", "credentials", "controllers")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    CONTROLLERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: str
    trust_domain: str
    credentials: Credentials
    controllers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., role: _Optional[str] = ..., trust_domain: _Optional[str] = ..., credentials: _Optional[_Union[Credentials, _Mapping]] = ..., controllers: _Optional[_Iterable[str]] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("csr",)
    CSR_FIELD_NUMBER: _ClassVar[int]
    csr: bytes
    def __init__(self, csr: _Optional[bytes] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("credentials", "policy_keys", "controllers")
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    POLICY_KEYS_FIELD_NUMBER: _ClassVar[int]
    CONTROLLERS_FIELD_NUMBER: _ClassVar[int]
    credentials: Credentials
    policy_keys: _signed_pb2.Signed
    controllers: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, credentials: _Optional[_Union[Credentials, _Mapping]] = ..., policy_keys: _Optional[_Union[_signed_pb2.Signed, _Mapping]] = ..., controllers: _Optional[_Iterable[str]] = ...) -> None: ...
