# SPDX-License-Identifier: Apache-2.0
"""Programs that people run: each ends with the identity that docs/identity.md says."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import cannot_run
from tests.kernel.identities import Host, one_host, policy, racer, read_line, workload
from tests.lab import LabProcess, wait_until

WEB_PORT, DB_PORT = 8080, 5433
PYTHON = str(Path("/usr/bin/python3").resolve())

NGINX = f"""
user www-data;
daemon off;
worker_processes 2;
pid {{folder}}/nginx.pid;
error_log {{folder}}/nginx.log;
events {{{{}}}}
http {{{{
    access_log off;
    client_body_temp_path {{folder}}/body;
    proxy_temp_path {{folder}}/proxy;
    server {{{{ listen 127.0.0.1:{WEB_PORT}; return 200 "served\\n"; }}}}
}}}}
"""


def allow(name: str, client: str, server: str, port: int) -> str:
    return (
        f"---\nkind: Allow\nname: {name}\nfrom: {{workload: {client}}}\n"
        f"to: {{workload: {server}}}\nports: [tcp/{port}]\n"
    )


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with racer() as made:
        shutil.copy(made / "racer", made / "tick")
        yield made


@pytest.fixture(scope="module")
def postgres_bin() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        cannot_run("needs PostgreSQL: make setup")
    return found[-1].parent


@pytest.fixture(scope="module")
def host(folder: Path, postgres_bin: Path) -> Iterator[Host]:
    text = policy(
        workload("database", f"exe: {postgres_bin}/postgres, user: postgres"),
        workload("nginx", "unit: nginx.service"),
        workload("fetch", "unit: fetch.service"),
        workload("report", f"unit: report.service, exe: {PYTHON}"),
        workload("tick", f"exe: {folder}/tick"),
        workload("psql", f"exe: {postgres_bin}/psql"),
        allow("fetch-web", "fetch", "nginx", WEB_PORT),
        allow("report-web", "report", "nginx", WEB_PORT),
        allow("tick-web", "tick", "nginx", WEB_PORT),
        allow("psql-db", "psql", "database", DB_PORT),
    )
    with one_host(text) as running:
        yield running


@pytest.fixture(scope="module")
def nginx(host: Host, folder: Path) -> LabProcess:
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder))
    process = host.lab.spawn(["/usr/sbin/nginx", "-c", str(config)], "nginx.service")
    wait_until(lambda: "listen" in states(host, process.pid), "nginx listens", timeout=20)
    return process


def states(host: Host, pid: int) -> list[str]:
    return [one.state for one in host.agent.sockets(pid)]


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(word) for word in text.split()]


def test_nginx_master_and_workers_are_one_workload(host: Host, nginx: LabProcess) -> None:
    workers = wait_until(lambda: children(nginx.pid), "nginx has workers")
    wait_until(lambda: all(owner(pid) == "www-data" for pid in workers), "they are www-data's")
    assert {host.settled(pid) for pid in (nginx.pid, *workers)} == {"nginx"}


def owner(pid: int) -> str:
    return Path(f"/proc/{pid}").owner()


def test_shell_script_and_its_curl_are_the_script_s_unit(
    host: Host, nginx: LabProcess, folder: Path
) -> None:
    script = folder / "fetch.sh"
    script.write_text(f"#!/bin/sh\nfor i in 1 2 3; do curl -sS -m 10 127.0.0.1:{WEB_PORT}; done\n")
    script.chmod(0o755)
    done = host.lab.run([str(script)], "fetch.service", timeout=40)
    assert done.stdout == "served\n" * 3, done
    refused = host.lab.run(["curl", "-sS", "-m", "1", f"127.0.0.1:{WEB_PORT}"], "other.service")
    assert refused.returncode == 28, "nobody answers: this curl is of no workload"


def test_python_service_is_told_by_unit_and_interpreter(host: Host, nginx: LabProcess) -> None:
    code = (
        "import time, urllib.request\n"
        f"print(urllib.request.urlopen('http://127.0.0.1:{WEB_PORT}', timeout=10).read())\n"
        "import sys; sys.stdout.flush(); time.sleep(60)"
    )
    service = host.start([PYTHON, "-S", "-c", code], "report.service", user="nobody")
    assert read_line(service) == r"b'served\n'"
    assert host.settled(service.pid) == "report"
    answer = json.loads(host.agent.ctl("whois", str(service.pid), "--output", "json"))
    assert answer["process"]["evidence"] == ["unit=report.service", f"exe={PYTHON}"]
    fetch = next(c for c in answer["candidates"] if c["workload"] == "fetch")
    assert (fetch["selector"], fetch["found"]) == ("unit", "report.service")


def test_job_of_a_few_milliseconds_has_its_identity(
    host: Host, nginx: LabProcess, folder: Path
) -> None:
    """It connects as soon as it runs and is gone with the answer; nginx lets in nobody else."""
    line = f"for i in $(seq 20); do {folder}/tick connect {WEB_PORT} || exit 1; done"
    done = host.lab.run(["/bin/sh", "-c", line], "cron.service", timeout=60)
    assert done.returncode == 0, done


@pytest.fixture
def cluster(postgres_bin: Path) -> Iterator[Path]:
    """A data folder of PostgreSQL, made outside of the lab as the user postgres."""
    parent = Path("/var/tmp/cordon-postgres")
    shutil.rmtree(parent, ignore_errors=True)
    parent.mkdir(mode=0o755)
    shutil.chown(parent, "postgres", "postgres")
    command = [str(postgres_bin / "initdb"), "-D", str(parent / "data"), "-A", "trust", "-N"]
    try:
        subprocess.run(
            command, user="postgres", group="postgres", extra_groups=[], cwd="/", check=True,
            timeout=120, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        yield parent / "data"
    finally:
        shutil.rmtree(parent)


def test_postgres_that_drops_root_and_forks_per_connection(
    host: Host, cluster: Path, postgres_bin: Path
) -> None:
    server = host.lab.spawn(
        ["/usr/sbin/runuser", "-u", "postgres", "--", str(postgres_bin / "postgres"),
         "-D", str(cluster), "-p", str(DB_PORT), "-k", str(cluster)],
        "postgresql.service",
    )  # fmt: skip
    (postmaster,) = wait_until(lambda: children(server.pid), "runuser has started it")
    wait_until(lambda: (cluster / "postmaster.pid").exists(), "it is up", timeout=30)
    host.becomes(postmaster, "database", 20)
    ready = f"{postgres_bin}/pg_isready -q -h {cluster} -p {DB_PORT}"
    wait_until(lambda: host.lab.run(ready.split()).returncode == 0, "it answers", timeout=60)
    names = {host.settled(pid) for pid in children(postmaster)}
    assert names - {""} == {"database"}, "one that recovers the cluster may have ended"
    session = host.start(
        [str(postgres_bin / "psql"), "-h", "127.0.0.1", "-p", str(DB_PORT), "-U", "postgres",
         "-At", "-c", "select pg_backend_pid()", "-c", "select pg_sleep(60)"],
        "app.service",
    )  # fmt: skip
    backend = int(read_line(session))
    assert backend in children(postmaster)
    assert (host.settled(backend), host.owners(backend)) == ("database", ["s/database"])
    assert host.owners(session.pid) == ["s/psql"]
    session.kill9()
    server.stop()
