# SPDX-License-Identifier: Apache-2.0
"""From the store's rows to what each audience enforces: incremental, and pure.

A change is compiled for what it touches; the result is the same as if everything were compiled
anew, which a test holds over random edits. Nothing here knows time, keys or the network.
"""
