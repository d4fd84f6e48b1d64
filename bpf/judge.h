// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The verdict: pure but for look-ups. It must agree with agent.core.policy.verdict(), and a
// differential test holds it to that.

struct question {
	u32 local;
	u32 peer;
	u32 address_identity; // network of the peer's address: lifelines go by address
	u16 port;             // the service's port; for ICMP the type
	u8 direction;
	u8 protocol;
	u8 same_host;
	u8 provisional; // the peer is a managed host that has not yet said who answers
	u8 failure;     // why the peer's proof was refused, or REASON_NONE
	u8 adopted;     // older than the agent: never judged before, so not cut by surprise
};

struct decision {
	u32 rule;
	u8 verdict;
	u8 reason;
};

INLINE u8 policy_protocol(u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return protocol;
	default:
		return 0; // every other protocol is one, and has no ports
	}
}

INLINE struct rule_entry *find_range(u64 generation, struct rule_key *exact)
{
	struct range_key key = {
		.prefix_length = 96,
		.local = exact->local,
		.peer = exact->peer,
		.scope = exact->scope,
		.protocol = exact->protocol,
		.port = bpf_htons(exact->port),
	};

	return get_range(generation, &key);
}

// Exact port, range, whole protocol, for this peer. The key is left as it came.
INLINE struct rule_entry *find_for_peer(u64 generation, struct rule_key *key, int ask_ranges)
{
	struct rule_entry *entry = get_rule(generation, key);
	u16 port = key->port;

	if (entry)
		return entry;
	if (ask_ranges) {
		entry = find_range(generation, key);
		if (entry)
			return entry;
	}
	key->port = 0;
	key->scope |= SCOPE_WHOLE;
	entry = get_rule(generation, key);
	key->port = port;
	key->scope &= ~SCOPE_WHOLE;
	return entry;
}

INLINE struct rule_entry *find_rule(u64 generation, struct rule_key *key, int ask_ranges)
{
	struct rule_entry *entry = find_for_peer(generation, key, ask_ranges);

	if (entry || !key->peer)
		return entry;
	key->peer = ID_NONE; // any
	return find_for_peer(generation, key, ask_ranges);
}

INLINE int is_lifeline(u64 generation, struct question *q)
{
	u64 flag = q->direction == DIR_EGRESS ? GENERATION_LIFELINES_OUT : GENERATION_LIFELINES_IN;
	struct rule_key key = {
		.local = ID_LIFELINE,
		.peer = q->address_identity,
		.port = q->port,
		.protocol = policy_protocol(q->protocol),
		.scope = q->direction == DIR_EGRESS ? SCOPE_EGRESS : 0,
	};
	struct rule_entry *entry;

	if (!(generation & flag))
		return 0;
	entry = find_rule(generation, &key, !!(generation & GENERATION_RANGES));
	return entry && entry->action == ACTION_LIFELINE ? entry->rule : 0;
}

INLINE void count_staged(u64 generation, struct rule_entry *entry)
{
	if (!(generation & GENERATION_STAGED) || !entry || !entry->staged)
		return;
	count_outcome(entry->staged_action == ACTION_DENY ? OUTCOME_STAGED_DENY : OUTCOME_STAGED_ALLOW);
	count_rule(entry->staged);
}

// What a refusal means in this mode.
INLINE u8 refusal(u8 mode)
{
	return mode == MODE_ENFORCE ? VERDICT_REFUSE : VERDICT_AUDIT;
}

INLINE void allow(struct decision *d, u8 reason, u32 rule)
{
	d->verdict = VERDICT_ALLOW;
	d->reason = reason;
	d->rule = rule;
}

// The same answer as `allow`, for who the rules name nobody: no entry, no allow.
INLINE void decide_by_rules(u64 generation, struct question *q, struct mode_entry *m, u32 local,
			    struct decision *d)
{
	struct rule_key key = {
		.local = local,
		.peer = q->provisional ? ID_MANAGED : q->peer,
		.port = q->port,
		.protocol = policy_protocol(q->protocol),
		.scope = q->direction == DIR_EGRESS ? SCOPE_EGRESS : 0,
	};
	struct rule_entry *entry;

	entry = find_rule(generation, &key, m ? m->flags & MODE_FLAG_RANGES : 0);
	count_staged(generation, entry);
	if (entry && entry->action == ACTION_ALLOW) {
		if (q->provisional)
			allow(d, REASON_PROVISIONAL, 0);
		else
			allow(d, REASON_RULE_ALLOW, entry->rule);
		return;
	}
	d->rule = 0;
	d->reason = REASON_NO_RULE;
	if (entry && entry->action == ACTION_DENY) {
		d->rule = entry->rule;
		d->reason = REASON_RULE_DENY;
	} else if (q->same_host && q->peer == q->local) {
		allow(d, REASON_SELF, 0);
		return;
	}
	d->verdict = refusal(m ? m->mode : MODE_AUDIT);
}

INLINE void decide(u64 generation, struct question *q, struct decision *d)
{
	struct mode_entry *m;
	u32 local = q->local;
	u32 lifeline = is_lifeline(generation, q);

	if (lifeline) {
		allow(d, REASON_LIFELINE, lifeline);
		return;
	}
	m = get_mode(generation, local);
	if (!m) {
		local = ID_HOST; // every snapshot has the mode of `host`
		m = get_mode(generation, local);
	}
	if (m && m->mode == MODE_OFF) {
		allow(d, REASON_MODE_OFF, 0);
	} else if (q->adopted) {
		allow(d, REASON_ADOPTED, 0);
	} else if (q->failure) {
		d->rule = 0;
		d->reason = q->failure;
		d->verdict = refusal(m ? m->mode : MODE_AUDIT);
	} else if (q->provisional && q->same_host) {
		// The partner may be the same workload; the SYN's own judgement decides.
		allow(d, REASON_PROVISIONAL, 0);
	} else {
		decide_by_rules(generation, q, m, local, d);
	}
}

INLINE int is_unspecified(struct address_key *a)
{
	u32 *words = (u32 *)a;

	if (words[0] || words[1] || words[3])
		return 0;
	return !words[2] || words[2] == bpf_htonl(0xffff); // :: and ::ffff:0.0.0.0
}

// Which network an address is in and whose it is.
INLINE void classify(struct control *c, u64 generation, struct address_key *address,
		     struct address_entry *out)
{
	struct address_entry *entry = get_address(generation, address);
	struct network_key key;

	if (!entry && (generation & GENERATION_PREFIXES)) {
		key.prefix_length = 128;
		__builtin_memcpy(key.address, address->address, 16);
		entry = get_network(generation, &key);
	}
	if (entry) {
		*out = *entry;
		return;
	}
	out->identity = ID_WORLD;
	out->host = is_unspecified(address) ? c->host : 0; // connecting to 0.0.0.0 is loopback
}

// The peer's identity where nothing but its address speaks for it.
INLINE u32 identity_by_address(u64 generation, struct address_entry *address)
{
	struct peer *p;

	if (!address->host)
		return address->identity;
	p = get_peer(generation, address->host);
	return p && (p->flags & PEER_TAGS_OFF) ? address->identity : ID_UNPROVEN;
}
