// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// SipHash-2-4 (Aumasson and Bernstein, 2012) of whole 64-bit words, unrolled: the length is a
// compile-time constant. Words are read in the machine's order, so the host must be little-endian,
// as every target of this project is (x86-64, arm64).

#ifndef CORDON_SIPHASH_H
#define CORDON_SIPHASH_H

#ifndef INLINE
#define INLINE static inline __attribute__((always_inline))
#endif

struct cordon_key {
	__u64 k[2]; // the 16 bytes as two little-endian words
};

struct siphash_state {
	__u64 v0, v1, v2, v3;
};

#define SIPHASH_ROTATE(x, bits) (((x) << (bits)) | ((x) >> (64 - (bits))))

INLINE void siphash_round(struct siphash_state *s)
{
	s->v0 += s->v1;
	s->v1 = SIPHASH_ROTATE(s->v1, 13) ^ s->v0;
	s->v0 = SIPHASH_ROTATE(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = SIPHASH_ROTATE(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = SIPHASH_ROTATE(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = SIPHASH_ROTATE(s->v1, 17) ^ s->v2;
	s->v2 = SIPHASH_ROTATE(s->v2, 32);
}

INLINE void siphash_start(struct siphash_state *s, const struct cordon_key *key)
{
	s->v0 = key->k[0] ^ 0x736f6d6570736575ULL;
	s->v1 = key->k[1] ^ 0x646f72616e646f6dULL;
	s->v2 = key->k[0] ^ 0x6c7967656e657261ULL;
	s->v3 = key->k[1] ^ 0x7465646279746573ULL;
}

INLINE void siphash_word(struct siphash_state *s, __u64 word)
{
	s->v3 ^= word;
	siphash_round(s);
	siphash_round(s);
	s->v0 ^= word;
}

INLINE __u64 siphash_end(struct siphash_state *s, __u64 length)
{
	siphash_word(s, length << 56);
	s->v2 ^= 0xff;
	siphash_round(s);
	siphash_round(s);
	siphash_round(s);
	siphash_round(s);
	return s->v0 ^ s->v1 ^ s->v2 ^ s->v3;
}

#endif
