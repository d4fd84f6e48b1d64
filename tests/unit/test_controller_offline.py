# SPDX-License-Identifier: Apache-2.0
"""The offline compile on real files: modes, atomicity, and state that must not be lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.core.model import Snapshot
from agent.core.snapshot import check
from agent.edge import snapshot_codec
from controller import files, offline, signing
from controller.files import StateError
from controller.problems import InputRefused
from tests.unit.policies import BASE, HOSTS, NOW, WEB_TO_DB


class Site:
    """A folder with an inventory, a policy and the output."""

    def __init__(self, folder: Path) -> None:
        self.inventory, self.policy, self.out = (
            folder / "hosts.yaml", folder / "policy", folder / "out",
        )  # fmt: skip
        self.state = self.out / "state"
        self.inventory.write_text(HOSTS)
        self.policy.mkdir()
        self.write(BASE + WEB_TO_DB)

    def write(self, text: str, name: str = "p.yaml") -> None:
        (self.policy / name).write_text(text)

    def compile(self, now: int | None = NOW) -> offline.Result:
        return offline.compile_files(self.inventory, self.policy, self.out, self.state, now)

    def open(self, host: str) -> Snapshot:
        key = signing.load_public((self.out / "policy.pub").read_bytes())
        content = (self.out / f"{host}.snapshot").read_bytes()
        return snapshot_codec.decode(snapshot_codec.unseal(content, key))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_every_host_gets_a_snapshot_that_its_agent_takes(site: Site) -> None:
    result = site.compile()
    assert set(result.files) == {"a", "b", "c"}
    for host in result.files:
        assert check(site.open(host), host=host, now=NOW) is None


def test_nothing_that_is_written_is_readable_by_others(site: Site) -> None:
    site.compile()
    modes = {p.relative_to(site.out).as_posix(): p.stat().st_mode & 0o777
             for p in site.out.rglob("*")}  # fmt: skip
    assert modes.pop("state") == 0o700
    assert set(modes.values()) == {0o600}
    assert {"a.snapshot", "policy.pub", "state/root.key", "state/signing.key"} <= set(modes)


def test_a_second_compile_goes_on_from_the_first(site: Site) -> None:
    site.compile()
    first = site.open("b")
    site.compile()
    second = site.open("b")
    assert (first.version, second.version) == (1, 2)
    assert first.receive_secrets == second.receive_secrets
    assert first.rules == second.rules


def test_refused_input_writes_nothing(site: Site) -> None:
    site.write("kind: Nonsense\n")
    with pytest.raises(InputRefused):
        site.compile()
    assert not site.out.exists()


def test_refused_input_leaves_the_last_good_output(site: Site) -> None:
    site.compile()
    before = {p: p.read_bytes() for p in site.out.rglob("*") if p.is_file()}
    site.write(
        "kind: Allow\nname: x\nfrom: {segment: gone}\nto: {any: true}\nports: [any]\n", "q.yml"
    )
    with pytest.raises(InputRefused, match=r"q\.yml:3: from\.segment: there is no Segment gone"):
        site.compile()
    assert {p: p.read_bytes() for p in site.out.rglob("*") if p.is_file()} == before


def test_mistakes_in_inventory_and_policy_are_told_together(site: Site) -> None:
    site.inventory.write_text("hosts: []\n")
    site.write("a: [\n", "broken.yaml")
    site.write("kind: Segment\nname: x\n", "short.yaml")
    with pytest.raises(InputRefused) as caught:
        site.compile()
    told = str(caught.value)
    for part in ("trust_domain: this field is missing", "broken.yaml:2: not valid YAML",
                 "short.yaml:1: mode: this field is missing"):  # fmt: skip
        assert part in told


def test_missing_input_is_named(site: Site) -> None:
    for path in site.policy.iterdir():
        path.unlink()
    site.inventory.unlink()
    with pytest.raises(InputRefused) as caught:
        site.compile()
    assert "hosts.yaml: expected a file; there is none" in str(caught.value)
    assert "policy: expected at least one file *.yaml; there is none" in str(caught.value)


def test_hidden_files_are_no_policy(site: Site) -> None:
    site.write("nonsense", ".p.yaml.swp.yaml")
    (site.policy / ".git").mkdir()
    site.write("nonsense", ".git/x.yaml")
    (site.policy / "sub").mkdir()
    site.write("kind: Segment\nname: deep\nmode: off\n", "sub/deep.yaml")
    assert len(offline.read_policy(site.policy).placed) == 8


@pytest.mark.parametrize("name", ["root.key", "signing.key", "allocations.json"])
def test_a_state_file_that_is_gone_is_not_replaced(site: Site, name: str) -> None:
    site.compile()
    (site.state / name).unlink()
    with pytest.raises(StateError, match=r"restore it"):
        site.compile()


def test_a_state_folder_that_is_gone_is_not_replaced(site: Site) -> None:
    site.compile()
    site.state.rename(site.out.parent / "elsewhere")
    with pytest.raises(StateError, match="not the state that they were made with"):
        site.compile()


def test_a_secret_that_others_can_read_is_refused(site: Site) -> None:
    site.compile()
    (site.state / "root.key").chmod(0o644)
    with pytest.raises(StateError, match=r"root\.key: expected mode 0600, got 0644"):
        site.compile()


def test_a_torn_secret_is_refused(site: Site) -> None:
    site.compile()
    (site.state / "root.key").write_bytes(b"x")
    with pytest.raises(StateError, match=r"root\.key: expected 32 bytes, got 1"):
        site.compile()


def test_two_compiles_do_not_share_one_state(site: Site) -> None:
    site.compile()
    with files.locked(site.state), pytest.raises(StateError, match="another compile uses"):
        site.compile()


def test_a_snapshot_of_a_host_that_is_gone_is_pointed_out(site: Site) -> None:
    site.compile()
    site.inventory.write_text("\n".join(HOSTS.splitlines()[:-1]) + "\n")
    assert [path.name for path in site.compile().stale] == ["c.snapshot"]


def test_a_failed_write_leaves_no_half_file(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(StateError, match="x: cannot be written"):
        files.write_private(tmp_path / "x", b"content")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
