# SPDX-License-Identifier: Apache-2.0
"""`make demo`: real programs on two hosts under real agents, and what became of each.

Not a test suite and not a recording: every line that it prints was measured in this run, from the
outside by the programs themselves and the wire, from the inside by what the kernels counted and
reported. What it claims without showing it has no place here; details are for `tests/kernel`.
"""
