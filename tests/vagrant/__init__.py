# SPDX-License-Identifier: Apache-2.0
"""The project's Vagrantfile run for real: three machines, their packages, their policy.

`python -m tests.vagrant.main` (which `make test-vagrant` runs) makes a Debian 12 box here, because
the public one cannot be had everywhere and needs hardware acceleration to be bearable; brings up
what the Vagrantfile says with a libvirtd of its own; and asks from inside what is let through and
what is refused. All of it lives in network, mount and pid namespaces, and ends with them.
"""
