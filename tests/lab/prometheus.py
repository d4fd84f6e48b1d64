# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus on a lab host, as Debian packages it, and its promtool."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.host import LabHost
from tests.lab.process import LabProcess
from tests.lab.waiting import wait_until

ADDRESS = "127.0.0.1:9090"
METRICS = "http://127.0.0.1:9420/metrics"
START_SECONDS = 20.0
_ANSWER_SECONDS = 5.0


@dataclass
class Prometheus:
    """Runs in the unit prometheus.service of its host and ends with the lab."""

    host: LabHost
    process: LabProcess

    @classmethod
    def start(cls, host: LabHost, config: str) -> Prometheus:
        """Returns when it answers."""
        file = host.write_file("prometheus/prometheus.yml", config)
        argv = [
            "/usr/bin/prometheus",
            f"--config.file={file}",
            f"--storage.tsdb.path={file.parent / 'data'}",
            f"--web.listen-address={ADDRESS}",
        ]
        started = cls(host, host.spawn(argv, "prometheus.service"))
        wait_until(started._ready, f"Prometheus on {host.name} answers", timeout=START_SECONDS)
        return started

    def _ready(self) -> bool:
        assert self.process.alive, self.process.output()
        try:
            self._get("/-/ready")
        except OSError:
            return False
        return True

    def _get(self, path: str) -> bytes:
        return http_get(self.host, f"http://{ADDRESS}{path}")

    def query(self, expression: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Labels (without the target's own) -> value, of an instant query."""
        return {
            tuple(
                sorted(
                    (name, value)
                    for name, value in one["metric"].items()
                    if name not in ("__name__", "instance", "job")
                )
            ): float(one["value"][1])
            for one in self._ask("query", query=expression)
        }

    def query_range(
        self, expression: str, begin: float, end: float, step: float
    ) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """Labels (all but the name), and seconds since 1970 with values, of each series."""
        found = self._ask("query_range", query=expression, start=begin, end=end, step=step)
        return [
            (
                {name: value for name, value in one["metric"].items() if name != "__name__"},
                [(float(at), float(value)) for at, value in one["values"]],
            )
            for one in found
        ]

    def _ask(self, what: str, **parameters: str | float) -> list[dict[str, Any]]:
        path = f"/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        answer: list[dict[str, Any]] = json.loads(self._get(path))["data"]["result"]
        return answer


def http_get(host: LabHost, url: str) -> bytes:
    """From inside the host's network, by this process, which no agent looks at.

    Raises OSError, also for an answer that is not 200.
    """

    def work() -> bytes:
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=_ANSWER_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", f"{parts.path}?{parts.query}")
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise OSError(f"{url}: {answer.status} {body.decode(errors='replace')}")
            return body

    return host.inside(work)


def wait_for_metrics(host: LabHost) -> None:
    """Until the agent serves them: it does so once its hooks are attached."""

    def served() -> bool:
        try:
            http_get(host, METRICS)
        except OSError as error:
            return " 401 " in str(error)  # it answers, if not to everybody
        return True

    wait_until(served, f"the agent on {host.name} to serve metrics", timeout=START_SECONDS)


def promtool(*argv: str | Path, input: str = "") -> str:
    """What promtool prints. AssertionError with its words if it finds fault."""
    command: Sequence[str] = ["/usr/bin/promtool", *map(str, argv)]
    done = subprocess.run(
        command, input=input, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    assert not done.stderr.strip(), f"{' '.join(command)}: {done.stderr}"
    return done.stdout
