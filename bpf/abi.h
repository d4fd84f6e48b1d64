// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The one layout that the kernel side and Python share: keys and values of maps, records of the
// ring buffers, and the numbers in them. Its Python half is agent/core/abi.py; a test compiles this
// file and holds sizes, offsets and constants equal.
//
// Rules: natural alignment, padding written out, no bit fields. Numbers are in host byte order
// unless a field says otherwise, and the host's is little-endian: so the Python half writes keys,
// and the datapath reads parts of numbers. Addresses are 16 bytes in network order, IPv4 as mapped
// IPv6.

#ifndef CORDON_ABI_H
#define CORDON_ABI_H

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Cordon runs on little-endian machines only: this one would misread its maps and verdicts"
#endif

// Reserved identities (agent.core.model.Identity).
#define ID_NONE 0
#define ID_HOST 1
#define ID_WORLD 2
#define ID_UNPROVEN 3
#define ID_CONTROLLER 4
#define ID_PENDING 5
#define ID_AGENT 6
#define ID_MANAGED 7
#define ID_LIFELINE 8

#define MODE_OFF 0
#define MODE_AUDIT 1
#define MODE_ENFORCE 2

#define DIR_INGRESS 0
#define DIR_EGRESS 1

#define VERDICT_NONE 0
#define VERDICT_ALLOW 1
#define VERDICT_REFUSE 2
#define VERDICT_AUDIT 3
#define VERDICT_HELD 4
#define VERDICT_MAX 5

#define REASON_NONE 0
#define REASON_RULE_ALLOW 1
#define REASON_LIFELINE 2
#define REASON_MODE_OFF 3
#define REASON_RULE_DENY 4
#define REASON_NO_RULE 5
#define REASON_TAG_FORGED 6
#define REASON_TAG_MALFORMED 7
#define REASON_TAG_REPLAYED 8
#define REASON_TAG_EPOCH 9
#define REASON_TAG_HOST 10
#define REASON_TAG_IDENTITY 11
#define REASON_PENDING 12
#define REASON_CONTROL 13
#define REASON_ADOPTED 14
#define REASON_SELF 15
#define REASON_NO_POLICY 16
#define REASON_REPLY 17
#define REASON_PROVISIONAL 18
#define REASON_PACKET_MALFORMED 19
#define REASON_MAX 32

#define PROOF_NONE 0
#define PROOF_TAG 1
#define PROOF_RECORD 2
#define PROOF_ADDRESS 3

// What else the datapath counts (map `outcomes`, per CPU, by this index).
#define OUTCOME_TAG_WRITTEN 0
#define OUTCOME_TAG_NO_ROOM 1
#define OUTCOME_TAG_NO_KEY 2
#define OUTCOME_TAG_VERIFIED 3
#define OUTCOME_TAG_ABSENT 4
#define OUTCOME_TAG_STORE_FAILED 5
#define OUTCOME_SOCKET_UNTAGGED 6
#define OUTCOME_PROCESS_MAP_FULL 7
#define OUTCOME_PROCESS_EVENT_LOST 8
#define OUTCOME_FLOW_EVENT_LOST 9
#define OUTCOME_FLOW_EVENT_SUPPRESSED 10
#define OUTCOME_HANDSHAKE_LOST 11
#define OUTCOME_HELD 12
#define OUTCOME_HOLD_EXPIRED 13
#define OUTCOME_REJUDGED 14
#define OUTCOME_SYNACK_TAG_MISSED 15
#define OUTCOME_STAGED_ALLOW 16
#define OUTCOME_STAGED_DENY 17
#define OUTCOME_TAG_FORGOTTEN 18
#define OUTCOME_MAX 32

// Low 16 bits of a generation say what is in it, so that one store switches policy and flags
// together; bit 0 is the slot of the two-slot map arrays. The serial number stands above.
#define GENERATION_SLOT 0x1
#define GENERATION_RANGES 0x2	// some local identity has port ranges
#define GENERATION_PREFIXES 0x4 // some network is wider than one address
#define GENERATION_LIFELINES_IN 0x8
#define GENERATION_LIFELINES_OUT 0x10
#define GENERATION_STAGED 0x20 // some entry carries a staged verdict
#define GENERATION_FLAG_BITS 16

#define CONTROL_OBSERVE 0x1 // somebody watches: allowed connections make events too
#define CONTROL_SUM_UP 0x2  // likewise, but the daemon looks for them by itself, many at once

// control[0]: memory-mapped, so that the daemon's store of `generation` is one aligned move.
struct control {
	__u64 generation;     // 0: no policy yet, everything passes and is counted NO_POLICY
	__u64 wall_offset_ns; // unix time minus CLOCK_MONOTONIC
	__u64 epoch_ns;	      // length of a key epoch
	__u64 hold_limit_ns;
	__u64 cgroup_root;  // cgroup id of the instance's root
	__u32 cgroup_level; // its depth below the hierarchy's root
	__u32 host;	    // this host's number
	__u32 refusals_per_second;
	__u32 flags;		// CONTROL_*
	__u32 hold_rto_jiffies; // first SYN time-out of a held socket, 20 ms
	__u32 adopted_until_s;	// CLOCK_MONOTONIC: sockets older than the first policy pass until
				// then
};

// processes: tgid -> struct process.
#define PROCESS_ATTESTED 0x1
struct process {
	__u32 identity;
	__u32 uid;
	__u64 cgroup;	  // cgroup id when attested
	__u64 since_ns;	  // CLOCK_MONOTONIC (coarse) when it became pending or attested
	__u64 inode;	  // of the executable
	__u32 device;	  // kernel's dev_t: major << 20 | minor
	__u32 flags;	  // PROCESS_*
	__u32 generation; // counts execs; an attestation of an older image is thrown away
	__u32 stamp; // of this image of this process, so that a reused tgid is not taken for it
};

// executables: LRU, what an exec of this file here by this user is.
struct executable_key {
	__u64 inode;
	__s64 ctime_sec;
	__u64 cgroup;
	__u32 ctime_nsec;
	__u32 device;
	__u32 uid;
	__u32 pad;
};

struct executable {
	__u32 identity;
	__u32 pad;
};

// sockets: sk_storage, cloned from a listener to the sockets it accepts.
#define SOCKET_EGRESS 0x1 // we opened it
#define SOCKET_HELD 0x2	  // its SYN waits for the attestation of its process
#define SOCKET_LISTENS 0x4
#define SOCKET_ADOPTED 0x8 // older than the agent, or than its first policy
#define SOCKET_SILENT 0x10 // its SYN was built before anybody knew who asks: it carries no tag
#define SOCKET_RESETS 0x80 // the agent's own raw socket: its TCP resets pass
struct socket_state {
	__u64 generation;	// that `verdict` was made under; 0: judge
	__u64 netns;		// cookie
	__u32 local;		// identity
	__u32 peer;		// identity; 0 before it is known
	__u32 peer_host;	// host number, 0 for none
	__u32 address_identity; // of the peer's address, for lifelines
	__u32 rule;
	__u32 tgid;
	__u16 port; // the service's port: ours when we accepted, the peer's when we opened
	__u8 verdict;
	__u8 reason;
	__u8 proof;
	__u8 flags;   // SOCKET_*
	__u8 repeats; // of its SYN as its program would have them (TCP_SYNCNT); 0: not changed
	__u8 pad;
	__u32 stamp; // of the process that `tgid` names
	__u32 since; // CLOCK_MONOTONIC: of a socket that is held when that began, in units of 1,024
		     // ns; of a connection when it was established, in units of 2^20 ns
};

// rules: (local, peer, protocol, port) -> entry. The compiler has flattened order and wildcards:
// the first hit in the order exact port, range, whole protocol for the peer, then the same for
// peer 0 (any) is the answer.
#define SCOPE_EGRESS 0x1 // Direction
#define SCOPE_WHOLE 0x2	 // whole protocol; port is 0
struct rule_key {
	__u32 local;
	__u32 peer;    // 0: any
	__u16 port;    // for ICMP the type
	__u8 protocol; // 0: every protocol that is not TCP, UDP, ICMP, ICMPv6
	__u8 scope;    // SCOPE_*
};

// ranges: LPM trie, disjoint prefixes of ports. prefix_length counts bits after itself: 80 + 0..16.
struct range_key {
	__u32 prefix_length;
	__u32 local;
	__u32 peer;
	__u8 scope;
	__u8 protocol;
	__u16 port; // network byte order, for the trie compares bits from the front
};

struct rule_entry {
	__u32 rule;   // number, 0: the entry only says that nothing decided (masks a wider entry)
	__u32 staged; // rule number of a staged rule that would decide otherwise, 0 for none
	__u8 action;  // ACTION_*
	__u8 staged_action;
	__u16 pad;
};
#define ACTION_NONE 0
#define ACTION_ALLOW 1
#define ACTION_DENY 2
#define ACTION_LIFELINE 3

// addresses: 16 bytes -> entry; networks: the same as an LPM trie, prefix_length 0 to 128.
struct address_key {
	__u8 address[16];
} __attribute__((aligned(8))); // read as two words

struct network_key {
	__u32 prefix_length;
	__u8 address[16];
};

struct address_entry {
	__u32 identity; // network's identity or ID_WORLD; the longest prefix that holds the address
	__u32 host;	// managed host's number, 0 for none, all ones for one that is no peer
};

// peers: host number -> keys towards it, one slot per epoch modulo 16.
#define EPOCH_SLOTS 16
#define PEER_TAGS_OFF 0x1
#define PEER_NAT 0x2
struct epoch_key {
	__u64 epoch;  // 0: empty
	__u64 key[2]; // the 16 bytes as two little-endian words
};

struct peer {
	struct epoch_key keys[EPOCH_SLOTS];
	__u32 flags; // PEER_*
	__u32 pad;
};

// residents: who may speak from where. Value: one byte 1, padded to 4.
struct resident_key {
	__u32 host;
	__u32 identity;
};

// modes: local identity -> mode.
#define MODE_FLAG_RANGES 0x1 // ask `ranges` for this identity
struct mode_entry {
	__u8 mode;
	__u8 flags;
	__u16 pad;
};

// handshakes: what the SYN's judgement found, kept until the socket is accepted.
// From the packet's point of view on the server: source is the client.
struct tuple {
	__u64 netns;
	__u8 source[16];
	__u8 destination[16];
	__u16 source_port;
	__u16 destination_port;
	__u32 pad;
};

struct handshake {
	__u64 generation;
	__u64 mac; // of the verified tag, 0 for none
	__u32 local;
	__u32 peer;
	__u32 peer_host;
	__u32 rule;
	__u8 verdict;
	__u8 reason;
	__u8 proof;
	__u8 pad;
	__u32 pad2;
};

// seen_tags: the replay cache. MACs of SYN tags that were let in; the low bits of a MAC choose its
// bucket, which is one cache line, and in it the newest takes the place of the oldest.
#define SEEN_WAYS 7
struct seen_bucket {
	__u64 macs[SEEN_WAYS];
	__u8 next;		// the place that the next one takes
	__u8 epochs[SEEN_WAYS]; // low 8 bits of the epoch in which each came
};

// datagrams: LRU, exchanges of UDP, ICMP and raw IP, so that answers pass.
// local is this host's side. For ICMP echo both ports are the identifier.
struct datagram_key {
	__u64 netns;
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port;
	__u16 remote_port;
	__u8 protocol;
	__u8 pad[3];
};

struct datagram {
	__u64 generation;
	__u32 seen_s; // CLOCK_MONOTONIC seconds of the last packet of the opener
	__u32 rule;
	__u8 direction; // of the first packet
	__u8 verdict;
	__u8 reason;
	__u8 proof;
	__u32 peer;
};

// records: LRU, who sent a datagram from this host to itself. Key: struct datagram_key as the
// receiver sees it.
struct record {
	__u32 identity;
	__u32 pad;
};

// Ring buffer `process_events`.
#define PROCESS_EVENT_EXEC 1	// a new image, not in `executables`
#define PROCESS_EVENT_STALE 2	// uid or cgroup are no longer those attested
#define PROCESS_EVENT_UNKNOWN 3 // a process without an entry used a socket
#define PROCESS_EVENT_STARTED 4 // a workload began, by a known exec: it may have been given sockets
struct process_event {
	struct executable_key executable; // all zero where only the daemon can tell
	__u32 kind;			  // PROCESS_EVENT_*
	__u32 tgid;
	__u32 generation; // of the processes entry
	__u32 pad;
};

// Ring buffer `flow_events`.
#define SEGMENT_OTHER 0
#define SEGMENT_SYN 1	  // for a listener
#define SEGMENT_SYN_ACK 2 // for a socket that waits for it
#define FLOW_JUDGED 0
#define FLOW_CLOSED 1 // a TCP connection has ended; what was judged of it last
struct flow_event {
	__u64 time_ns; // CLOCK_MONOTONIC
	__u64 generation;
	__u64 netns; // cookie, of handshakes
	__u8 local_address[16];
	__u8 remote_address[16];
	__u32 local;
	__u32 peer;
	__u32 peer_host;
	__u32 rule;
	__u32 tgid;
	__u32 suppressed; // refusals of this CPU not reported since the last one that was
	__u16 local_port;
	__u16 remote_port;
	__u8 protocol;
	__u8 direction;
	__u8 verdict;
	__u8 reason;
	__u8 proof;
	__u8 segment; // SEGMENT_*
	__u8 kind;    // FLOW_*
	__u8 pad;
	__u32 answer; // of a SYN: what a reset has to acknowledge, RFC 9293 3.10.7.1
	// Of a connection that has ended. Bytes are those of TCP's sequence numbers, in which SYN
	// and FIN are one each.
	__u64 sent_bytes; // and acknowledged
	__u64 received_bytes;
	__u32 sent_packets;
	__u32 received_packets;
	__u32 duration_ms;
	__u32 pad2;
};

// held_times: per CPU, how long connections waited for their process: 2^n to 2^(n+1) units of
// 1,024 ns in place n; place 0 also has what is shorter, the last one what is longer.
#define HELD_TIMES 24

// Per CPU and direction x verdict x reason: counters[(direction * VERDICT_MAX + verdict) *
// REASON_MAX + reason].
#define COUNTERS (2 * VERDICT_MAX * REASON_MAX)

// rule_hits: rule number -> per-CPU count of connections it decided.

// Capacities: what happens at the bound is written beside each map in maps.h.
#define PROCESSES_MAX 65536
#define EXECUTABLES_MAX 16384
#define HANDSHAKES_MAX 32768
#define SEEN_BUCKETS 16384 // a power of two
#define DATAGRAMS_MAX 32768
#define RULE_HITS_MAX 16384
#define FLOW_EVENTS_BYTES (1 << 20)
#define PROCESS_EVENTS_BYTES (1 << 20)

#endif
