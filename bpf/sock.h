// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Socket calls of the current process: tag the socket, judge what `connect` asks for. Only
// `connect` refuses here (EPERM at once); the rest is judged where the packet is.

#define CALL_OK 1
#define CALL_REFUSED 0

// Tags the socket with the calling process. Null: no memory, the socket stays untagged.
INLINE struct socket_state *tag_socket(struct control *c, struct bpf_sock *sk, u64 netns)
{
	struct socket_state *s = make_socket(sk);

	if (!s) {
		count_outcome(OUTCOME_SOCKET_UNTAGGED);
		return 0;
	}
	s->netns = netns;
	s->flags &= ~SOCKET_ADOPTED; // from now on it is used under our eyes
	s->local = current_identity(c, &s->tgid, &s->stamp);
	return s;
}

INLINE void forget_peer(struct socket_state *s)
{
	s->generation = 0;
	s->peer = 0;
	s->peer_host = 0;
	s->rule = 0;
	s->verdict = VERDICT_NONE;
	s->reason = REASON_NONE;
	s->proof = PROOF_NONE;
	s->flags = SOCKET_EGRESS;
}

// As far as it can be: an unmanaged peer for good, a managed one provisionally.
INLINE int judge_connect(struct control *c, u64 generation, struct socket_state *s,
			 struct inquiry *i)
{
	struct address_entry address;

	i->q.local = s->local;
	i->q.port = s->port;
	i->q.direction = DIR_EGRESS;
	i->q.protocol = IPPROTO_TCP;
	i->f.tgid = s->tgid;
	i->f.remote_port = s->port;
	ask_about_address(c, generation, i, &address);
	find_opening_peer(generation, i, &address);
	if (s->local == ID_PENDING) {
		s->peer_host = i->f.peer_host; // so that its SYN can say who asks when we know
		begin_hold(s);		       // egress holds the SYN, and judges it then
		return CALL_OK;
	}
	i->q.same_host = address.host && address.host == c->host;
	decide(generation, &i->q, &i->d);
	keep_opening(generation, i, s);
	if (!i->q.provisional || i->d.verdict == VERDICT_REFUSE) // else counted when it is final
		report(c, generation, &i->q, &i->d, &i->f);
	return i->d.verdict == VERDICT_REFUSE ? CALL_REFUSED : CALL_OK;
}

INLINE int on_connect(struct bpf_sock_addr *ctx, struct inquiry *i)
{
	struct control *c = get_control();
	struct bpf_sock *sk = ctx->sk;
	struct socket_state *s;
	u64 generation;

	if (!c || !sk)
		return CALL_OK;
	s = tag_socket(c, sk, bpf_get_netns_cookie(ctx));
	if (!s)
		return CALL_OK;
	if (ctx->protocol != IPPROTO_TCP) { // datagrams are judged as they leave
		if (!read_generation(c))
			s->flags |= SOCKET_ADOPTED; // older than the first policy
		return CALL_OK;
	}
	forget_peer(s);
	s->port = bpf_ntohs(ctx->user_port);
	generation = read_generation(c);
	if (!generation)
		return CALL_OK;
	return judge_connect(c, generation, s, i);
}

int cordon_sock_create(struct bpf_sock *ctx)
{
	struct control *c = get_control();

	if (c)
		tag_socket(c, ctx, bpf_get_netns_cookie(ctx));
	return CALL_OK;
}

// Any call by which a process takes a socket for its own use.
INLINE int retag(struct bpf_sock_addr *ctx)
{
	struct control *c = get_control();
	struct bpf_sock *sk = ctx->sk;

	if (c && sk)
		tag_socket(c, sk, bpf_get_netns_cookie(ctx));
	return CALL_OK;
}

int cordon_bind4(struct bpf_sock_addr *ctx)
{
	return retag(ctx);
}

int cordon_bind6(struct bpf_sock_addr *ctx)
{
	return retag(ctx);
}

int cordon_sendmsg4(struct bpf_sock_addr *ctx)
{
	return retag(ctx);
}

int cordon_sendmsg6(struct bpf_sock_addr *ctx)
{
	return retag(ctx);
}

int cordon_connect4(struct bpf_sock_addr *ctx)
{
	struct inquiry i = {};

	map_ipv4(&i.f.remote, ctx->user_ip4);
	return on_connect(ctx, &i);
}

int cordon_connect6(struct bpf_sock_addr *ctx)
{
	struct inquiry i = {};
	u32 *words = (u32 *)&i.f.remote;

	words[0] = ctx->user_ip6[0];
	words[1] = ctx->user_ip6[1];
	words[2] = ctx->user_ip6[2];
	words[3] = ctx->user_ip6[3];
	return on_connect(ctx, &i);
}
