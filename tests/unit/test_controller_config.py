# SPDX-License-Identifier: Apache-2.0
"""`controller.toml`: what may stand in it, and the sentence for what may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.config import ConfigError, ControllerConfig, parse_config

LEAST: dict[str, object] = {
    "name": "ctl-1",
    "advertise": ["ctl.example.org:7440"],
    "names": ["ctl.example.org", "192.0.2.1"],
}


def _parse(**more: object) -> ControllerConfig:
    return parse_config({**LEAST, **more}, "controller.toml")


def test_the_rest_has_defaults() -> None:
    config = _parse()
    assert (config.listen, config.listen_enrolment) == ("[::]:7440", "[::]:7441")
    assert config.database_url == "sqlite:////var/lib/cordon-controller/cordon.db"
    assert config.master_key == Path("/var/lib/cordon-controller/master.key")
    assert not config.reflection


def test_everything_can_be_said() -> None:
    url = "postgresql+psycopg://cordon@db.example.org/cordon"
    config = _parse(
        listen="127.0.0.1:1", listen_enrolment="localhost:0", listen_metrics="", database=url,
        reflection=True, state_dir="/srv/x", max_syncing=1, max_streams=2,
    )  # fmt: skip
    assert (config.database_url, config.state_dir) == (url, Path("/srv/x"))


@pytest.mark.parametrize("key", sorted(LEAST))
def test_what_must_be_there_is_named(key: str) -> None:
    table = {name: value for name, value in LEAST.items() if name != key}
    with pytest.raises(ConfigError, match=f"controller.toml: the key '{key}' is missing"):
        parse_config(table, "controller.toml")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("nmae", "x", "unknown key 'nmae', expected one of advertise, "),
        ("name", "Ctl 1", "expected a name"),
        ("name", 7, "expected a name"),
        ("listen", "7440", 'expected "HOST:PORT"'),
        ("listen", "0.0.0.0:65536", 'expected "HOST:PORT"'),
        ("listen", "unix:/x", 'expected "HOST:PORT"'),
        ("listen", ":::7440", 'expected "HOST:PORT"'),
        ("listen", "[::1]:٣", 'expected "HOST:PORT"'),
        ("advertise", [], "a list of 1 to 8 texts"),
        ("advertise", ["x:1"] * 9, "a list of 1 to 8 texts"),
        ("advertise", ["x:0"], "expected ports from 1"),
        ("names", ["*.example.org"], "expected DNS names and addresses"),
        ("names", ["ctl\n"], "expected DNS names and addresses"),
        ("state_dir", "relative", "an absolute path"),
        ("database", "postgresql://x", "expected an URL postgresql"),
        ("reflection", 1, "true or false"),
        ("max_syncing", 0, "from 1 to 10000"),
        ("max_streams", True, "from 1 to 1000000"),
    ],
)
def test_what_is_wrong_is_named_with_what_was_expected(
    key: str, value: object, expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        _parse(**{key: value})
    assert str(caught.value).startswith("controller.toml: ")
    assert expected in str(caught.value)


def test_a_password_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        _parse(database="mysql://cordon:geheim@x/y")
    assert "geheim" not in str(caught.value)
