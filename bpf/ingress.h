// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// cgroup_skb ingress: tags are verified, what arrives is judged.

INLINE void find_ingress_peer(struct control *c, u64 generation, struct __sk_buff *skb,
			      struct packet *p, struct socket_state *s, struct inquiry *i,
			      struct address_entry *address)
{
	if (i->kind == ASK_SYN || i->kind == ASK_SYN_ACK) {
		prove(c, generation, skb, p, address, i);
	} else if (i->kind == ASK_FINAL_ACK) {
		if (i->f.proof != PROOF_TAG)
			i->q.peer = identity_by_address(generation, address);
	} else if (i->kind == ASK_ESTABLISHED) {
		if (s)
			find_established_peer(generation, s, i, address);
	} else {
		find_datagram_peer(c, generation, s, i, address);
	}
}

INLINE void keep_ingress(struct control *c, u64 generation, struct socket_state *s,
			 struct inquiry *i)
{
	if (i->kind == ASK_DATAGRAM || i->kind == ASK_EXCHANGE) {
		keep_datagram(generation, s, i);
		return;
	}
	if (!s)
		return;
	if (i->kind == ASK_SYN) {
		if (i->d.verdict != VERDICT_REFUSE)
			keep_handshake(c, generation, i);
	} else if (i->kind == ASK_SYN_ACK) {
		keep_syn_ack(c, generation, s, i);
	} else if (i->kind == ASK_FINAL_ACK) {
		keep_final_ack(generation, i);
	} else {
		keep_established(generation, s, i);
	}
}

INLINE int judge_ingress(struct control *c, u64 generation, struct __sk_buff *skb, struct packet *p,
			 struct socket_state *s, struct inquiry *i)
{
	struct address_entry address;

	blur_inquiry(i);
	ask_about_address(c, generation, i, &address);
	find_ingress_peer(c, generation, skb, p, s, i, &address);
	i->q.same_host = i->f.peer_host && i->f.peer_host == c->host;
	decide(generation, &i->q, &i->d);
	report(c, generation, &i->q, &i->d, &i->f);
	keep_ingress(c, generation, s, i);
	return verdict_of(&i->d);
}

int cordon_ingress(struct __sk_buff *skb)
{
	struct control *c = get_control();
	struct bpf_sock *sk = skb->sk;
	struct socket_state *s;
	struct inquiry i;
	struct packet p;
	u64 generation;
	int answer;

	if (!c || !sk)
		return SKB_PASS; // no socket will receive it
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return SKB_PASS; // TIME_WAIT: nothing reaches a process
	generation = read_generation(c);
	if (!generation)
		return pass_unjudged(DIR_INGRESS, REASON_NO_POLICY);
	s = get_socket(sk);
	if (is_settled(sk, s, generation))
		return settled_verdict(s);
	__builtin_memset(&i, 0, sizeof(i));
	if (is_tcp(sk)) {
		if (!s)
			s = adopt_socket(c, sk);
		if (!s)
			return pass_unjudged(DIR_INGRESS, REASON_ADOPTED);
		if (sk->state == TCP_STATE_LISTEN || sk->state == TCP_STATE_SYN_SENT)
			answer = gather_handshake(c, generation, skb, sk, s, &p, &i);
		else
			answer = gather_established(c, generation, sk, s, &i);
	} else {
		answer = gather_datagram(c, generation, skb, s, DIR_INGRESS, &p, &i);
	}
	return answer == ASK ? judge_ingress(c, generation, skb, &p, s, &i) : answer;
}
