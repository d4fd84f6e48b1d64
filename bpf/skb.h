// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// What the two cgroup_skb hooks share: whose packet is it?

// A listener older than the agent has no state: from its first SYN on it is `host`'s.
INLINE struct socket_state *adopt_listener(struct bpf_sock *sk)
{
	struct socket_state *s;

	if (sk->state != TCP_STATE_LISTEN)
		return 0;
	s = make_socket(sk);
	if (s) {
		s->local = ID_HOST;
		s->flags = SOCKET_LISTENS | SOCKET_ADOPTED;
	}
	return s;
}

INLINE int pass_unjudged(u32 direction, u32 reason)
{
	count_verdict(direction, VERDICT_ALLOW, reason);
	return SKB_PASS;
}
