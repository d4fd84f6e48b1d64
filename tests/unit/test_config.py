# SPDX-License-Identifier: Apache-2.0
"""What agent.toml may say, and how it is told what it may not."""

from pathlib import Path

import pytest

from agent.config import KEYS, ConfigError, parse_config
from agent.edge.config_file import read_config

GOOD: dict[str, object] = {
    "host_name": "a",
    "snapshot": "/etc/cordon/host.snapshot",
    "policy_key": "/etc/cordon/policy.pub",
}


def test_defaults_are_those_of_one_agent_for_the_whole_host() -> None:
    config = parse_config(GOOD, "agent.toml")
    assert config.instance == "default"
    assert config.cgroup_root is None
    assert config.pins == Path("/sys/fs/bpf/cordon/default")
    assert config.socket == Path("/run/cordon/default.sock")
    assert config.cache == Path("/var/lib/cordon/default/policy.cache")


def test_instance_has_its_own_pins_state_and_sockets() -> None:
    config = parse_config({**GOOD, "instance": "b", "run_dir": "/r", "bpffs": "/f"}, "agent.toml")
    assert (config.pins, config.socket, config.lock) == (
        Path("/f/cordon/b"), Path("/r/b.sock"), Path("/r/b.lock"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("instance", "a/b", "letters, digits"),
        ("instance", "..", "letters, digits"),
        ("instance", 1, "letters, digits"),
        ("snapshot", "relative", "absolute path"),
        ("run_dir", 5, "absolute path"),
        ("bpffs", "/a\0b", "absolute path"),
        ("hold_limit_ms", "10", "whole number from 1 to 60000"),
        ("hold_limit_ms", True, "whole number"),
        ("hold_limit_ms", 0, "whole number"),
        ("flow_history", -1, "whole number"),
        ("host_name", " ", "a name"),
    ],
)
def test_wrong_value_is_refused_with_file_key_and_what_was_expected(
    key: str, value: object, expected: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^agent\.toml: {key} is .*{expected}"):
        parse_config({**GOOD, key: value}, "agent.toml")


def test_unknown_key_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'snapshots', expected one of .*snapshot"):
        parse_config({**GOOD, "snapshots": "/x"}, "agent.toml")


def test_missing_key_is_named() -> None:
    table = {name: value for name, value in GOOD.items() if name != "host_name"}
    with pytest.raises(ConfigError, match="the key 'host_name' is missing"):
        parse_config(table, "agent.toml")


@pytest.mark.parametrize("key", ["snapshot", "policy_key"])
def test_snapshot_and_its_key_come_together(key: str) -> None:
    table = {name: value for name, value in GOOD.items() if name != key}
    with pytest.raises(ConfigError, match="snapshot and policy_key together, or neither"):
        parse_config(table, "agent.toml")


def test_without_a_snapshot_policy_comes_from_the_controller_that_the_host_joined() -> None:
    config = parse_config({"host_name": "a", "controller_lifeline": False}, "agent.toml")
    assert (config.snapshot, config.policy_key) == (None, None)
    assert config.identity == Path("/var/lib/cordon/default/identity")
    assert not config.controller_lifeline
    with pytest.raises(ConfigError, match="controller_lifeline is 1, expected true or false"):
        parse_config({"host_name": "a", "controller_lifeline": 1}, "agent.toml")


def test_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text("".join(f'{key} = "{value}"\n' for key, value in GOOD.items()))
    assert read_config(path).host_name == "a"


def test_file_that_is_not_toml_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text("host_name = \n")
    with pytest.raises(ConfigError, match=r"agent\.toml: is not TOML: .*line 1"):
        read_config(path)


def test_missing_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [("127.0.0.1:9420", "127.0.0.1:9420"), ("[::1]:1", "[::1]:1"), ("0.0.0.0:65535", None)],
)
def test_metrics_are_served_at_an_address_or_not_at_all(text: str, said: str | None) -> None:
    endpoint = parse_config({**GOOD, "metrics": text}, "agent.toml").metrics
    assert str(endpoint) == (said or text)
    assert endpoint is not None
    assert endpoint.loopback is (said is not None)
    assert parse_config({**GOOD, "metrics": "off"}, "agent.toml").metrics is None


@pytest.mark.parametrize(
    "value", ["localhost:1", "127.0.0.1", "127.0.0.1:65536", "::1:9420", "[127.0.0.1]:1", "", 9420]
)
def test_metrics_endpoint_that_is_none_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"metrics is .*expected an address with a port"):
        parse_config({**GOOD, "metrics": value}, "agent.toml")


def test_certificate_without_its_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="metrics_certificate and metrics_key together"):
        parse_config({**GOOD, "metrics_certificate": "/c.pem"}, "agent.toml")


def test_log_level_is_one_of_four() -> None:
    assert parse_config(GOOD, "agent.toml").log_level == "info"
    assert parse_config({**GOOD, "log_level": "debug"}, "agent.toml").log_level == "debug"
    with pytest.raises(ConfigError, match="log_level is 'loud', expected one of debug, info"):
        parse_config({**GOOD, "log_level": "loud"}, "agent.toml")


def test_every_setting_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "agent.md").read_text()
    assert [key for key in KEYS if f"`{key}`" not in text] == []
