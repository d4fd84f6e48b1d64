// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// bpf/tag.h in the kernel: one question and one answer, through maps. Run by BPF_PROG_TEST_RUN.

#define INLINE static __always_inline

#include "siphash.h"
#include "tag.h"

struct question {
	u64 secret[2];
	u64 key[2];
	u8 source[16];
	u8 destination[16];
	u32 sender;
	u32 identity;
	u32 host;
	u32 sequence;
	u32 acknowledged;
	u16 source_port;
	u16 destination_port;
	u8 direction;
	u8 version;
	u8 options_length;
	u8 pad[5];
	u8 options[OPTIONS_BUFFER];
};

struct answer {
	u64 mac;
	u64 pair[2];
	u64 found_mac;
	u32 found_identity;
	u32 found_host;
	u32 found_version;
	u32 found;
};

BPF_ARRAY(questions, struct question, 1);
BPF_ARRAY(answers, struct answer, 1);

int answer_question(struct __sk_buff *skb)
{
	u8 options[OPTIONS_BUFFER] __attribute__((aligned(8)));
	struct tag_view view = {};
	struct tag_segment segment;
	struct cordon_key key, pair;
	struct mac_input in;
	struct question *q;
	struct answer *a;
	int zero = 0;

	q = questions.lookup(&zero);
	a = answers.lookup(&zero);
	if (!q || !a || q->options_length > OPTIONS_MAX)
		return 1;
	segment.source = q->source;
	segment.destination = q->destination;
	segment.sequence = q->sequence;
	segment.acknowledged = q->acknowledged;
	segment.source_port = q->source_port;
	segment.destination_port = q->destination_port;
	segment.direction = q->direction;
	key.k[0] = q->key[0];
	key.k[1] = q->key[1];
	mac_input_fill(&in, &segment, q->version, q->identity, q->host);
	a->mac = tag_mac(&key, &in);
	key.k[0] = q->secret[0];
	key.k[1] = q->secret[1];
	derive_pair_key(&key, q->sender, &pair);
	a->pair[0] = pair.k[0];
	a->pair[1] = pair.k[1];
	__builtin_memcpy(options, q->options, OPTIONS_BUFFER);
	a->found = tag_find(options, q->options_length, &view);
	a->found_mac = view.mac;
	a->found_identity = view.identity;
	a->found_host = view.host;
	a->found_version = view.version;
	return 0;
}
