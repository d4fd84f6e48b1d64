# SPDX-License-Identifier: Apache-2.0
"""The version that this source is of. A test holds it and `pyproject.toml` equal."""

VERSION = "0.1.0"
