// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Every map: key -> value, who writes it, and what happens when it is full. bcc's own macros, for
// bcc's rewriter must recognise the declarations; access.h is the only file that touches them.

// sk_storage that a listener's children inherit (BPF_F_CLONE), which bcc's macro cannot say.
struct sockets_table_t {
	int key;
	struct socket_state leaf;
	void *(*sk_storage_get)(void *, void *, int);
	int (*sk_storage_delete)(void *);
	u32 flags;
};
__attribute__((section("maps/sk_storage"))) struct sockets_table_t sockets = {
	.flags = BPF_F_NO_PREALLOC | BPF_F_CLONE};
BPF_ANNOTATE_KV_PAIR(sockets, int, struct socket_state);

// 0 -> struct control. Writer: the daemon, through a memory mapping.
BPF_F_TABLE("array", int, struct control, control, 1, BPF_F_MMAPABLE);

// tgid -> process. Writers: fork, exec, exit here; the daemon's attestations. Full: a new process
// has no entry and counts as `host` (OUTCOME_PROCESS_MAP_FULL).
BPF_F_TABLE("hash", u32, struct process, processes, PROCESSES_MAX, 0);

// Writer: the daemon. LRU, so never full: an evicted executable is attested again.
BPF_F_TABLE("lru_hash", struct executable_key, struct executable, executables, EXECUTABLES_MAX, 0);

// The policy: two slots each, of which bit 0 of the generation names the one in force. Writer: the
// daemon, which fills the other slot and then stores the generation. A snapshot that does not fit
// is refused whole before anything is switched.
//
// The inner ones are patterns only. They have no types for bpftool, because the daemon's own have
// none and Linux 6.1 takes a map with types for another kind than one without.
#pragma push_macro("BPF_ANNOTATE_KV_PAIR")
#undef BPF_ANNOTATE_KV_PAIR
#define BPF_ANNOTATE_KV_PAIR(name, key, leaf)
BPF_F_TABLE("hash", struct rule_key, struct rule_entry, rules_inner, 1, 0);
BPF_TABLE("array_of_maps$rules_inner", int, int, rules, 2);
BPF_F_TABLE("lpm_trie", struct range_key, struct rule_entry, ranges_inner, 1, BPF_F_NO_PREALLOC);
BPF_TABLE("array_of_maps$ranges_inner", int, int, ranges, 2);
BPF_F_TABLE("hash", struct address_key, struct address_entry, addresses_inner, 1, 0);
BPF_TABLE("array_of_maps$addresses_inner", int, int, addresses, 2);
BPF_F_TABLE("lpm_trie", struct network_key, struct address_entry, networks_inner, 1,
	    BPF_F_NO_PREALLOC);
BPF_TABLE("array_of_maps$networks_inner", int, int, networks, 2);
BPF_F_TABLE("hash", u32, struct peer, peers_inner, 1, 0);
BPF_TABLE("array_of_maps$peers_inner", int, int, peers, 2);
BPF_F_TABLE("hash", struct resident_key, u32, residents_inner, 1, 0);
BPF_TABLE("array_of_maps$residents_inner", int, int, residents, 2);
BPF_F_TABLE("hash", u32, struct mode_entry, modes_inner, 1, 0);
BPF_TABLE("array_of_maps$modes_inner", int, int, modes, 2);
#pragma pop_macro("BPF_ANNOTATE_KV_PAIR")

// epoch % 16 -> this host's receive secret. Writer: the daemon.
BPF_F_TABLE("array", int, struct epoch_key, receive_secrets, EPOCH_SLOTS, 0);

// Writer: ingress (SYN); reader: SYN-ACK and accept. LRU: if a flood evicts an entry, the accepted
// socket is judged by its address, which is never more than `unproven` for a managed host.
BPF_F_TABLE("lru_hash", struct tuple, struct handshake, handshakes, HANDSHAKES_MAX, 0);

// Bucket of a MAC -> the MACs last let in there. Writer: ingress. 114,688 tags are remembered:
// those of three epochs of 10 minutes at 63 connections a second, of two minutes at 950. Full: the
// oldest of the bucket goes, and if its epoch was live that is counted (OUTCOME_TAG_FORGOTTEN); it
// could be used again only for its own four-tuple and sequence number, which the MAC binds. Two
// CPUs that write one bucket in the same moment may lose one of the two. An array, because an LRU
// hash costs a handshake three times as much and cannot count what it forgets; not larger, because
// each look into a cold cache line costs as much as all the SipHash of a handshake.
BPF_F_TABLE("array", int, struct seen_bucket, seen_tags, SEEN_BUCKETS, 0);

// Writers: egress and ingress. LRU: the next packet is judged anew; an answer to an evicted
// exchange is judged as if it opened one.
BPF_F_TABLE("lru_hash", struct datagram_key, struct datagram, datagrams, DATAGRAMS_MAX, 0);

// Writer: egress towards this host itself. LRU: an evicted sender is `unproven`.
BPF_F_TABLE("lru_hash", struct datagram_key, struct record, records, DATAGRAMS_MAX, 0);

BPF_F_TABLE("percpu_array", int, u64, counters, COUNTERS, 0);
BPF_F_TABLE("percpu_array", int, u64, outcomes, OUTCOME_MAX, 0);
BPF_F_TABLE("percpu_array", int, u64, held_times, HELD_TIMES, 0);

// Rule number -> connections it decided. Full: the hit is not counted, verdicts are unaffected.
BPF_F_TABLE("percpu_hash", u32, u64, rule_hits, RULE_HITS_MAX, BPF_F_NO_PREALLOC);

// This host's receive secret and a sender -> the key of the two, which is dear to derive. Writer:
// ingress, which runs in softirq only, so that no other run of it on this CPU comes between. Full:
// the last sender takes the place.
#define PAIR_KEYS 1024 // a power of two
struct pair_key {
	u64 secret; // first half of the receive secret that it was derived from
	u64 key[2];
	u32 host; // the sender
	u32 pad;
};
BPF_F_TABLE("percpu_array", int, struct pair_key, pair_keys, PAIR_KEYS, 0);

// Refusals reported in this window, by CPU.
struct report_window {
	u64 window; // CLOCK_MONOTONIC >> 30, about a second
	u32 reported;
	u32 suppressed;
};
BPF_F_TABLE("percpu_array", int, struct report_window, report_windows, 1, 0);

// Full: the event is lost and counted by kind; verdicts never depend on one. bcc counts in pages.
BPF_RINGBUF_OUTPUT(process_events, PROCESS_EVENTS_BYTES / 4096);
BPF_RINGBUF_OUTPUT(flow_events, FLOW_EVENTS_BYTES / 4096);

// 0: hash of abi.h and maps.h, 1: hash of all sources and constants. Writer: the loader, which
// reads it to know whether what is pinned is what it would load.
BPF_F_TABLE("array", int, u64, build, 2, 0);
