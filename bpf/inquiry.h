// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// One judgement, whatever asked for it: gather what is known, find the peer, decide, report, act.
// Each program has one place that decides (`judge_*` in sock.h and skb.h), because everything is
// inlined: a second one would double the program.

#define ASK_OPENING 1	  // connect, or a held SYN
#define ASK_SYN 2	  // for a listener
#define ASK_FINAL_ACK 3	  // of a handshake that an older generation let begin
#define ASK_SYN_ACK 4	  // the answer to our SYN says who it is
#define ASK_ESTABLISHED 5 // the generation changed
#define ASK_DATAGRAM 6	  // opens an exchange
#define ASK_EXCHANGE 7	  // an exchange of an older generation

struct inquiry {
	struct question q;
	struct decision d;
	struct flow f;
	u64 netns; // of the listener that a handshake is with
	u64 mac;   // of a SYN's verified tag
	u8 kind;
};

// What many ways of gathering lead to.
INLINE void blur_inquiry(struct inquiry *i)
{
	i->kind = blur(i->kind);
	i->q.direction = blur(i->q.direction);
	i->q.protocol = blur(i->q.protocol);
	i->q.adopted = blur(i->q.adopted);
}

INLINE void handshake_key(struct inquiry *i, struct tuple *key)
{
	key->netns = i->netns;
	__builtin_memcpy(key->source, &i->f.remote, 16);
	__builtin_memcpy(key->destination, &i->f.local, 16);
	key->source_port = i->f.remote_port;
	key->destination_port = i->f.local_port;
	key->pad = 0;
}

INLINE void cache(struct socket_state *s, u64 generation, struct decision *d)
{
	s->verdict = d->verdict;
	s->reason = d->reason;
	s->rule = d->rule;
	s->generation = generation;
}

// What the address says of the peer, before anything better does.
INLINE void ask_about_address(struct control *c, u64 generation, struct inquiry *i,
			      struct address_entry *address)
{
	classify(c, generation, &i->f.remote, address);
	i->q.address_identity = address->identity;
}

// The peer of an opening connection: a managed host has yet to say who answers.
INLINE void find_opening_peer(u64 generation, struct inquiry *i, struct address_entry *address)
{
	i->q.peer = identity_by_address(generation, address);
	i->q.provisional = i->q.peer == ID_UNPROVEN;
	i->f.peer_host = address->host;
	i->f.proof = PROOF_ADDRESS;
}

INLINE void keep_opening(u64 generation, struct inquiry *i, struct socket_state *s)
{
	s->peer_host = i->f.peer_host;
	cache(s, generation, &i->d);
	if (s->flags & SOCKET_HELD)
		end_hold(s);
	if (i->q.provisional)
		s->generation = 0; // not a verdict to rely on: the SYN-ACK decides
	else
		s->peer = i->q.peer;
	s->proof = PROOF_ADDRESS;
}
