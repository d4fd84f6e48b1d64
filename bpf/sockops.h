// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// TCP's own call-backs: write the tag into SYN and SYN-ACK, shorten the first time-out of a held
// socket, hand a verified peer to the socket that accept() will return, tell those who watch what a
// connection carried when it has ended. A failure here never stops
// a connection: it goes on without a tag and is counted, and the peer sees `unproven`.

#define REPLY_DEFAULT -1
#define TCP_SYNCNT 7
#define MAX_TCP_SYNCNT 127
#define HELD_REPEATS 6
#define TCP_STATE_CLOSE 7
#define SINCE_SHIFT 20 // about a millisecond; wraps after 52 days

// Context fields must be read one by one at fixed offsets: the compiler is kept from merging the
// two families' loads into one through a chosen pointer, which the verifier refuses.
#define CTX_FIELD(ctx, field) (*(volatile u32 *)&(ctx)->field)

INLINE void sockops_addresses(struct bpf_sock_ops *ctx, struct address_key *local,
			      struct address_key *remote)
{
	u32 *l = (u32 *)local, *r = (u32 *)remote;
	u32 local4 = CTX_FIELD(ctx, local_ip4), remote4 = CTX_FIELD(ctx, remote_ip4);

	if (ctx->family == AF_INET) {
		map_ipv4(local, local4);
		map_ipv4(remote, remote4);
		return;
	}
	l[0] = CTX_FIELD(ctx, local_ip6[0]);
	l[1] = CTX_FIELD(ctx, local_ip6[1]);
	l[2] = CTX_FIELD(ctx, local_ip6[2]);
	l[3] = CTX_FIELD(ctx, local_ip6[3]);
	r[0] = CTX_FIELD(ctx, remote_ip6[0]);
	r[1] = CTX_FIELD(ctx, remote_ip6[1]);
	r[2] = CTX_FIELD(ctx, remote_ip6[2]);
	r[3] = CTX_FIELD(ctx, remote_ip6[3]);
}

INLINE u16 sockops_remote_port(struct bpf_sock_ops *ctx)
{
	return bpf_ntohl(ctx->remote_port);
}

// The handshake's key as ingress wrote it: the source is the client.
INLINE void passive_tuple(struct bpf_sock_ops *ctx, u64 netns, struct tuple *key)
{
	struct address_key local, remote;

	sockops_addresses(ctx, &local, &remote);
	__builtin_memcpy(key->source, &remote, 16);
	__builtin_memcpy(key->destination, &local, 16);
	key->netns = netns;
	key->source_port = sockops_remote_port(ctx);
	key->destination_port = ctx->local_port;
	key->pad = 0;
}

INLINE void reserve_tag(struct bpf_sock_ops *ctx)
{
	if (bpf_reserve_hdr_opt(ctx, TAG_LENGTH, 0))
		count_outcome(OUTCOME_TAG_NO_ROOM);
}

INLINE void write_tag(struct bpf_sock_ops *ctx, struct control *c, u64 generation, u32 identity,
		      u32 peer_host, u8 direction)
{
	void *data = (void *)(long)ctx->skb_data;
	void *end = (void *)(long)ctx->skb_data_end;
	struct address_key local, remote;
	struct cordon_key key;
	struct epoch_key *slot;
	struct mac_input input;
	struct tag_option option;
	struct tag_segment segment = {};
	u8 version;

	slot = transmit_key(c, generation, peer_host, &version);
	if (!slot) {
		count_outcome(OUTCOME_TAG_NO_KEY);
		return;
	}
	if (data + 20 > end)
		return;
	segment.sequence = bpf_ntohl(*(u32 *)(data + 4));
	segment.acknowledged = direction ? bpf_ntohl(*(u32 *)(data + 8)) : 0;
	segment.direction = direction;
	sockops_addresses(ctx, &local, &remote);
	segment.source = local.address;
	segment.destination = remote.address;
	segment.source_port = ctx->local_port;
	segment.destination_port = sockops_remote_port(ctx);
	key.k[0] = slot->key[0];
	key.k[1] = slot->key[1];
	mac_input_fill(&input, &segment, version, identity, c->host);
	tag_write(&option, version, identity, c->host, tag_mac(&key, &input));
	if (bpf_store_hdr_opt(ctx, &option, TAG_LENGTH, 0))
		count_outcome(OUTCOME_TAG_STORE_FAILED);
	else
		count_outcome(OUTCOME_TAG_WRITTEN);
}

// What a SYN or SYN-ACK should say, or 0: nothing. Both sides end in one place that writes.
struct statement {
	u32 identity;
	u32 peer_host;
};

// Active side: our SYN.
INLINE int active_statement(struct control *c, struct bpf_sock *sk, struct statement *out)
{
	struct socket_state *s = get_socket(sk);

	if (!s || !s->peer_host)
		return 0; // towards strangers nothing is written
	out->identity = s->local == ID_PENDING ? settle_local(c, s) : s->local;
	out->peer_host = s->peer_host;
	if (out->identity == ID_PENDING) { // egress holds it; its retransmission comes here again
		s->flags |= SOCKET_SILENT;
		return 0;
	}
	s->flags &= ~SOCKET_SILENT;
	return 1;
}

// Passive side: the SYN-ACK has no full socket; what is needed waits with the SYN's judgement.
INLINE int passive_statement(struct bpf_sock_ops *ctx, struct statement *out)
{
	struct handshake *h;
	struct tuple key;

	passive_tuple(ctx, bpf_get_netns_cookie(ctx), &key);
	h = get_handshake(&key);
	if (!h) {
		if (ctx->op == BPF_SOCK_OPS_HDR_OPT_LEN_CB)
			count_outcome(OUTCOME_SYNACK_TAG_MISSED);
		return 0;
	}
	out->identity = h->local;
	out->peer_host = h->peer_host;
	return h->peer_host != 0;
}

INLINE void on_option(struct bpf_sock_ops *ctx, struct control *c, struct bpf_sock *sk)
{
	u64 generation = read_generation(c);
	u32 flags = ctx->skb_tcp_flags;
	struct statement statement = {};
	int speak = 0;

	if (!generation || !(flags & TCP_SYN))
		return;
	if (flags & TCP_ACK)
		speak = passive_statement(ctx, &statement);
	else if (sk)
		speak = active_statement(c, sk, &statement);
	if (!speak)
		return;
	if (ctx->op == BPF_SOCK_OPS_HDR_OPT_LEN_CB)
		reserve_tag(ctx);
	else
		write_tag(ctx, c, generation, statement.identity, statement.peer_host,
			  !!(flags & TCP_ACK));
}

INLINE void want_options(struct bpf_sock_ops *ctx)
{
	u32 flags = ctx->bpf_sock_ops_cb_flags;

	bpf_sock_ops_cb_flags_set(ctx, flags | BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG);
}

// The connection is established: no options from here on, and its end only if somebody watches.
INLINE void want_end(struct bpf_sock_ops *ctx, struct control *c, struct socket_state *s)
{
	u32 flags = ctx->bpf_sock_ops_cb_flags & ~BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG;

	if (s && s->verdict != VERDICT_NONE && is_watched(c)) {
		flags |= BPF_SOCK_OPS_STATE_CB_FLAG;
		s->since = now_ns() >> SINCE_SHIFT;
	}
	bpf_sock_ops_cb_flags_set(ctx, flags);
}

INLINE void describe_end(struct bpf_sock_ops *ctx, struct socket_state *s, struct flow_event *event)
{
	struct address_key local, remote;
	u32 lasted = (u32)(now_ns() >> SINCE_SHIFT) - s->since;

	sockops_addresses(ctx, &local, &remote);
	__builtin_memcpy(event->local_address, &local, 16);
	__builtin_memcpy(event->remote_address, &remote, 16);
	event->local_port = ctx->local_port;
	event->remote_port = sockops_remote_port(ctx);
	event->sent_bytes = ctx->bytes_acked;
	event->received_bytes = ctx->bytes_received;
	event->sent_packets = ctx->segs_out;
	event->received_packets = ctx->segs_in;
	event->duration_ms = ((u64)lasted << SINCE_SHIFT) / 1000000;
}

// Runs for each state after `established`; the last one is of interest.
INLINE void on_state(struct bpf_sock_ops *ctx, struct control *c, struct bpf_sock *sk)
{
	struct flow_event *event;
	struct socket_state *s;

	if (ctx->args[1] != TCP_STATE_CLOSE || !is_watched(c))
		return;
	s = get_socket(sk);
	if (!s)
		return;
	event = reserve_flow_event();
	if (!event) {
		count_outcome(OUTCOME_FLOW_EVENT_LOST);
		return;
	}
	describe_end(ctx, s, event);
	event->time_ns = now_ns();
	event->generation = s->generation;
	event->netns = s->netns;
	event->local = s->local;
	event->peer = s->peer;
	event->peer_host = s->peer_host;
	event->rule = s->rule;
	event->tgid = s->tgid;
	event->suppressed = 0;
	event->protocol = IPPROTO_TCP;
	event->direction = s->flags & SOCKET_EGRESS ? DIR_EGRESS : DIR_INGRESS;
	event->verdict = s->verdict;
	event->reason = s->reason;
	event->proof = s->proof;
	event->segment = SEGMENT_OTHER;
	event->kind = FLOW_CLOSED;
	event->pad = 0;
	event->answer = 0;
	event->pad2 = 0;
	submit_flow_event(event, wake_watchers(c));
}

INLINE void on_listen(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct socket_state *s = get_socket(sk);

	if (s) {
		s->flags = SOCKET_LISTENS;
		s->port = ctx->local_port;
	}
	want_options(ctx);
}

// The child exists and has a copy of its listener's state; now it gets its peer.
INLINE void find_accepted_peer(struct bpf_sock_ops *ctx, struct control *c, struct socket_state *s)
{
	struct handshake *h;
	struct tuple key;

	passive_tuple(ctx, s->netns, &key);
	h = get_handshake(&key);
	s->flags = 0;
	s->port = ctx->local_port;
	if (!h) {
		s->peer = 0; // the next packet judges it by its address
		s->generation = 0;
		if (read_generation(c))
			count_outcome(OUTCOME_HANDSHAKE_LOST);
		else
			s->flags = SOCKET_ADOPTED; // older than the first policy
		return;
	}
	s->local = h->local;
	s->peer = h->peer;
	s->peer_host = h->peer_host;
	s->proof = h->proof;
	s->verdict = h->verdict;
	s->reason = h->reason;
	s->rule = h->rule;
	s->generation = h->generation;
	delete_handshake(&key);
}

INLINE void on_accepted(struct bpf_sock_ops *ctx, struct control *c, struct bpf_sock *sk)
{
	struct socket_state *s = get_socket(sk);

	if (s)
		find_accepted_peer(ctx, c, s);
	want_end(ctx, c, s);
}

INLINE void on_connected(struct bpf_sock_ops *ctx, struct control *c, struct bpf_sock *sk)
{
	struct socket_state *s = get_socket(sk);

	want_end(ctx, c, s);
	if (s && !s->peer && !read_generation(c))
		s->flags |= SOCKET_ADOPTED; // older than the first policy
}

INLINE void set_repeats(struct bpf_sock_ops *ctx, int repeats)
{
	if (repeats > MAX_TCP_SYNCNT)
		repeats = MAX_TCP_SYNCNT;
	bpf_setsockopt(ctx, SOL_TCP, TCP_SYNCNT, &repeats, sizeof(repeats));
}

// A first time-out of 20 ms has doubled six times until it is TCP's usual one: without so many more
// repeats, TCP would give up after 2.6 s, whatever the hold limit, and the patience of the program.
INLINE void repeat_longer(struct bpf_sock_ops *ctx, struct socket_state *s)
{
	int repeats = 0;

	if (bpf_getsockopt(ctx, SOL_TCP, TCP_SYNCNT, &repeats, sizeof(repeats)))
		return;
	s->repeats = repeats;
	set_repeats(ctx, repeats + HELD_REPEATS);
}

// Whom policy refuses when it is known at last can no longer be told EPERM: its connect is under
// way. It ends when the time-out after this one is over, and does not wait for its last repeat.
INLINE void repeat_no_more(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct socket_state *s = get_socket(sk);

	if (s && s->repeats && s->verdict == VERDICT_REFUSE)
		set_repeats(ctx, 1);
}

// The same socket connects once more: what was done to it for the last time is over.
INLINE void repeat_as_usual(struct bpf_sock_ops *ctx, struct bpf_sock *sk)
{
	struct socket_state *s = get_socket(sk);

	if (!s || !s->repeats)
		return;
	set_repeats(ctx, s->repeats);
	s->repeats = 0;
}

INLINE void on_timeout_init(struct bpf_sock_ops *ctx, struct control *c, struct bpf_sock *sk)
{
	struct socket_state *s = get_socket(sk);

	if (!s || !(s->flags & SOCKET_HELD) || !c->hold_rto_jiffies)
		return;
	ctx->reply = c->hold_rto_jiffies;
	if (!s->repeats) // TCP asks more than once
		repeat_longer(ctx, s);
}

int cordon_sock_ops(struct bpf_sock_ops *ctx)
{
	struct control *c = get_control();
	struct bpf_sock *sk = ctx->sk; // null for a request socket

	ctx->reply = REPLY_DEFAULT;
	if (!c)
		return 1;
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB: // before the SYN is built
		if (sk)
			repeat_as_usual(ctx, sk);
		want_options(ctx);
		break;
	case BPF_SOCK_OPS_TIMEOUT_INIT:
		if (sk)
			on_timeout_init(ctx, c, sk);
		break;
	case BPF_SOCK_OPS_TCP_LISTEN_CB:
		if (sk)
			on_listen(ctx, sk);
		break;
	case BPF_SOCK_OPS_HDR_OPT_LEN_CB: // once before each SYN
		if (sk)
			repeat_no_more(ctx, sk);
		on_option(ctx, c, sk);
		break;
	case BPF_SOCK_OPS_WRITE_HDR_OPT_CB:
		on_option(ctx, c, sk);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		if (sk)
			on_connected(ctx, c, sk);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		if (sk)
			on_accepted(ctx, c, sk);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (sk)
			on_state(ctx, c, sk);
		break;
	}
	return 1;
}
