# SPDX-License-Identifier: Apache-2.0
"""The kernel tests on other kernels than this machine's: Debian's, in qemu.

`python -m tests.vm.main` (which `make test-vm` runs) makes a Debian 12 root file system and fetches
Debian's newest 6.1 and 6.12 cloud kernels, both kept in a folder outside the tree; then it boots
each kernel in software emulation, runs tests of `tests/kernel` inside, and shows what they say. It
is for function and never for figures: emulation is a dozen times slower than the processor.
"""
