// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The only place that touches maps: bcc's rewriter wants `map.lookup(&key)` written literally, and
// an ahead-of-time build will want plain helpers. Everything above this file is free of either.

INLINE struct control *get_control(void)
{
	int zero = 0;

	return control.lookup(&zero);
}

// One read a program run: every look-up of the run must use the same slot and flags.
INLINE u64 read_generation(struct control *c)
{
	return *(volatile u64 *)&c->generation;
}

INLINE struct socket_state *get_socket(struct bpf_sock *sk)
{
	return sockets.sk_storage_get(sk, 0, 0);
}

INLINE struct socket_state *make_socket(struct bpf_sock *sk)
{
	return sockets.sk_storage_get(sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
}

INLINE struct process *get_process(u32 tgid)
{
	return processes.lookup(&tgid);
}

INLINE int put_process(u32 tgid, struct process *value)
{
	return processes.update(&tgid, value);
}

INLINE void delete_process(u32 tgid)
{
	processes.delete(&tgid);
}

INLINE struct executable *get_executable(struct executable_key *key)
{
	return executables.lookup(key);
}

// The inner maps of the slot in force; null only if the daemon never filled it.
INLINE void *rules_of(u64 generation)
{
	int slot = generation & GENERATION_SLOT;

	return rules.lookup(&slot);
}

INLINE void *ranges_of(u64 generation)
{
	int slot = generation & GENERATION_SLOT;

	return ranges.lookup(&slot);
}

INLINE void *look_up(void *inner, void *key)
{
	return bpf_map_lookup_elem(inner, key);
}

INLINE struct address_entry *get_address(u64 generation, struct address_key *key)
{
	int slot = generation & GENERATION_SLOT;
	void *inner = addresses.lookup(&slot);

	return inner ? bpf_map_lookup_elem(inner, key) : 0;
}

INLINE struct address_entry *get_network(u64 generation, struct network_key *key)
{
	int slot = generation & GENERATION_SLOT;
	void *inner = networks.lookup(&slot);

	return inner ? bpf_map_lookup_elem(inner, key) : 0;
}

INLINE struct peer *get_peer(u64 generation, u32 host)
{
	int slot = generation & GENERATION_SLOT;
	void *inner = peers.lookup(&slot);

	return inner ? bpf_map_lookup_elem(inner, &host) : 0;
}

INLINE int is_resident(u64 generation, u32 host, u32 identity)
{
	int slot = generation & GENERATION_SLOT;
	struct resident_key key = {.host = host, .identity = identity};
	void *inner = residents.lookup(&slot);

	return inner && bpf_map_lookup_elem(inner, &key);
}

INLINE struct mode_entry *get_mode(u64 generation, u32 identity)
{
	int slot = generation & GENERATION_SLOT;
	void *inner = modes.lookup(&slot);

	return inner ? bpf_map_lookup_elem(inner, &identity) : 0;
}

INLINE struct epoch_key *get_receive_secret(u64 epoch)
{
	int slot = epoch % EPOCH_SLOTS;
	struct epoch_key *secret = receive_secrets.lookup(&slot);

	return secret && secret->epoch == epoch ? secret : 0;
}

INLINE struct handshake *get_handshake(struct tuple *key)
{
	return handshakes.lookup(key);
}

INLINE int put_handshake(struct tuple *key, struct handshake *value)
{
	return handshakes.update(key, value);
}

INLINE void delete_handshake(struct tuple *key)
{
	handshakes.delete(key);
}

INLINE struct pair_key *get_pair_key(u32 host)
{
	int index = host & (PAIR_KEYS - 1);

	return pair_keys.lookup(&index);
}

INLINE struct seen_bucket *get_seen_bucket(u64 mac)
{
	int index = mac & (SEEN_BUCKETS - 1);

	return seen_tags.lookup(&index);
}

INLINE struct datagram *get_datagram(struct datagram_key *key)
{
	return datagrams.lookup(key);
}

INLINE void put_datagram(struct datagram_key *key, struct datagram *value)
{
	datagrams.update(key, value);
}

INLINE struct record *get_record(struct datagram_key *key)
{
	return records.lookup(key);
}

INLINE void put_record(struct datagram_key *key, struct record *value)
{
	records.update(key, value);
}

INLINE void count_outcome(int outcome)
{
	u64 *count = outcomes.lookup(&outcome);

	if (count)
		*count += 1;
}

INLINE void count_held_time(int place)
{
	u64 *count = held_times.lookup(&place);

	if (count)
		*count += 1;
}

INLINE void count_verdict(u32 direction, u32 verdict, u32 reason)
{
	int index = (direction * VERDICT_MAX + verdict) * REASON_MAX + reason;
	u64 *count = counters.lookup(&index);

	if (count)
		*count += 1;
}

INLINE void count_rule(u32 rule)
{
	u64 *count = rule_hits.lookup(&rule);
	u64 one = 1;

	if (count)
		*count += 1;
	else
		rule_hits.update(&rule, &one);
}

INLINE struct report_window *get_report_window(void)
{
	int zero = 0;

	return report_windows.lookup(&zero);
}

INLINE struct flow_event *reserve_flow_event(void)
{
	return flow_events.ringbuf_reserve(sizeof(struct flow_event));
}

INLINE void submit_flow_event(struct flow_event *event, u64 wake)
{
	flow_events.ringbuf_submit(event, wake);
}

INLINE struct process_event *reserve_process_event(void)
{
	return process_events.ringbuf_reserve(sizeof(struct process_event));
}

INLINE void submit_process_event(struct process_event *event)
{
	process_events.ringbuf_submit(event, 0);
}
