// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// cgroup_skb egress: held processes' packets wait, what leaves is judged.

INLINE int judge_egress(struct control *c, u64 generation, struct socket_state *s,
			struct inquiry *i)
{
	struct address_entry address;

	blur_inquiry(i);
	ask_about_address(c, generation, i, &address);
	if (i->kind == ASK_OPENING)
		find_opening_peer(generation, i, &address);
	else if (i->kind == ASK_ESTABLISHED && s)
		find_established_peer(generation, s, i, &address);
	else
		find_datagram_peer(c, generation, s, i, &address);
	i->q.same_host = i->f.peer_host && i->f.peer_host == c->host;
	decide(generation, &i->q, &i->d);
	if (i->kind != ASK_OPENING || !i->q.provisional || i->d.verdict == VERDICT_REFUSE)
		report(c, generation, &i->q, &i->d, &i->f);
	if (i->kind == ASK_DATAGRAM || i->kind == ASK_EXCHANGE)
		keep_datagram(generation, s, i);
	else if (s && i->kind == ASK_OPENING)
		keep_opening(generation, i, s);
	else if (s)
		keep_established(generation, s, i);
	return verdict_of(&i->d);
}

int cordon_egress(struct __sk_buff *skb)
{
	struct control *c = get_control();
	struct bpf_sock *sk = skb->sk;
	struct socket_state *s;
	struct inquiry i;
	struct packet p;
	u64 generation;
	int answer;

	if (!c || !sk)
		return SKB_PASS;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return SKB_PASS;
	generation = read_generation(c);
	if (!generation)
		return pass_unjudged(DIR_EGRESS, REASON_NO_POLICY);
	s = get_socket(sk);
	if (is_settled(sk, s, generation))
		return settled_verdict(s);
	__builtin_memset(&i, 0, sizeof(i));
	if (!is_tcp(sk)) {
		answer = gather_datagram(c, generation, skb, s, DIR_EGRESS, &p, &i);
	} else {
		if (!s)
			s = adopt_socket(c, sk);
		if (!s)
			return pass_unjudged(DIR_EGRESS, REASON_ADOPTED);
		if (sk->state == TCP_STATE_LISTEN)
			return SKB_PASS; // a SYN-ACK: its SYN was judged
		if (sk->state == TCP_STATE_SYN_SENT)
			answer = gather_opening(c, generation, sk, s, &i);
		else
			answer = gather_established(c, generation, sk, s, &i);
	}
	return answer == ASK ? judge_egress(c, generation, s, &i) : answer;
}
