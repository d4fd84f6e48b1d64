# SPDX-License-Identifier: Apache-2.0
"""Which tests run on other kernels if nobody says: some of each that a kernel may do otherwise.

Two agents that begin are half a minute of both processors under emulation, most of it the verifier;
they are shared by the tests of one file. So a few files are taken, and of some only what stands for
the others.
"""

from __future__ import annotations

_KERNEL = "tests/kernel/"


def _of(file: str, *tests: str) -> tuple[str, ...]:
    return tuple(f"{_KERNEL}{file}.py::{test}" for test in tests)


FEW_TESTS = (
    *_of(
        "test_doctor",
        "test_kernel_here_lacks_nothing",
        "test_flag_of_old_listeners_is_found_where_linux_has_it",
    ),
    *_of(
        "test_edges",
        "test_items_of_a_large_map_come_in_batches",
        "test_trie_takes_a_batch_and_answers_the_longest_prefix",
        "test_kernel_offsets_are_all_there_and_differ",
        "test_links_are_made_swapped_and_removed",
        "test_failed_swap_leaves_the_old_set",
        "test_tracepoint_link_of_a_start_that_was_killed_is_taken_over",
    ),
    f"{_KERNEL}test_tag_vectors.py",
    f"{_KERNEL}test_handshake.py",
    f"{_KERNEL}test_held_between_hosts.py",
)
"""What the agent asks of the kernel, the tag, two hosts under every kind of rule, and programs that
nobody knows yet."""

TESTS = (
    *FEW_TESTS,
    *_of(
        "test_identity_adoption",
        "test_listener_that_was_there_answers_with_a_tag_where_linux_can_let_it[v4]",
    ),
    *_of("test_doctor", "test_suspended_instance_is_a_problem_for_each_hook"),
    *_of(
        "test_forgery",
        "test_a_right_tag_made_by_hand_is_accepted",
        "test_every_bit_of_the_mac_counts",
        "test_host_may_speak_only_for_workloads_that_can_run_on_it",
        "test_replay_from_another_port_is_refused",
        "test_replay_of_a_connection_that_was_established_is_refused",
        "test_retransmission_is_no_replay",
        "test_tag_is_found_behind_any_padding",
        "test_tag_outside_a_handshake_opens_nothing",
    ),
    *_of(
        "test_rejudging",
        "test_live_connections_follow_every_switch",
        "test_connection_waiting_for_accept_is_judged_by_the_policy_in_force",
    ),
    f"{_KERNEL}test_differential.py",
    *_of(
        "test_refusals",
        "test_refused_client_hears_connection_refused[v4]",
        "test_client_whose_server_is_refused_is_ended_at_once",
        "test_stranger_hears_nothing",
    ),
    *_of(
        "test_identity_programs",
        "test_nginx_master_and_workers_are_one_workload",
        "test_job_of_a_few_milliseconds_has_its_identity",
        "test_postgres_that_drops_root_and_forks_per_connection",
    ),
)
"""And services older than the agent, suspension, forgeries and replays, switches of policy, random
policies against the oracle, refusals that are told, and real services."""
