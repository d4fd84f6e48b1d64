// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Keys, and the proof that a tag carries. Verified once per SYN and SYN-ACK.
//
// A SYN-ACK needs no replay cache: its MAC covers the sequence number that our SYN chose and it
// acknowledges, so that it answers this one SYN and no other.

#define LIVE_EPOCHS 3 // previous, current, next

INLINE u64 current_epoch(struct control *c)
{
	u64 length = c->epoch_ns;

	return length ? (now_ns() + c->wall_offset_ns) / length : 0;
}

// The live epoch (previous, current, next) that a tag's four bits mean, or 0.
INLINE u64 epoch_from_bits(struct control *c, u8 bits)
{
	u64 epoch = current_epoch(c) - 1;

	for (int i = 0; i < LIVE_EPOCHS; i++, epoch++)
		if ((epoch & TAG_EPOCH_MASK) == bits)
			return epoch;
	return 0;
}

// The key for a tag towards `host` in the current epoch, or null: then the segment goes untagged.
INLINE struct epoch_key *transmit_key(struct control *c, u64 generation, u32 host, u8 *version)
{
	struct peer *p = get_peer(generation, host);
	u64 epoch = current_epoch(c);
	struct epoch_key *slot;

	if (!p || (p->flags & PEER_TAGS_OFF))
		return 0;
	slot = &p->keys[epoch & (EPOCH_SLOTS - 1)];
	if (slot->epoch != epoch)
		return 0;
	*version = (epoch & TAG_EPOCH_MASK) | (p->flags & PEER_NAT ? TAG_NAT : 0);
	return slot;
}

INLINE int holds_mac(struct seen_bucket *bucket, u64 mac)
{
	int found = 0;

#pragma unroll
	for (int i = 0; i < SEEN_WAYS; i++)
		found |= bucket->macs[i] == mac;
	return found;
}

// A SYN's tag is accepted once. Seen before, it is a retransmission while the handshake that it
// began goes on; for another connection, or after the connection stood, it is a replay.
INLINE int is_replay(u64 mac, struct inquiry *i)
{
	struct seen_bucket *bucket = get_seen_bucket(mac);
	struct handshake *h;
	struct tuple key;

	if (!bucket || !holds_mac(bucket, mac))
		return 0;
	handshake_key(i, &key);
	h = get_handshake(&key);
	return !h || h->mac != mac;
}

INLINE void remember_tag(struct control *c, u64 mac)
{
	struct seen_bucket *bucket = get_seen_bucket(mac);
	u8 epoch = current_epoch(c);
	u32 place;

	if (!bucket || holds_mac(bucket, mac))
		return; // a retransmission
	place = bucket->next;
	if (place >= SEEN_WAYS)
		return;
	if (bucket->macs[place] && (u8)(epoch - bucket->epochs[place]) < LIVE_EPOCHS)
		count_outcome(OUTCOME_TAG_FORGOTTEN);
	bucket->macs[place] = mac;
	bucket->epochs[place] = epoch;
	bucket->next = place + 1 < SEEN_WAYS ? place + 1 : 0;
}

INLINE void find_pair_key(struct epoch_key *secret, u32 sender, struct cordon_key *out)
{
	struct cordon_key receive = {.k = {secret->key[0], secret->key[1]}};
	struct pair_key *kept = get_pair_key(sender);

	if (kept && kept->host == sender && kept->secret == receive.k[0]) {
		out->k[0] = kept->key[0];
		out->k[1] = kept->key[1];
		return;
	}
	derive_pair_key(&receive, sender, out);
	if (!kept)
		return;
	kept->host = sender;
	kept->secret = receive.k[0];
	kept->key[0] = out->k[0];
	kept->key[1] = out->k[1];
}

INLINE u64 expected_mac(struct epoch_key *secret, struct tag_view *tag, struct packet *p,
			u8 direction)
{
	struct tag_segment segment = {
		.source = p->source.address,
		.destination = p->destination.address,
		.sequence = p->sequence,
		.acknowledged = direction ? p->acknowledged : 0,
		.source_port = p->source_port,
		.destination_port = p->destination_port,
		.direction = direction,
	};
	struct cordon_key pair;
	struct mac_input input;

	find_pair_key(secret, tag->host, &pair);
	mac_input_fill(&input, &segment, tag->version, tag->identity, tag->host);
	return tag_mac(&pair, &input);
}

// REASON_NONE: the sender is who the tag says. Replay is looked at before the MAC, so that a copy
// sent from elsewhere is called what it is.
INLINE u8 verify(struct control *c, u64 generation, struct tag_view *tag, struct packet *p,
		 struct inquiry *i)
{
	u64 epoch = epoch_from_bits(c, tag->version & TAG_EPOCH_MASK);
	struct epoch_key *secret = epoch ? get_receive_secret(epoch) : 0;
	struct peer *sender = get_peer(generation, tag->host);
	u8 direction = !!(p->tcp_flags & TCP_ACK);

	if (!secret)
		return REASON_TAG_EPOCH;
	if (!sender)
		return REASON_TAG_HOST;
	if ((tag->version & TAG_NAT) && !(sender->flags & PEER_NAT))
		return REASON_TAG_FORGED;
	if (!direction && is_replay(tag->mac, i))
		return REASON_TAG_REPLAYED;
	if (expected_mac(secret, tag, p, direction) != tag->mac)
		return REASON_TAG_FORGED;
	if (!is_resident(generation, tag->host, tag->identity))
		return REASON_TAG_IDENTITY;
	if (!direction)
		i->mac = tag->mac;
	return REASON_NONE;
}

// The tag among a segment's options: TAG_* of tag.h.
INLINE int load_tag(struct __sk_buff *skb, struct packet *p, struct tag_view *tag)
{
	u8 options[OPTIONS_BUFFER] = {};
	u32 last = (p->options_length - 1) & 0x3f; // of no options 63
	u32 length;

	// The compiler knows that the length is a multiple of four, and would write a comparison
	// from which Linux 6.1 does not see that it is not zero.
	asm volatile("" : "+r"(last));
	if (last >= OPTIONS_MAX) // read_tcp saw at most 40
		return TAG_ABSENT;
	length = last + 1;
	if (bpf_skb_load_bytes(skb, p->transport + 20, options, length))
		return TAG_MALFORMED;
	return tag_find(options, length, tag);
}

// Who sent this SYN or SYN-ACK? Fills what is known of the peer; `address` is its source,
// classified. A verified tag speaks for it, else its address.
INLINE void prove(struct control *c, u64 generation, struct __sk_buff *skb, struct packet *p,
		  struct address_entry *address, struct inquiry *i)
{
	struct tag_view tag = {};
	int found = load_tag(skb, p, &tag);

	if (found == TAG_FOUND) {
		i->q.failure = verify(c, generation, &tag, p, i);
		if (!i->q.failure) {
			count_outcome(OUTCOME_TAG_VERIFIED);
			i->q.peer = tag.identity;
			i->f.peer_host = tag.host;
			i->f.proof = PROOF_TAG;
			return;
		}
	} else if (address->host) {
		// A stranger's odd options are its own affair; a managed host's never are odd.
		if (found == TAG_MALFORMED)
			i->q.failure = REASON_TAG_MALFORMED;
		else
			count_outcome(OUTCOME_TAG_ABSENT);
	}
	i->q.peer = identity_by_address(generation, address);
	i->f.peer_host = address->host;
	i->f.proof = PROOF_ADDRESS;
}
