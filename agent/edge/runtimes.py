# SPDX-License-Identifier: Apache-2.0
"""Names and images of containers, from the files that runtimes keep. Nobody's daemon is asked.

The files are root's; what they say is as good as root's word. Each is read once for each version
of it, and only up to a bound; a file that is missing, too large or not as expected leaves the
container without a name, so that a selector by name does not hold.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.core.containers import Container
from agent.edge.scarcity import is_scarcity

MAX_BYTES = 8 * 1024 * 1024
_KEPT = 4096

_DOCKER = "var/lib/docker/containers/{id}/config.v2.json"
_PODMAN = "var/lib/containers/storage/{kind}-containers/containers.json"
_PODMAN_KINDS = ("overlay", "vfs", "btrfs", "zfs")
_CONTAINERD = "run/containerd/io.containerd.runtime.v2.task"
_NAME_NOTES = ("io.kubernetes.cri.container-name", "nerdctl/name")
_IMAGE_NOTES = ("io.kubernetes.cri.image-name",)

Said = tuple[str, str]
_NOTHING: Said = ("", "")
_Version = tuple[int, int, int]


@dataclass
class RuntimeFiles:
    """root: of the host's file system."""

    root: Path = Path("/")
    _said: dict[Path, tuple[_Version, dict[str, Said]]] = field(default_factory=dict, repr=False)

    def names(self, container: Container) -> Said:
        """(name, image), each empty if the files do not tell.

        Raises OSError for want of descriptors or memory: nothing is kept of that.
        """
        if container.runtime == "docker":
            path = self.root / _DOCKER.format(id=container.id)
            return self._ask(path, container.id, _docker)
        if container.runtime == "podman":
            return self._podman(container.id)
        if container.runtime == "containerd":
            return self._containerd(container.id)
        return container.id, ""

    def _podman(self, id_: str) -> Said:
        for kind in _PODMAN_KINDS:
            said = self._ask(self.root / _PODMAN.format(kind=kind), id_, _podman)
            if said != _NOTHING:
                return said
        return _NOTHING

    def _containerd(self, id_: str) -> Said:
        try:
            namespaces = sorted(os.listdir(self.root / _CONTAINERD))
        except OSError as error:
            if is_scarcity(error):
                raise
            return _NOTHING
        for namespace in namespaces:
            path = self.root / _CONTAINERD / namespace / id_ / "config.json"
            said = self._ask(path, id_, lambda found: _containerd(id_, found))
            if said != _NOTHING:
                return said
        return _NOTHING

    def _ask(self, path: Path, id_: str, parse: Callable[[Any], dict[str, Said]]) -> Said:
        try:
            found = path.stat()
        except OSError:
            self._said.pop(path, None)
            return _NOTHING
        version = (found.st_ino, found.st_mtime_ns, found.st_size)
        known = self._said.get(path)
        if known is None or known[0] != version:
            if len(self._said) >= _KEPT:
                self._said.clear()
            known = self._said[path] = (version, _parsed(path, parse))
        return known[1].get(id_, _NOTHING)


def _parsed(path: Path, parse: Callable[[Any], dict[str, Said]]) -> dict[str, Said]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        return parse(json.loads(content)) if len(content) <= MAX_BYTES else {}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        if is_scarcity(error):
            raise
        return {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _docker(found: Any) -> dict[str, Said]:
    name = _text(found.get("Name")).removeprefix("/")
    return {found["ID"]: (name, _text((found.get("Config") or {}).get("Image")))}


def _podman(found: Any) -> dict[str, Said]:
    said: dict[str, Said] = {}
    for entry in found:
        notes = json.loads(entry.get("metadata") or "{}")
        names = entry.get("names") or [""]
        said[entry["id"]] = (_text(names[0]), _text(notes.get("image-name")))
    return said


def _containerd(id_: str, found: Any) -> dict[str, Said]:
    notes = found.get("annotations") or {}
    name = next((_text(notes[n]) for n in _NAME_NOTES if n in notes), "")
    image = next((_text(notes[n]) for n in _IMAGE_NOTES if n in notes), "")
    return {id_: (name, image)}
