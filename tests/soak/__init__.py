# SPDX-License-Identifier: Apache-2.0
"""The soak: two hosts and their controller under everything that happens to them, for long.

`python -m tests.soak` (`make soak`). It looks for what no short test can see: memory, descriptors
and map entries that grow by a little each time, and the rare event of a wrong kind. `scene` builds
the fleet and its traffic, `disturb` does to it what happens in a day, `samples` reads, `trend` and
`judgement` (pure) say what came of it.
"""
