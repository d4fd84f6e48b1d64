# SPDX-License-Identifier: Apache-2.0
"""Values for people, as Grafana writes them by the unit of a panel. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Step = tuple[float, str]

_TIMES: Sequence[Step] = (
    (86400.0, " days"), (3600.0, " h"), (60.0, " min"), (1.0, " s"), (1e-3, " ms"), (1e-6, " us"),
)  # fmt: skip
_BYTES: Sequence[Step] = ((2.0**30, " GiB"), (2.0**20, " MiB"), (2.0**10, " KiB"), (1.0, " B"))
_PLAIN: Sequence[Step] = ((1e9, " G"), (1e6, " M"), (1e3, " K"), (1.0, ""), (1e-3, " m"))


def _scaled(value: float, steps: Sequence[Step]) -> str:
    size = abs(value)
    factor, unit = next((step for step in steps if size >= step[0]), steps[-1])
    if not size:
        factor, unit = next(step for step in steps if step[0] == 1.0)
    return f"{_short(value / factor)}{unit}"


def _short(value: float) -> str:
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _rate(what: str) -> Callable[[float], str]:
    return lambda value: f"{_short(value)} {what}"


FORMATS: dict[str, Callable[[float], str]] = {
    "none": _short,
    "short": lambda value: _scaled(value, _PLAIN),
    "s": lambda value: _scaled(value, _TIMES),
    "bytes": lambda value: _scaled(value, _BYTES),
    "percentunit": lambda value: f"{_short(value * 100)} %",
    "ops": _rate("ops/s"),
    "reqps": _rate("req/s"),
    "cps": _rate("c/s"),
}


def text(value: float, unit: str) -> str:
    """Raises ValueError for a unit that is not known."""
    if unit not in FORMATS:
        raise ValueError(f"nothing writes the unit {unit!r} yet: add it to units.py")
    return FORMATS[unit](value)
