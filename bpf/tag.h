// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// The identity tag: its bytes, its MAC, its keys. Pure functions of pointers, the same under bcc
// and under the host's compiler; agent/core/tag.py is the reference, one file of vectors holds the
// two and the kernel together.
//
//   kind 254 | length 20 | ExID c0d1 | version | identity (3) | host (4) | MAC (8, little-endian)
//
// version byte: bits 7-6 version 0, bit 5 binding (0 full, 1 NAT), bit 4 zero, bits 3-0 key epoch.

#ifndef CORDON_TAG_H
#define CORDON_TAG_H

#define TAG_KIND 254
#define TAG_LENGTH 20
#define TAG_EXID_0 0xc0
#define TAG_EXID_1 0xd1
#define TAG_EPOCH_MASK 0x0f
#define TAG_RESERVED 0x10
#define TAG_NAT 0x20
#define TAG_VERSION_MASK 0xc0

#define TAG_ABSENT 0
#define TAG_FOUND 1
#define TAG_MALFORMED 2

#define OPTIONS_MAX 40
#define OPTIONS_BUFFER 64 // what tag_find reads from: offsets are masked to it
#define TAG_LAST_OFFSET (OPTIONS_MAX - TAG_LENGTH)

struct tag_option {
	__u8 bytes[TAG_LENGTH];
} __attribute__((aligned(4)));

struct tag_view {
	__u64 mac;
	__u32 identity;
	__u32 host;
	__u8 version;
};

// What the MAC covers: 56 bytes, numbers in network order.
struct mac_input {
	__u8 direction; // 0 SYN, 1 SYN-ACK
	__u8 version;	// the tag's version byte
	__u16 zero;
	__u32 identity;
	__u32 host; // the sender's
	__u32 sequence;
	__u8 source[16];
	__u8 destination[16];
	__u16 source_port;
	__u16 destination_port;
	__u32 acknowledged; // 0 in a SYN
} __attribute__((aligned(8)));

struct tag_segment {
	const __u8 *source; // 16 bytes, 8-byte aligned, as is destination
	const __u8 *destination;
	__u32 sequence;
	__u32 acknowledged;
	__u16 source_port;
	__u16 destination_port;
	__u8 direction;
};

INLINE __u32 tag_swap32(__u32 x)
{
	return __builtin_bswap32(x);
}

INLINE __u16 tag_swap16(__u16 x)
{
	return __builtin_bswap16(x);
}

INLINE void mac_input_fill(struct mac_input *in, const struct tag_segment *segment, __u8 version,
			   __u32 identity, __u32 host)
{
	__u64 *words = (__u64 *)in;
	const __u64 *source = (const __u64 *)segment->source;
	const __u64 *destination = (const __u64 *)segment->destination;

	in->direction = segment->direction;
	in->version = version;
	in->zero = 0;
	in->identity = tag_swap32(identity);
	in->host = tag_swap32(host);
	in->sequence = tag_swap32(segment->sequence);
	in->acknowledged = tag_swap32(segment->acknowledged);
	if (version & TAG_NAT) { // what a translator rewrites is not bound
		words[2] = words[3] = words[4] = words[5] = 0;
		in->source_port = in->destination_port = 0;
		return;
	}
	words[2] = source[0];
	words[3] = source[1];
	words[4] = destination[0];
	words[5] = destination[1];
	in->source_port = tag_swap16(segment->source_port);
	in->destination_port = tag_swap16(segment->destination_port);
}

INLINE __u64 tag_mac(const struct cordon_key *key, const struct mac_input *in)
{
	const __u64 *words = (const __u64 *)in;
	struct siphash_state s;

	siphash_start(&s, key);
	siphash_word(&s, words[0]);
	siphash_word(&s, words[1]);
	siphash_word(&s, words[2]);
	siphash_word(&s, words[3]);
	siphash_word(&s, words[4]);
	siphash_word(&s, words[5]);
	siphash_word(&s, words[6]);
	return siphash_end(&s, sizeof(*in));
}

// K(sender -> this host): two SipHash outputs over (sender as 8 bytes, counter as 8 bytes), both in
// network order, under this host's receive secret.
INLINE __u64 derive_half(const struct cordon_key *receive, __u32 sender, __u32 counter)
{
	struct siphash_state s;

	siphash_start(&s, receive);
	siphash_word(&s, (__u64)tag_swap32(sender) << 32);
	siphash_word(&s, (__u64)tag_swap32(counter) << 32);
	return siphash_end(&s, 16);
}

INLINE void derive_pair_key(const struct cordon_key *receive, __u32 sender, struct cordon_key *out)
{
	out->k[0] = derive_half(receive, sender, 1);
	out->k[1] = derive_half(receive, sender, 2);
}

INLINE void tag_write(struct tag_option *option, __u8 version, __u32 identity, __u32 host,
		      __u64 mac)
{
	__u32 *words = (__u32 *)option;

	words[0] = TAG_KIND | TAG_LENGTH << 8 | TAG_EXID_0 << 16 | (__u32)TAG_EXID_1 << 24;
	words[1] = tag_swap32((__u32)version << 24 | (identity & 0xffffff));
	words[2] = tag_swap32(host);
	words[3] = mac;
	words[4] = mac >> 32;
}

INLINE int tag_identity_may_speak(__u32 identity)
{
	// none, world, unproven and pending are what others call somebody, never what he says
	return identity != 0 && identity != 2 && identity != 3 && identity != 5;
}

INLINE int tag_read(const __u8 *at, struct tag_view *out)
{
	out->version = at[4];
	out->identity = (__u32)at[5] << 16 | (__u32)at[6] << 8 | at[7];
	out->host = (__u32)at[8] << 24 | (__u32)at[9] << 16 | (__u32)at[10] << 8 | at[11];
	out->mac = (__u64)at[12] | (__u64)at[13] << 8 | (__u64)at[14] << 16 | (__u64)at[15] << 24 |
		   (__u64)at[16] << 32 | (__u64)at[17] << 40 | (__u64)at[18] << 48 |
		   (__u64)at[19] << 56;
	if ((out->version & (TAG_VERSION_MASK | TAG_RESERVED)) ||
	    !tag_identity_may_speak(out->identity))
		return TAG_MALFORMED;
	return TAG_FOUND;
}

// 1 if x is 0, without a branch: the verifier walks every path, and this one stands in a loop.
INLINE __u64 tag_is_zero(__u64 x)
{
	asm volatile("" : "+r"(x)); // else the compiler turns it into a branch after all
	return (x - 1) >> 63;
}

// Walks the options of one header (RFC 9293, section 3.1). The tag can start at 20 at the latest,
// so 21 one-byte steps and the tag itself are all that can matter; what comes after is padding.
// `options` has OPTIONS_BUFFER bytes, `length` is at most OPTIONS_MAX.
INLINE int tag_find(const __u8 *options, __u32 length, struct tag_view *out)
{
	const __u64 name = TAG_KIND | (__u64)TAG_EXID_0 << 16 | (__u64)TAG_EXID_1 << 24;
	__u64 offset = 0, at = 0, named = 0, whole = 0;
	__u32 steps = TAG_LAST_OFFSET + 3;

	asm volatile("" : "+r"(steps)); // 23 unrolled copies would be a third of the program

	for (__u32 i = 0; i < steps; i++) {
		__u64 kind, size, head, step, is_nop, is_named, is_whole;

		if (offset >= length)
			break;
		kind = options[offset & 63];
		if (kind == 0)
			break;
		size = options[(offset + 1) & 63];
		head = kind | (__u64)options[(offset + 2) & 63] << 16 |
		       (__u64)options[(offset + 3) & 63] << 24;
		is_nop = tag_is_zero(kind ^ 1);
		step = (size & (is_nop - 1)) | is_nop;
		if (step == 0 || step + is_nop < 2 || offset + step > length)
			return TAG_MALFORMED;
		is_named = tag_is_zero(head ^ name);
		is_whole = is_named & tag_is_zero(size ^ TAG_LENGTH);
		named += is_named;
		whole += is_whole;
		at |= offset & (0 - is_whole);
		offset += step;
	}
	if (!named)
		return TAG_ABSENT;
	if (named != 1 || whole != 1 || at > TAG_LAST_OFFSET)
		return TAG_MALFORMED; // twice, or of another length
	// The compiler may compare one copy and use another, of which Linux 6.1 knows no bound.
	asm volatile("" : "+r"(at));
	return tag_read(options + (at & 31), out);
}

#endif
