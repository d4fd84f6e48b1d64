# SPDX-License-Identifier: Apache-2.0
"""Which cgroup paths are containers, and what runtimes' files say of them."""

import json
import os
from pathlib import Path

import pytest

from agent.core.containers import Container, container_of
from agent.edge import runtimes
from agent.edge.runtimes import RuntimeFiles

ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("cgroup", "runtime"),
    [
        (f"/system.slice/docker-{ID}.scope", "docker"),
        (f"/system.slice/docker-{ID}.scope/nested/deeper", "docker"),
        (f"/docker/{ID}", "docker"),
        (f"/machine.slice/libpod-{ID}.scope/container", "podman"),
        (f"/libpod_parent/libpod-{ID}", "podman"),
        (f"/kubepods.slice/kubepods-burstable.slice/cri-containerd-{ID}.scope", "containerd"),
        (f"/kubepods/besteffort/pod0f-1a/{ID}", "containerd"),
        (f"/system.slice/nerdctl-{ID}.scope", "containerd"),
        (f"/default/{ID}", "containerd"),
    ],
)
def test_container_is_read_from_the_path(cgroup: str, runtime: str) -> None:
    assert container_of(cgroup) == Container(runtime, ID)


@pytest.mark.parametrize(
    ("cgroup", "machine"),
    [
        ("/machine.slice/machine-web.scope/payload", "web"),
        (r"/machine.slice/machine-web\x2d1.scope", "web-1"),
        ("/machine.slice/systemd-nspawn@db.service/payload/init.scope", "db"),
    ],
)
def test_machine_of_nspawn_is_its_name(cgroup: str, machine: str) -> None:
    assert container_of(cgroup) == Container("nspawn", machine)


@pytest.mark.parametrize(
    "cgroup",
    [
        "/",
        "/system.slice/web.service",
        f"/system.slice/docker-{ID[:12]}.scope",
        f"/system.slice/docker-{ID}.scope.d",
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
        f"/user.slice/user-1000.slice/user@1000.service/docker-{ID}.scope",
        f"/system.slice/web.service/libpod-payload-{ID}",
        f"/system.slice/web.service/docker/{ID}",
    ],
)
def test_what_a_user_could_name_is_no_container(cgroup: str) -> None:
    assert container_of(cgroup) is None


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def test_docker_says_name_and_image(tmp_path: Path) -> None:
    path = tmp_path / f"var/lib/docker/containers/{ID}/config.v2.json"
    write(path, {"ID": ID, "Name": "/web", "Config": {"Image": "nginx:1.25"}})
    files = RuntimeFiles(tmp_path)
    assert files.names(Container("docker", ID)) == ("web", "nginx:1.25")
    write(path, {"ID": ID, "Name": "/renamed", "Config": {"Image": "nginx:1.25"}})
    os.utime(path, ns=(1, 1))
    assert files.names(Container("docker", ID)) == ("renamed", "nginx:1.25")


def test_podman_says_name_and_image(tmp_path: Path) -> None:
    entry = {"id": ID, "names": ["db"], "metadata": json.dumps({"image-name": "postgres:15"})}
    write(tmp_path / "var/lib/containers/storage/overlay-containers/containers.json", [entry])
    assert RuntimeFiles(tmp_path).names(Container("podman", ID)) == ("db", "postgres:15")
    assert RuntimeFiles(tmp_path).names(Container("podman", "f" * 64)) == ("", "")


def test_containerd_says_what_its_annotations_say(tmp_path: Path) -> None:
    task = tmp_path / "run/containerd/io.containerd.runtime.v2.task/k8s.io" / ID / "config.json"
    notes = {"io.kubernetes.cri.container-name": "api", "io.kubernetes.cri.image-name": "api:7"}
    write(task, {"annotations": notes})
    assert RuntimeFiles(tmp_path).names(Container("containerd", ID)) == ("api", "api:7")


@pytest.mark.parametrize("content", ["", "[", "[]", "{}", '{"ID": 5}', '"text"', "null"])
def test_file_that_is_not_as_expected_names_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / f"var/lib/docker/containers/{ID}/config.v2.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    assert RuntimeFiles(tmp_path).names(Container("docker", ID)) == ("", "")


def test_file_beyond_the_bound_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "MAX_BYTES", 10)
    path = tmp_path / f"var/lib/docker/containers/{ID}/config.v2.json"
    write(path, {"ID": ID, "Name": "/web"})
    assert RuntimeFiles(tmp_path).names(Container("docker", ID)) == ("", "")
