# SPDX-License-Identifier: Apache-2.0
"""Which container a cgroup is, by the shapes that the runtimes give their cgroups. Pure.

As with units, only what root or a runtime names counts: slices, then one component of a runtime's
shape (with the cgroupfs driver: below a folder at the top that the runtime made). A container of a
user's own manager (rootless) lies below a cgroup that was delegated to the user, who could name
anything so: it is no container here, and its processes are told by user, exe or sha256. The same
goes for containers inside a service's own cgroup (podman's split cgroups): there the unit tells.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

SHORT_ID = 12
"""Digits of an id that people write."""

_SLICES = r"(?:/[^/]+\.slice)*"
_ID = r"(?P<id>[0-9a-f]{64})"
_SHAPES = tuple(
    (runtime, re.compile(shape + r"(?:/.*)?\Z"))
    for runtime, shape in (
        ("docker", rf"{_SLICES}/docker-{_ID}\.scope"),
        ("docker", rf"/docker/{_ID}"),
        ("containerd", rf"{_SLICES}/(?:cri-containerd|nerdctl)-{_ID}\.scope"),
        ("containerd", rf"/kubepods(?:/burstable|/besteffort)?/pod[0-9a-f-]+/{_ID}"),
        ("containerd", rf"/(?:default|k8s\.io|moby)/{_ID}"),
        ("podman", rf"{_SLICES}/libpod-{_ID}\.scope"),
        ("podman", rf"/libpod_parent/libpod-{_ID}"),
        ("nspawn", rf"{_SLICES}/machine-(?P<id>[^/]+)\.scope"),
        ("nspawn", rf"{_SLICES}/systemd-nspawn@(?P<id>[^/]+)\.service"),
    )
)
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
KINDS = ("id", "name", "image")
"""What a selector may ask for by name, "image=nginx:1.*"; without one it is the id or the name."""


@dataclass(frozen=True, slots=True)
class Container:
    """runtime: docker, containerd, podman, nspawn. id: 64 hex digits; of nspawn the machine."""

    runtime: str
    id: str

    def match(self, pattern: str, name: str, image: str) -> str:
        """What of the container the selector meant; empty if it is another one's."""
        kind, wanted = split_pattern(pattern)
        facts = {"id": (self.id, self.id[:SHORT_ID]), "name": (name,), "image": (image,)}
        for asked in (kind,) if kind else ("id", "name"):
            if any(fact and fnmatchcase(fact, wanted) for fact in facts[asked]):
                shown = facts[asked][-1]
                return f"{asked}={shown}" if kind else shown
        return ""

    def describe(self, name: str, image: str) -> str:
        words = (self.id[:SHORT_ID], name, image)
        return f"{self.runtime} {' '.join(word for word in words if word)}"


def split_pattern(pattern: str) -> tuple[str, str]:
    """("image", "nginx:*") of "image=nginx:*"; the kind is empty where none is named."""
    kind, equals, rest = pattern.partition("=")
    return (kind, rest) if equals and kind in KINDS else ("", pattern)


def container_of(cgroup: str) -> Container | None:
    """Of a path below the cgroup root; None outside of any container."""
    for runtime, shape in _SHAPES:
        found = shape.match(cgroup)
        if found:
            name = found["id"]
            return Container(runtime, _unescape(name) if runtime == "nspawn" else name)
    return None


def _unescape(name: str) -> str:
    r"""A unit's name holds "-" as \x2d (systemd.unit(5)); what is no escape stays."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), name)
