// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What the two cgroup_skb hooks share: whose packet is it?

// A stream socket without state is older than the agent, and the daemon did not find it either, or
// the kernel made it for itself. A listener is `host`'s from its first SYN on. A connection passes
// until the grace is over and is then judged as `host`'s; who opened it is not known, and its
// peer's port is taken for the service's.
INLINE struct socket_state *adopt_socket(struct control *c, struct bpf_sock *sk)
{
	int listens = sk->state == TCP_STATE_LISTEN;
	struct socket_state *s;

	if (!listens && (sk->state == TCP_STATE_SYN_SENT || adoption_holds(c)))
		return 0;
	s = make_socket(sk);
	if (s) {
		s->local = ID_HOST;
		s->port = bpf_ntohs(sk->dst_port);
		s->flags = SOCKET_ADOPTED | (listens ? SOCKET_LISTENS : SOCKET_EGRESS);
	}
	return s;
}

INLINE int pass_unjudged(u32 direction, u32 reason)
{
	count_verdict(direction, VERDICT_ALLOW, reason);
	return SKB_PASS;
}
