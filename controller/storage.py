# SPDX-License-Identifier: Apache-2.0
"""What the controller asks of its store: the one seam between services and SQL.

Synchronous: services call it in threads. Each method is one transaction, and what changes something
writes its audit entry, its row in `versions` and the bell's message in that transaction: there is
no moment at which one is there and another is not. Times come in as arguments (`now`), so that a
version's time is the same on every controller. The same tests run on every implementation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from agent.core.model import IPAddress
from controller.access_records import (
    AdministratorRow,
    CertificateRow,
    Joining,
    NewToken,
    Revoked,
    SecretRow,
    Secrets,
    TokenRow,
)
from controller.flow_records import (
    FlowBatch,
    FlowFilter,
    Kept,
    SeenEdge,
    StoredFlow,
    Talker,
)
from controller.records import (
    Actor,
    AuditRow,
    DocumentChanges,
    DocumentRow,
    FleetPart,
    FleetRows,
    FleetSettings,
    Head,
    HostChange,
    HostQuery,
    HostRow,
    Page,
    Paged,
    QuarantineRow,
    RevisionRow,
    Seen,
    Target,
    VersionRow,
)


class StorageError(Exception):
    """Base; the text is a sentence for people."""


class Unavailable(StorageError):
    """The database does not answer; nothing was changed, unless only the answer to COMMIT was lost.
    Read again, then try again: nothing is done twice, for who comes second gets Conflict, NotFound
    or what was there."""


class Conflict(StorageError):
    """Somebody else changed it meanwhile; nothing was changed. Read again, decide again."""


class Moved(Conflict):
    """What it was judged by has changed meanwhile: judge again."""


class NotFound(StorageError):
    """What was named is not there."""


class TokenSpent(StorageError):
    """Used by another key, expired or revoked in the meantime. The caller tells nobody which."""


class HostExists(StorageError):
    """The name is enrolled and the token does not replace it."""


class Refused(StorageError):
    """The change would break a rule of the store, such as the last operator's."""


class FleetStorage(Protocol):
    """What compiling and streaming read and write."""

    def head(self) -> Head: ...

    def fleet(self) -> FleetRows:
        """The newest version, read consistently."""

    def changes(self, after: int, limit: int = 1000) -> Sequence[VersionRow]:
        """Versions above `after`, oldest first."""

    def fleet_part(self, rows: Sequence[VersionRow]) -> FleetPart:
        """What `rows` touched, as it is now; its head may be newer than the last of them."""

    def secrets(self) -> Secrets: ...

    def revoked(self) -> Revoked: ...

    def claim_addresses(self, name: str, addresses: Sequence[IPAddress], now: int) -> int:
        """Put them in the place of what the host had. The version, 0 if nothing changed.

        Raises Conflict if another host has one of them by now, Refused if the host's are fixed or
        its networks do not cover one.
        """

    def note_seen(self, seen: Mapping[str, Seen], now: int) -> None:
        """A batch. A host that was lost is back, which makes a version."""

    def seen(self, names: Iterable[str]) -> Mapping[str, Seen]:
        """What is known of these hosts but for their reports; who is not enrolled is left out."""

    def end_leases(self, silent_since: int, now: int) -> Sequence[str]:
        """Hosts not seen since then are lost, each once however many controllers ask."""


class EnrolmentStorage(Protocol):
    """Tokens and certificates."""

    def create_token(self, token: NewToken, actor: Actor, why: str, now: int) -> TokenRow: ...

    def token(self, token_id: str, now: int) -> TokenRow | None: ...

    def tokens(self, page: Page, now: int) -> Paged[TokenRow]: ...

    def revoke_token(self, token_id: str, actor: Actor, why: str, now: int) -> None: ...

    def taken(self, addresses: Sequence[IPAddress]) -> Mapping[IPAddress, str]:
        """Which of them a host has, and its name."""

    def enrol(self, token_id: str, joining: Joining, actor: Actor) -> HostRow:
        """Spend the token and make the host; the same key again gets the same host.

        Raises TokenSpent, HostExists, Conflict (an address is another's by now).
        """

    def login(self, token_id: str, key_digest: bytes, actor: Actor, now: int) -> AdministratorRow:
        """Spend the token. Raises TokenSpent."""

    def note_certificate(self, certificate: CertificateRow, now: int) -> None:
        """Before it is handed out, so that none is unknown to a revocation. Raises Refused for
        a host or administrator that is revoked by now."""


class HostStorage(Protocol):
    """What an administrator does with hosts and administrators."""

    def host(self, name: str) -> HostRow | None:
        """The newest incarnation, revoked or not."""

    def hosts(self, query: HostQuery, page: Page) -> Paged[HostRow]: ...

    def host_facts(self, name: str) -> bytes:
        """What it said when it enrolled: a serialised cordon.v1.HostFacts. Raises NotFound."""

    def revoke_host(self, name: str, actor: Actor, why: str, now: int) -> int:
        """The version."""

    def update_host(self, name: str, change: HostChange, actor: Actor, why: str, now: int) -> int:
        """The version, 0 if nothing changed. Raises Moved; Conflict for addresses of others."""

    def administrators(self) -> Sequence[AdministratorRow]: ...

    def note_administrator_seen(self, name: str, now: int) -> None:
        """At most once a minute is it written."""

    def revoke_administrator(self, name: str, actor: Actor, why: str, now: int) -> None:
        """Raises Refused for the last operator."""


class PolicyStorage(Protocol):
    """Revisions, quarantine, settings, audit."""

    def apply(
        self, changes: DocumentChanges, expected: int, actor: Actor, why: str, now: int
    ) -> Head:
        """The next revision. expected: the revision that `changes` starts from. Raises Conflict,
        Moved."""

    def documents(self, revision: int | None = None) -> Sequence[DocumentRow]:
        """Raises NotFound."""

    def has_document(self, kind: str, name: str) -> bool:
        """In the newest revision."""

    def revisions(self, page: Page) -> Paged[RevisionRow]: ...

    def set_quarantine(
        self, target: Target, until: int | None, actor: Actor, why: str, now: int
    ) -> int:
        """until None: lift it. The version. A host's record gets its next serial by it."""

    def quarantines(self) -> Sequence[QuarantineRow]: ...

    def end_quarantines(self, now: int) -> Sequence[Target]:
        """Those whose time is over, each once however many controllers ask."""

    def settings(self) -> FleetSettings: ...

    def update_settings(
        self,
        settings: FleetSettings,
        actor: Actor,
        why: str,
        now: int,
        base: FleetSettings | None = None,
    ) -> int:
        """The version, 0 if nothing changed. base: what `settings` was made from. Raises Conflict
        if it is another one by now."""

    def audit(self, since: int, page: Page) -> Paged[AuditRow]: ...

    def note_refused(
        self, actor: Actor, what: str, object_: str, reason: str, now: int
    ) -> None: ...


class OperationStorage(Protocol):
    """What is done on a controller's own machine."""

    def initialise(
        self,
        trust_domain: str,
        settings: FleetSettings,
        secrets: Sequence[SecretRow],
        key_set: bytes,
        now: int,
    ) -> Head:
        """The fleet, in an empty store. Raises Conflict if there is one."""

    def trust_domain(self) -> str:
        """Never changes. Raises NotFound for an empty store."""

    def put_secrets(
        self, secrets: Sequence[SecretRow], key_set: bytes | None, actor: Actor, now: int
    ) -> None:
        """As put_secret and put_key_set, in one moment."""

    def certificates_end(self, issued_before: int) -> int:
        """When the last certificate that was issued before then ends; 0 if there is none."""

    def put_secret(self, secret: SecretRow, actor: Actor, now: int) -> None:
        """New, or in another stage; "ended" is believed no more, and its private part is wiped."""

    def put_key_set(self, key_set: bytes, actor: Actor, now: int) -> None: ...

    def check(self) -> Sequence[str]:
        """Sentences about what should not be."""

    def raise_epoch(self, actor: Actor, why: str, now: int) -> Head:
        """Above the highest epoch of the store and of what any host reported."""


class FlowStorage(Protocol):
    """Flow records. They are no part of a version, and nothing is decided by them."""

    def add_flows(self, batches: Sequence[FlowBatch], now: int) -> int:
        """How many records were kept; a batch that was taken before counts for nothing."""

    def sweep_flows(self, kept: Kept) -> int:
        """Remove some of what is older. How many rows; 0 when nothing is left to do."""

    def flows(self, chosen: FlowFilter, page: Page) -> Paged[StoredFlow]:
        """Newest minute first."""

    def talkers(self, chosen: FlowFilter, limit: int, *, by_bytes: bool) -> Sequence[Talker]:
        """The largest first."""

    def edges(self, chosen: FlowFilter, new_since: int, page: Page) -> Paged[SeenEdge]:
        """The newest first seen first. new_since: nobody of the two sides tried that port of the
        other before then."""


class Storage(
    FleetStorage,
    EnrolmentStorage,
    HostStorage,
    PolicyStorage,
    OperationStorage,
    FlowStorage,
    Protocol,
):
    """All of it. Take the part that you need."""
