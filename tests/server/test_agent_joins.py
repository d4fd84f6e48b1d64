# SPDX-License-Identifier: Apache-2.0
"""`cordon-agent join` against a real controller, and what the identity it leaves is good for."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509

from agent.core import stream
from agent.core.events import Event
from agent.edge import enrolment_client, identity_files
from agent.edge.control_link import ControlLink
from agent.edge.enrolment_client import EnrolmentError
from agent.edge.failpoint import VARIABLE
from agent.edge.identity_files import IdentityError
from controller import ca
from controller.access_records import HostGrant
from controller.storage import Storage
from tests.server import client
from tests.server.served import ROOT, START_SECONDS, Served, Site
from tests.store import making

MINUTE = 60.0


@dataclass
class Place:
    """A controller, and an agent's folder."""

    served: Served
    folder: Path

    @property
    def identity(self) -> Path:
        return self.folder / "state" / "default" / "identity"

    def token(self, name: str = "web-1", pin: bytes | None = None, *, replace: bool = False) -> str:
        with self.served.site.store() as storage:
            right = ca.spki_pin(client.authority(storage).certificate)
            grant = HostGrant(name, {"role": "web"}, replace=replace)
            sent = client.host_token(storage, grant, int(time.time()))
        return f"{sent}.{_base64(right if pin is None else pin)}"

    def join(
        self, token: str, *options: str, failpoint: str = ""
    ) -> subprocess.CompletedProcess[str]:
        config = self.folder / "agent.toml"
        config.write_text(f'host_name = "x"\nstate_dir = "{self.folder / "state"}"\n')
        file = self.folder / "token"
        file.write_text(token + "\n")
        argv = [sys.executable, "-m", "agent.cli.agent", "join", "--config", str(config),
                "--token-file", str(file), "--controller",
                f"localhost:{self.served.enrolment}", *options]  # fmt: skip
        env = {**os.environ, **({VARIABLE: failpoint} if failpoint else {})}
        return subprocess.run(
            argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=START_SECONDS,
            check=False,
        )  # fmt: skip

    def joined(self) -> identity_files.Identity:
        done = self.join(self.token())
        assert done.returncode == 0, done.stderr
        self.point_to_main()
        return identity_files.load(self.identity)

    def point_to_main(self) -> None:
        """The controller took a free port and could not advertise it."""
        held = identity_files.load(self.identity)
        main = (f"localhost:{self.served.main}",)
        identity_files.save_controllers(self.identity, held, main)


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    site = Site(tmp_path / "ctl")
    site.folder.mkdir()
    site.write()
    site.init()
    with Served(site) as served:
        yield Place(served, tmp_path)


def hosts(storage: Storage) -> set[str]:
    return {row.name for row in storage.fleet().hosts}


def test_a_host_joins_and_its_files_are_its_own(place: Place) -> None:
    done = place.join(place.token())
    assert done.returncode == 0, done.stderr
    assert "as host web-1 (1)" in done.stdout
    held = identity_files.load(place.identity)
    assert (held.host_name, held.host, held.trust_domain) == ("web-1", 1, "example.org")
    names = x509.load_pem_x509_certificate(held.chain).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    uris = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    assert uris == ["spiffe://example.org/host/web-1"]
    files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in place.identity.iterdir()}
    assert files == dict.fromkeys(
        ("host.key", "host.crt", "roots.crt", "policy.keys", "host.json"), 0o600
    )
    assert stat.S_IMODE(place.identity.stat().st_mode) == 0o700
    log = place.served.text
    assert place.folder.joinpath("token").read_text().split(".")[2] not in log


def test_a_controller_of_another_authority_is_not_sent_the_token(place: Place) -> None:
    done = place.join(place.token(pin=bytes(32)))
    assert done.returncode == 1
    assert "does not show the authority that the token was made by" in done.stderr
    assert not identity_files.exists(place.identity)
    with place.served.site.store() as storage:
        assert hosts(storage) == set()
    assert "a token was refused" not in place.served.text


def test_a_token_is_good_once_and_again_for_the_same_key_alone(place: Place) -> None:
    token = place.token()
    assert place.join(token).returncode == 0
    key = (place.identity / identity_files.KEY).read_bytes()
    (place.identity / identity_files.ABOUT).unlink()  # as if the answer had been lost
    (place.identity / identity_files.NEXT_KEY).write_bytes(key)
    again = place.join(token)
    assert again.returncode == 0, again.stderr
    assert identity_files.load(place.identity).host == 1
    (place.identity / identity_files.ABOUT).unlink()
    other = place.join(token)
    assert other.returncode == 1
    assert "TOKEN_INVALID" in other.stderr


CUT_OFF = (
    *(f"file.before-rename@{number}:kill" for number in range(1, 7)),
    "identity.after-certificate:kill",
    "identity.after-key:kill",
)


def test_a_join_that_was_cut_off_anywhere_is_repeated_with_the_same_token(place: Place) -> None:
    for number, point in enumerate(CUT_OFF, start=1):
        name = f"web-{number}"
        token = place.token(name)
        assert place.join(token, failpoint=point).returncode == -signal.SIGKILL, point
        assert not identity_files.exists(place.identity), point
        again = place.join(token)
        assert again.returncode == 0, (point, again.stderr)
        assert identity_files.load(place.identity).host_name == name
        names = {file.name for file in place.identity.iterdir()}
        assert names == {"host.key", "host.crt", "roots.crt", "policy.keys", "host.json"}, point
        shutil.rmtree(place.identity)


def test_a_join_that_was_cut_off_after_its_last_file_is_a_join(place: Place) -> None:
    done = place.join(place.token(), failpoint="identity.before-cleaning:kill")
    assert done.returncode == -signal.SIGKILL
    assert identity_files.load(place.identity).host == 1


def test_who_has_joined_is_not_joined_again_by_mistake(place: Place) -> None:
    place.joined()
    before = (place.identity / identity_files.CERTIFICATE).read_bytes()
    done = place.join(place.token(replace=True))
    assert done.returncode == 2
    assert "has joined already" in done.stderr
    assert (place.identity / identity_files.CERTIFICATE).read_bytes() == before
    anew = place.join(place.token(replace=True), "--replace")
    assert anew.returncode == 0, anew.stderr
    assert identity_files.load(place.identity).host == 2, "a number is given once"


def test_another_name_than_the_tokens_is_refused(place: Place) -> None:
    done = place.join(place.token("web-1"), "--name", "db-1")
    assert done.returncode == 1
    assert "NAME_NOT_GRANTED" in done.stderr


def test_what_is_no_token_is_refused_before_anybody_is_asked(place: Place) -> None:
    done = place.join("cordon1.abc")
    assert done.returncode == 2
    assert "this is no token" in done.stderr


# Renewing.


def linked(place: Place, command: stream.StreamCommand) -> Event:
    """What comes of a command that a link carries out in the background."""

    async def run() -> Event:
        told: asyncio.Queue[Event] = asyncio.Queue()
        link = ControlLink(
            place.identity, place.folder / "cache", lifeline=False, tell=told.put_nowait
        )
        link.execute(command)
        try:
            return await asyncio.wait_for(told.get(), MINUTE)
        finally:
            await link.close()

    return asyncio.run(run())


def test_a_certificate_is_renewed_with_a_new_key_and_both_are_good_meanwhile(place: Place) -> None:
    before = place.joined()
    event = linked(place, stream.RenewCertificate())
    assert isinstance(event, stream.CertificateRenewed), event
    assert event.key_set is None
    place.point_to_main()
    after = identity_files.load(place.identity)
    assert after.key != before.key
    assert after.chain != before.chain
    assert (after.host, after.host_name) == (before.host, before.host_name)
    assert not (place.identity / identity_files.NEXT_KEY).exists()
    for held in (before, after):
        key = identity_files.next_key(place.identity, fresh=True)
        main = f"localhost:{place.served.main}"
        assert enrolment_client.renew(main, held, key).credentials.expires > time.time()


def test_a_renewal_that_fails_leaves_the_identity_as_it_was(place: Place) -> None:
    before = place.joined()
    with place.served.site.store() as storage:
        storage.revoke_host("web-1", making.OPERATOR, "stolen", int(time.time()))
    event = linked(place, stream.RenewCertificate())
    assert isinstance(event, stream.CertificateNotRenewed)
    assert "REVOKED" in event.reason
    assert identity_files.load(place.identity) == before


def test_a_host_that_loses_its_power_between_two_files_has_lost_nothing(place: Place) -> None:
    held = place.joined()
    key = identity_files.next_key(place.identity, fresh=True)
    assert identity_files.load(place.identity) == held, "before the certificate"
    main = f"localhost:{place.served.main}"
    answer = enrolment_client.renew(main, held, key)
    (place.identity / identity_files.CERTIFICATE).write_bytes(answer.credentials.certificate_chain)
    assert identity_files.load(place.identity).key == key, "after it, before the key's own place"
    (place.identity / identity_files.NEXT_KEY).unlink()
    with pytest.raises(IdentityError, match="no key fits the certificate"):
        identity_files.load(place.identity)


# Who is refused.


def test_nobody_is_believed_who_is_not_of_the_pinned_authority(place: Place) -> None:
    held = place.joined()
    foreign = ca.new_authority("example.org", int(time.time()), 5)
    with pytest.raises(EnrolmentError, match="UNAVAILABLE"):
        enrolment_client.renew(
            f"localhost:{place.served.main}",
            replace(held, roots=foreign.pem),
            identity_files.next_key(place.identity, fresh=True),
        )


def test_a_port_where_nobody_listens_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(EnrolmentError, match=f"127.0.0.1:{port} cannot be reached"):
        enrolment_client.authority_by_pin(f"127.0.0.1:{port}", bytes(32))


@pytest.mark.parametrize("text", ["", "host", "host:", ":7441", "host:0", "host:70000", "host:x"])
def test_what_is_no_endpoint_is_refused(text: str) -> None:
    with pytest.raises(EnrolmentError, match="expected HOST:PORT"):
        enrolment_client.endpoint(text)


def test_host_json_that_is_torn_is_named(place: Place) -> None:
    place.joined()
    path = place.identity / identity_files.ABOUT
    about = json.loads(path.read_text())
    for torn in ("{", json.dumps({**about, "host": 0}), json.dumps({**about, "controllers": []})):
        path.write_text(torn)
        with pytest.raises(IdentityError, match="identity cannot be read"):
            identity_files.load(place.identity)
