// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// TCP segments at both cgroup_skb hooks: what each asks, and what follows from the answer. Only
// handshakes are parsed; an established connection costs one look-up in its socket's storage and
// one compare, until the generation changes.
//
// gather_*: returns ASK if a judgement is needed, else what becomes of the packet.

#define SKB_PASS 1
#define SKB_DROP 0
#define SKB_DROP_QUIETLY 2 // egress: as if the network had lost it, so that TCP's own timer repeats
#define ASK -1

#define SOL_TCP 6
#define TCP_STATE_SYN_SENT 2
#define TCP_STATE_LISTEN 10

// A raw socket may send anything: only a stream socket's segments are TCP to us, the rest is judged
// packet by packet.
INLINE int is_tcp(struct bpf_sock *sk)
{
	return sk->protocol == IPPROTO_TCP && sk->type == SOCK_STREAM;
}

INLINE void socket_remote(struct bpf_sock *sk, struct address_key *remote)
{
	u32 *words = (u32 *)remote;

	if (sk->family == AF_INET) {
		map_ipv4(remote, sk->dst_ip4);
		return;
	}
	words[0] = sk->dst_ip6[0];
	words[1] = sk->dst_ip6[1];
	words[2] = sk->dst_ip6[2];
	words[3] = sk->dst_ip6[3];
}

INLINE void socket_local(struct bpf_sock *sk, struct address_key *local)
{
	u32 *words = (u32 *)local;

	if (sk->family == AF_INET) {
		map_ipv4(local, sk->src_ip4);
		return;
	}
	words[0] = sk->src_ip6[0];
	words[1] = sk->src_ip6[1];
	words[2] = sk->src_ip6[2];
	words[3] = sk->src_ip6[3];
}

INLINE void gather_socket(struct bpf_sock *sk, struct socket_state *s, struct inquiry *i)
{
	i->q.protocol = IPPROTO_TCP;
	i->q.port = s->port;
	i->q.direction = s->flags & SOCKET_EGRESS ? DIR_EGRESS : DIR_INGRESS;
	i->f.tgid = s->tgid;
	socket_local(sk, &i->f.local);
	socket_remote(sk, &i->f.remote);
	// A socket that resets its connection has given its port back already.
	i->f.local_port = i->q.direction == DIR_INGRESS ? s->port : sk->src_port;
	i->f.remote_port = bpf_ntohs(sk->dst_port);
}

INLINE void gather_packet(struct packet *p, struct socket_state *s, struct inquiry *i)
{
	i->q.protocol = IPPROTO_TCP;
	i->netns = s->netns;
	i->f.netns = s->netns;
	i->f.tgid = s->tgid;
	i->f.local = p->destination;
	i->f.remote = p->source;
	i->f.local_port = p->destination_port;
	i->f.remote_port = p->source_port;
}

INLINE int verdict_of(struct decision *d)
{
	return d->verdict == VERDICT_REFUSE ? SKB_DROP : SKB_PASS;
}

// The one look that an established connection's packet costs.
INLINE int is_settled(struct bpf_sock *sk, struct socket_state *s, u64 generation)
{
	return s && s->generation == generation && is_tcp(sk) && sk->state != TCP_STATE_LISTEN &&
	       sk->state != TCP_STATE_SYN_SENT;
}

INLINE int settled_verdict(struct socket_state *s)
{
	return s->verdict == VERDICT_REFUSE ? SKB_DROP : SKB_PASS;
}

INLINE int gather_established(struct control *c, u64 generation, struct bpf_sock *sk,
			      struct socket_state *s, struct inquiry *i)
{
	i->kind = ASK_ESTABLISHED;
	i->q.adopted = (s->flags & SOCKET_ADOPTED) && adoption_holds(c);
	i->q.local = settle_local(c, s);
	if (i->q.local == ID_PENDING && !i->q.adopted) {
		count_outcome(OUTCOME_HELD);
		return SKB_DROP; // TCP repeats it; judged as `host` it might be cut for good
	}
	gather_socket(sk, s, i);
	count_outcome(OUTCOME_REJUDGED);
	return ASK;
}

// A new generation: a proven identity stays, the verdict is made anew. Where nothing but the
// address spoke it is classified anew too, for networks are numbered afresh in each snapshot.
INLINE void find_established_peer(u64 generation, struct socket_state *s, struct inquiry *i,
				  struct address_entry *address)
{
	i->q.peer = s->peer;
	i->f.peer_host = s->peer_host;
	i->f.proof = s->proof;
	if (s->proof == PROOF_TAG)
		return;
	i->q.peer = identity_by_address(generation, address);
	i->f.peer_host = address->host;
	i->f.proof = PROOF_ADDRESS;
}

INLINE void keep_established(u64 generation, struct socket_state *s, struct inquiry *i)
{
	s->peer = i->q.peer;
	s->peer_host = i->f.peer_host;
	s->proof = i->f.proof;
	cache(s, generation, &i->d);
}

// Egress of a socket that waits for its SYN-ACK: the SYN, its retransmissions, a RST.
INLINE int gather_opening(struct control *c, u64 generation, struct bpf_sock *sk,
			  struct socket_state *s, struct inquiry *i)
{
	if (s->local != ID_PENDING && s->verdict != VERDICT_NONE) {
		if (s->generation == generation)
			return settled_verdict(s);
		if (s->verdict != VERDICT_REFUSE && !(s->flags & SOCKET_HELD) && !s->peer)
			return SKB_PASS; // connect allowed it provisionally, the SYN-ACK decides
	}
	i->q.local = settle_local(c, s);
	if (i->q.local == ID_PENDING || (s->flags & SOCKET_SILENT)) {
		count_outcome(OUTCOME_HELD);
		count_verdict(DIR_EGRESS, VERDICT_HELD, REASON_PENDING);
		return SKB_DROP_QUIETLY;
	}
	i->kind = ASK_OPENING;
	gather_socket(sk, s, i);
	return ASK;
}

INLINE void keep_handshake(struct control *c, u64 generation, struct inquiry *i)
{
	struct handshake h = {
		.generation = generation,
		.mac = i->mac,
		.local = i->q.local,
		.peer = i->q.peer,
		.peer_host = i->f.peer_host,
		.rule = i->d.rule,
		.verdict = i->d.verdict,
		.reason = i->d.reason,
		.proof = i->f.proof,
	};
	struct tuple key;

	handshake_key(i, &key);
	if (put_handshake(&key, &h))
		count_outcome(OUTCOME_HANDSHAKE_LOST);
	if (i->mac)
		remember_tag(c, i->mac);
}

// The ACK that ends a handshake meets the listener too. If policy changed since the SYN, the
// connection must not come to life under the old verdict.
INLINE int gather_final_ack(u64 generation, struct inquiry *i)
{
	struct handshake *h;
	struct tuple key;

	handshake_key(i, &key);
	h = get_handshake(&key);
	if (!h || h->generation == generation)
		return SKB_PASS;
	i->kind = ASK_FINAL_ACK;
	i->q.local = h->local;
	i->q.peer = h->peer;
	i->f.peer_host = h->peer_host;
	i->f.proof = h->proof;
	count_outcome(OUTCOME_REJUDGED);
	return ASK;
}

INLINE void keep_final_ack(u64 generation, struct inquiry *i)
{
	struct handshake *h;
	struct tuple key;

	handshake_key(i, &key);
	h = get_handshake(&key);
	if (!h)
		return;
	h->peer = i->q.peer;
	h->verdict = i->d.verdict;
	h->reason = i->d.reason;
	h->rule = i->d.rule;
	h->generation = generation;
}

// A refusal is kept only where the peer proved itself: a forger's SYN-ACK must not spoil the
// connection to the one he imitates.
INLINE void keep_syn_ack(struct control *c, u64 generation, struct socket_state *s,
			 struct inquiry *i)
{
	if (i->d.verdict == VERDICT_REFUSE && i->f.proof != PROOF_TAG)
		return;
	keep_established(generation, s, i);
	if (i->mac) // simultaneous open: it was a SYN
		remember_tag(c, i->mac);
}

// Segments for a listener or for a socket that waits for its SYN-ACK.
INLINE int gather_handshake(struct control *c, u64 generation, struct __sk_buff *skb,
			    struct bpf_sock *sk, struct socket_state *s, struct packet *p,
			    struct inquiry *i)
{
	if (read_network(skb, p) || p->fragment || read_tcp(skb, p)) {
		count_verdict(DIR_INGRESS, VERDICT_REFUSE, REASON_PACKET_MALFORMED);
		return SKB_DROP;
	}
	gather_packet(p, s, i);
	if (sk->state == TCP_STATE_SYN_SENT) {
		if (!(p->tcp_flags & TCP_SYN)) // without ACK: simultaneous open, RFC 9293 3.5
			return SKB_PASS;
		i->kind = ASK_SYN_ACK;
		i->f.segment = SEGMENT_SYN_ACK;
		i->q.direction = DIR_EGRESS;
		i->q.port = s->port;
		i->q.local = settle_local(c, s);
		return ASK;
	}
	i->q.direction = DIR_INGRESS;
	i->q.port = p->destination_port;
	if ((p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN)
		return gather_final_ack(generation, i);
	i->kind = ASK_SYN;
	i->f.segment = SEGMENT_SYN;
	i->f.answer = p->sequence + 1 + skb->len - p->transport - 20 - p->options_length;
	i->q.local = settle_local(c, s);
	if (i->q.local != ID_PENDING)
		return ASK;
	count_verdict(DIR_INGRESS, VERDICT_HELD, REASON_PENDING);
	return SKB_DROP; // the client's TCP repeats it
}
