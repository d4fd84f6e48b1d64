// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What is not TCP: UDP, ICMP, raw IP. Nothing on the wire proves identity yet, so the peer is its
// address's class: a network, `unproven` for a managed host, or on this very host the sender that
// left a record as its packet passed egress. Whoever sends first opens an exchange; answers pass.

#define EXCHANGE_IDLE_S 180 // an answer later than this is judged as if it opened an exchange

INLINE void flow_key(struct flow *f, u8 protocol, u64 netns, struct datagram_key *key)
{
	__builtin_memset(key, 0, sizeof(*key));
	key->netns = netns;
	key->protocol = protocol;
	__builtin_memcpy(key->local, &f->local, 16);
	__builtin_memcpy(key->remote, &f->remote, 16);
	key->local_port = f->local_port;
	key->remote_port = f->remote_port;
}

// For the receiver on this host, in its own terms: who sent this.
INLINE void leave_record(struct datagram_key *mine, u32 identity)
{
	struct record value = {.identity = identity};
	struct datagram_key key;
	struct record *old;

	__builtin_memset(&key, 0, sizeof(key));
	key.netns = mine->netns;
	key.protocol = mine->protocol;
	__builtin_memcpy(key.local, mine->remote, 16);
	__builtin_memcpy(key.remote, mine->local, 16);
	key.local_port = mine->remote_port;
	key.remote_port = mine->local_port;
	old = get_record(&key);
	if (old)
		old->identity = identity;
	else
		put_record(&key, &value);
}

INLINE void gather_sides(struct packet *p, u8 direction, struct flow *f)
{
	if (direction == DIR_EGRESS) {
		f->local = p->source;
		f->remote = p->destination;
		f->local_port = p->source_port;
		f->remote_port = p->destination_port;
	} else {
		f->local = p->destination;
		f->remote = p->source;
		f->local_port = p->destination_port;
		f->remote_port = p->source_port;
	}
}

// The service's port of an exchange that `direction` opened.
INLINE u16 service_port(struct inquiry *i, struct packet *p)
{
	if (p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_ICMPV6)
		return p->tcp_flags; // the type
	return i->q.direction == DIR_EGRESS ? i->f.remote_port : i->f.local_port;
}

// An answer's opener, where only the answer is at hand.
INLINE u16 opener_port(struct inquiry *i, struct packet *p)
{
	if (p->protocol == IPPROTO_ICMP)
		return 8; // echo request
	if (p->protocol == IPPROTO_ICMPV6)
		return 128;
	return service_port(i, p);
}

// Does the exchange let this packet pass without a judgement of its own?
INLINE int continues(struct datagram *known, u64 generation, u8 direction, u32 now_s)
{
	if (known->generation != generation || known->verdict == VERDICT_REFUSE)
		return 0;
	if (known->direction != direction)
		return now_s - known->seen_s <= EXCHANGE_IDLE_S;
	known->seen_s = now_s;
	return 1;
}

// An answer under a new generation: whether the exchange may go on is its opener's question.
INLINE int answers(struct datagram *known, u8 direction, u32 now_s)
{
	return known->direction != direction && known->verdict != VERDICT_REFUSE &&
	       now_s - known->seen_s <= EXCHANGE_IDLE_S;
}

// The agent answers refused SYNs with resets of its own, from raw sockets that it marks in their
// storage, which nobody can write who may not do worse. Nothing but a bare reset passes for it.
INLINE int is_own_reset(struct __sk_buff *skb, struct socket_state *s, struct packet *p)
{
	u8 flags = 0;

	if (!s || !(s->flags & SOCKET_RESETS) || p->protocol != IPPROTO_TCP || p->fragment)
		return 0;
	if (skb->len != p->transport + 20u || bpf_skb_load_bytes(skb, p->transport + 13, &flags, 1))
		return 0;
	return flags == (TCP_RST | TCP_ACK);
}

INLINE int hold_datagram(u8 direction)
{
	count_outcome(OUTCOME_HELD);
	count_verdict(direction, VERDICT_HELD, REASON_PENDING);
	return direction == DIR_EGRESS ? SKB_DROP_QUIETLY : SKB_DROP;
}

// `s` is null for the kernel's own sockets and for those older than the agent: they are `host`'s.
INLINE int gather_datagram(struct control *c, u64 generation, struct __sk_buff *skb,
			   struct socket_state *s, u8 direction, struct packet *p,
			   struct inquiry *i)
{
	u32 now_s = now_ns() / NS_PER_S;
	struct datagram_key key;
	struct datagram *known;

	if (read_network(skb, p) || read_ports(skb, p)) {
		count_verdict(direction, VERDICT_REFUSE, REASON_PACKET_MALFORMED);
		return SKB_DROP;
	}
	if (is_icmp_control(p) || (!s && is_echo_reply(p)) ||
	    (direction == DIR_EGRESS && is_own_reset(skb, s, p))) {
		count_verdict(direction, VERDICT_ALLOW, REASON_CONTROL);
		return SKB_PASS;
	}
	i->q.local = s ? settle_local(c, s) : ID_HOST;
	if (i->q.local == ID_PENDING)
		return hold_datagram(direction);
	i->q.direction = direction;
	i->q.protocol = p->protocol;
	i->f.tgid = s ? s->tgid : 0;
	i->q.adopted = s && (s->flags & SOCKET_ADOPTED) && adoption_holds(c);
	gather_sides(p, direction, &i->f);
	flow_key(&i->f, p->protocol, s ? s->netns : 0, &key);
	if (direction == DIR_EGRESS)
		leave_record(&key, i->q.local);
	known = get_datagram(&key);
	if (known && continues(known, generation, direction, now_s))
		return SKB_PASS;
	if (known && answers(known, direction, now_s)) {
		i->kind = ASK_EXCHANGE;
		i->q.direction = known->direction;
		i->q.port = opener_port(i, p);
		count_outcome(OUTCOME_REJUDGED);
	} else {
		i->kind = ASK_DATAGRAM;
		i->q.port = service_port(i, p);
	}
	return ASK;
}

INLINE void find_datagram_peer(struct control *c, u64 generation, struct socket_state *s,
			       struct inquiry *i, struct address_entry *address)
{
	struct datagram_key key;
	struct record *record;

	i->q.peer = identity_by_address(generation, address);
	i->f.peer_host = address->host;
	i->f.proof = PROOF_ADDRESS;
	if (!address->host || address->host != c->host)
		return;
	if (i->q.direction == DIR_EGRESS) {
		i->q.provisional = 1; // the receiver's side knows both
		return;
	}
	flow_key(&i->f, i->q.protocol, s ? s->netns : 0, &key);
	record = get_record(&key);
	if (!record)
		return;
	i->q.peer = record->identity;
	i->f.proof = PROOF_RECORD;
}

INLINE void keep_datagram(u64 generation, struct socket_state *s, struct inquiry *i)
{
	struct datagram fresh = {
		.generation = generation,
		.seen_s = now_ns() / NS_PER_S,
		.rule = i->d.rule,
		.direction = i->q.direction,
		.verdict = i->d.verdict,
		.reason = i->d.reason,
		.proof = i->f.proof,
		.peer = i->q.peer,
	};
	struct datagram_key key;
	struct datagram *known;

	flow_key(&i->f, i->q.protocol, s ? s->netns : 0, &key);
	known = get_datagram(&key);
	if (known)
		*known = fresh;
	else if (i->d.verdict != VERDICT_REFUSE)
		put_datagram(&key, &fresh); // refusals leave nothing a flood could fill
}
