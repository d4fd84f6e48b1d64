# SPDX-License-Identifier: Apache-2.0
PYTHON := .venv/bin/python
C_FILES := $(wildcard bpf/*.c bpf/*.h bench/*.c)
# In two processes; the others one by one, for they have processes of their own to wait for.
UNIT := -n 2 --dist worksteal tests/unit

.PHONY: help setup demo test test-vm test-vagrant unit store kernel systemd soak check format proto lock bench bench-fleet deb clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

setup: ## install what is missing: Debian packages, virtual environment
	@scripts/setup

demo: setup ## two hosts on this machine, real programs, real agents, real refusals (root)
	@$(PYTHON) -m tests.lab.demo

test: setup unit store kernel systemd ## the tests but for those of other machines (root)

unit: setup ## tests that need no root, in seconds
	@$(PYTHON) -m pytest -q $(UNIT)

store: setup ## the controller: its store on both databases, its server, its streams
	@$(PYTHON) -m pytest -q tests/store tests/server tests/control

kernel: setup ## tests with real programs in the kernel (root)
	@$(PYTHON) -m pytest -q tests/kernel

systemd: setup deb ## the packages on machines whose PID 1 is systemd (root; builds the packages)
	@$(PYTHON) -m pytest -q tests/systemd

SOAK_MINUTES ?= 60

soak: setup ## an hour of traffic and of what disturbs it: nothing grows, nothing odd (root; SOAK_MINUTES=60)
	@$(PYTHON) -m tests.soak --minutes $(SOAK_MINUTES)

test-vm: setup ## kernel tests on Debian's kernels 6.1 and 6.12, in qemu (root)
	@scripts/test-vm

test-vagrant: setup ## the Vagrantfile's machines, in qemu (root; builds the packages)
	@scripts/test-vagrant

check: setup ## format, lint, types, generated code, unit tests
	@$(PYTHON) -m ruff format --check -q .
	@$(PYTHON) -m ruff check -q .
	@clang-format-14 --dry-run --Werror $(C_FILES)
	@$(PYTHON) -m mypy
	@$(PYTHON) proto/generate.py --check
	@scripts/check-vagrantfile
	@$(PYTHON) -m pytest -q $(UNIT)

format: setup ## put every file into the house's format
	@$(PYTHON) -m ruff check -q --fix-only . ; $(PYTHON) -m ruff format -q .
	@clang-format-14 -i $(C_FILES)

proto: setup ## generate agent/pb from proto/
	@$(PYTHON) proto/generate.py

lock: ## pin the newest versions of what requirements*.in name (needs uv)
	@for name in requirements requirements-dev; do \
		uv pip compile -q --upgrade --generate-hashes --no-emit-index-url --no-emit-find-links \
			--no-header --no-annotate --python /usr/bin/python3 $$name.in -o $$name.lock; \
	done

bench: setup ## figures of the datapath and of identity, as ratios of one run (root)
	@$(PYTHON) -m bench.run
	@$(PYTHON) -m bench.spawn

AGENTS ?= 10000

bench-fleet: setup ## a controller and its fleet of AGENTS=10000 agents (root; installs Go for the load program)
	@$(PYTHON) -m bench.fleet --agents $(AGENTS)

deb: ## Debian packages of the agent, the controller and the command line, into dist/
	@scripts/build-deb

clean: ## remove what setup and the tools made in this folder
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
