// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The verdict: pure but for look-ups. It must agree with agent.core.policy.verdict(), and a
// differential test holds it to that.

// The same value, of which the verifier then knows nothing. It walks on once for each constant that
// a place can hold, and Linux 6.1 finds far fewer of these walks alike than newer kernels do: where
// many paths meet, their constants are made unknown, so that what follows is walked once. A wider
// store that is read in part does that, for the price of the two.
INLINE u32 blur(u32 value)
{
	volatile u64 slot = value | 1ULL << 32;

	return *(volatile u32 *)&slot;
}

struct question {
	u32 local;
	u32 peer;
	u32 address_identity; // network of the peer's address: lifelines go by address
	u16 port;	      // the service's port; for ICMP the type
	u8 direction;
	u8 protocol;
	u8 same_host;
	u8 provisional; // the peer is a managed host that has not yet said who answers
	u8 failure;	// why the peer's proof was refused, or REASON_NONE
	u8 adopted;	// older than the agent: never judged before, so not cut by surprise
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

// Where the answers of one judgement come from: looked up once, for the slot is the same for all.
struct rulebook {
	void *rules;
	void *ranges; // null where nothing that is asked about has port ranges
};

INLINE struct rule_entry *find_range(struct rulebook *book, struct rule_key *exact)
{
	struct range_key key = {
		.prefix_length = 96,
		.local = exact->local,
		.peer = exact->peer,
		.scope = exact->scope,
		.protocol = exact->protocol,
		.port = bpf_htons(exact->port),
	};

	return book->ranges ? look_up(book->ranges, &key) : 0;
}

// The most specific entry: exact port, range, whole protocol for this peer, then for any peer. The
// loop is kept a loop: it stands in every program, and the compiler would unroll it.
INLINE struct rule_entry *find_rule(struct rulebook *book, struct rule_key *key)
{
	u16 port = key->port;
	u32 tables = 2; // this peer's, any peer's

	if (!book->rules)
		return 0;
	asm volatile("" : "+r"(tables));
	for (u32 i = 0; i < tables; i++) {
		struct rule_entry *entry = look_up(book->rules, key);

		if (!entry)
			entry = find_range(book, key);
		if (entry)
			return entry;
		key->port = 0;
		key->scope |= SCOPE_WHOLE;
		entry = look_up(book->rules, key);
		if (entry)
			return entry;
		key->port = port;
		key->scope &= ~SCOPE_WHOLE;
		key->peer = ID_NONE; // any
	}
	return 0;
}

INLINE void ask(struct question *q, u32 local, u32 peer, struct rule_key *key)
{
	key->local = local;
	key->peer = peer;
	key->port = q->port;
	key->protocol = policy_protocol(q->protocol);
	key->scope = q->direction == DIR_EGRESS ? SCOPE_EGRESS : 0;
}

INLINE u32 find_lifeline(u64 generation, struct question *q)
{
	u64 flag = q->direction == DIR_EGRESS ? GENERATION_LIFELINES_OUT : GENERATION_LIFELINES_IN;
	struct rulebook book;
	struct rule_entry *entry;
	struct rule_key key;

	if (!(generation & flag))
		return 0;
	book.rules = rules_of(generation);
	book.ranges = generation & GENERATION_RANGES ? ranges_of(generation) : 0;
	ask(q, ID_LIFELINE, q->address_identity, &key);
	entry = find_rule(&book, &key);
	return entry && entry->action == ACTION_LIFELINE ? entry->rule : 0;
}

INLINE void count_staged(u64 generation, struct rule_entry *entry)
{
	if (!(generation & GENERATION_STAGED) || !entry || !entry->staged)
		return;
	count_outcome(entry->staged_action == ACTION_DENY ? OUTCOME_STAGED_DENY
							  : OUTCOME_STAGED_ALLOW);
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

// Allow-lists: what no entry allows is not allowed.
INLINE void decide_by_rules(u64 generation, struct question *q, struct mode_entry *m, u32 local,
			    struct decision *d)
{
	u8 ask_ranges = m ? m->flags & MODE_FLAG_RANGES : 0;
	struct rulebook book = {
		.rules = rules_of(generation),
		.ranges = ask_ranges ? ranges_of(generation) : 0,
	};
	struct rule_entry *entry;
	struct rule_key key;

	ask(q, local, q->provisional ? ID_MANAGED : q->peer, &key);
	entry = find_rule(&book, &key);
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

INLINE void find_verdict(u64 generation, struct question *q, struct decision *d)
{
	struct mode_entry *m;
	u32 local = q->local;
	u32 lifeline = find_lifeline(generation, q);

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

INLINE void decide(u64 generation, struct question *q, struct decision *d)
{
	find_verdict(generation, q, d);
	d->verdict = blur(d->verdict);
	d->reason = blur(d->reason);
	d->rule = blur(d->rule);
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
