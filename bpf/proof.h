// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Keys, and the proof that a tag carries. Verified once per SYN and SYN-ACK.

INLINE u64 current_epoch(struct control *c)
{
	u64 length = c->epoch_ns;

	return length ? (now_ns() + c->wall_offset_ns) / length : 0;
}

// The live epoch (previous, current, next) that a tag's four bits mean, or 0.
INLINE u64 epoch_from_bits(struct control *c, u8 bits)
{
	u64 epoch = current_epoch(c) - 1;

	for (int i = 0; i < 3; i++, epoch++)
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

INLINE int same_connection(struct seen_tag *seen, struct packet *p)
{
	u64 *a = (u64 *)seen->source, *b = (u64 *)&p->source;
	u64 *c = (u64 *)seen->destination, *d = (u64 *)&p->destination;

	return a[0] == b[0] && a[1] == b[1] && c[0] == d[0] && c[1] == d[1] &&
	       seen->source_port == p->source_port && seen->destination_port == p->destination_port;
}

// Accepted once: for another connection, or for this one after it stood, it is a replay.
INLINE u8 check_replay(struct tag_view *tag, struct packet *p)
{
	struct seen_tag *seen = get_seen_tag(tag->mac);

	if (!seen)
		return REASON_NONE;
	if (!same_connection(seen, p) || (seen->flags & SEEN_USED))
		return REASON_TAG_REPLAYED;
	return REASON_NONE;
}

INLINE void remember_tag(struct tag_view *tag, struct packet *p)
{
	struct seen_tag seen = {.source_port = p->source_port,
				.destination_port = p->destination_port};

	if (get_seen_tag(tag->mac))
		return; // a retransmission
	__builtin_memcpy(seen.source, &p->source, 16);
	__builtin_memcpy(seen.destination, &p->destination, 16);
	put_seen_tag(tag->mac, &seen);
}

INLINE u64 expected_mac(struct epoch_key *secret, struct tag_view *tag, struct packet *p,
			u8 direction)
{
	struct cordon_key receive = {.k = {secret->key[0], secret->key[1]}};
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

	derive_pair_key(&receive, tag->host, &pair);
	mac_input_fill(&input, &segment, tag->version, tag->identity, tag->host);
	return tag_mac(&pair, &input);
}

// REASON_NONE: the sender is who the tag says. Replay is looked at before the MAC, so that a copy
// sent from elsewhere is called what it is.
INLINE u8 verify(struct control *c, u64 generation, struct tag_view *tag, struct packet *p,
		 u8 direction)
{
	u64 epoch = epoch_from_bits(c, tag->version & TAG_EPOCH_MASK);
	struct epoch_key *secret = epoch ? get_receive_secret(epoch) : 0;
	struct peer *sender = get_peer(generation, tag->host);
	u8 failure;

	if (!secret)
		return REASON_TAG_EPOCH;
	if (!sender)
		return REASON_TAG_HOST;
	if ((tag->version & TAG_NAT) && !(sender->flags & PEER_NAT))
		return REASON_TAG_FORGED;
	failure = check_replay(tag, p);
	if (failure)
		return failure;
	if (expected_mac(secret, tag, p, direction) != tag->mac)
		return REASON_TAG_FORGED;
	if (!is_resident(generation, tag->host, tag->identity))
		return REASON_TAG_IDENTITY;
	remember_tag(tag, p);
	return REASON_NONE;
}

// Who sent this SYN or SYN-ACK? Fills what is known of the peer; `address` is its source,
// classified. Returns the MAC of a verified tag, or 0.
INLINE u64 prove(struct control *c, u64 generation, struct __sk_buff *skb, struct packet *p,
		 struct address_entry *address, u8 direction, struct question *q, struct flow *f)
{
	u8 options[OPTIONS_BUFFER] = {};
	struct tag_view tag = {};
	u32 length = p->options_length & 0x3f;
	int found;

	q->peer = identity_by_address(generation, address);
	f->proof = PROOF_ADDRESS;
	if (!length || length > 40) { // read_tcp saw at most 40
		found = TAG_ABSENT;
	} else {
		if (bpf_skb_load_bytes(skb, p->transport + 20, options, length)) {
			q->failure = REASON_PACKET_MALFORMED;
			return 0;
		}
		found = tag_find(options, length, &tag);
	}
	if (found == TAG_ABSENT) {
		if (address->host)
			count_outcome(OUTCOME_TAG_ABSENT);
		return 0;
	}
	if (found == TAG_MALFORMED) {
		// A stranger's odd options are its own affair; a managed host's never are odd.
		if (address->host)
			q->failure = REASON_TAG_MALFORMED;
		return 0;
	}
	q->failure = verify(c, generation, &tag, p, direction);
	if (q->failure)
		return 0;
	count_outcome(OUTCOME_TAG_VERIFIED);
	q->peer = tag.identity;
	f->peer_host = tag.host;
	f->proof = PROOF_TAG;
	return tag.mac;
}
