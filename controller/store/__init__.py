# SPDX-License-Identifier: Apache-2.0
"""The controller's database: everything that a controller knows and another one must know too."""

from controller.store.sql import SqlStorage, open_store, upgrade

__all__ = ["SqlStorage", "open_store", "upgrade"]
