// SPDX-License-Identifier: Apache-2.0
//
// bpf/tag.h compiled for the host. Reads one question a line, answers one line, so that a test can
// ask it thousands in one process.
//
//   mac KEY DIRECTION VERSION IDENTITY HOST SEQUENCE SOURCE DESTINATION SPORT DPORT ACKNOWLEDGED
//   key SECRET SENDER
//   find OPTIONS      (hex; "-" for none)  -> "absent", "malformed", "IDENTITY HOST VERSION MAC"
//   write VERSION IDENTITY HOST MAC

#include <linux/types.h>
#include <stdio.h>
#include <string.h>

#include "siphash.h"
#include "tag.h"

static void unhex(const char *text, unsigned char *out, int size)
{
	for (int i = 0; i < size; i++)
		sscanf(text + 2 * i, "%2hhx", out + i);
}

static void show(const void *bytes, int size)
{
	for (int i = 0; i < size; i++)
		printf("%02x", ((const unsigned char *)bytes)[i]);
	printf("\n");
}

static void answer_mac(const char *line)
{
	__attribute__((aligned(8))) unsigned char source[16], destination[16];
	char key_hex[33], source_hex[33], destination_hex[33];
	unsigned direction, version, identity, host, sequence, sport, dport, acknowledged;
	struct cordon_key key;
	struct mac_input in;
	__u64 mac;

	sscanf(line, "%32s %u %u %u %u %u %32s %32s %u %u %u", key_hex, &direction, &version,
	       &identity, &host, &sequence, source_hex, destination_hex, &sport, &dport,
	       &acknowledged);
	unhex(key_hex, (unsigned char *)&key, 16);
	unhex(source_hex, source, 16);
	unhex(destination_hex, destination, 16);
	struct tag_segment segment = {
		.source = source,
		.destination = destination,
		.sequence = sequence,
		.acknowledged = acknowledged,
		.source_port = sport,
		.destination_port = dport,
		.direction = direction,
	};
	mac_input_fill(&in, &segment, version, identity, host);
	mac = tag_mac(&key, &in);
	show(&mac, 8);
}

static void answer_key(const char *line)
{
	struct cordon_key secret, key;
	char secret_hex[33];
	unsigned sender;

	sscanf(line, "%32s %u", secret_hex, &sender);
	unhex(secret_hex, (unsigned char *)&secret, 16);
	derive_pair_key(&secret, sender, &key);
	show(&key, 16);
}

static void answer_find(const char *line)
{
	unsigned char options[OPTIONS_BUFFER] = {0};
	char hex[2 * OPTIONS_MAX + 1] = "";
	struct tag_view view = {0};
	int length;

	sscanf(line, "%80s", hex);
	length = hex[0] == '-' ? 0 : strlen(hex) / 2;
	unhex(hex, options, length);
	switch (tag_find(options, length, &view)) {
	case TAG_ABSENT:
		printf("absent\n");
		break;
	case TAG_MALFORMED:
		printf("malformed\n");
		break;
	default:
		printf("%u %u %u ", view.identity, view.host, view.version);
		show(&view.mac, 8);
	}
}

static void answer_write(const char *line)
{
	unsigned version, identity, host;
	struct tag_option option;
	char mac_hex[17];
	__u64 mac;

	sscanf(line, "%u %u %u %16s", &version, &identity, &host, mac_hex);
	unhex(mac_hex, (unsigned char *)&mac, 8);
	tag_write(&option, version, identity, host, mac);
	show(&option, TAG_LENGTH);
}

int main(void)
{
	char line[512];

	while (fgets(line, sizeof(line), stdin)) {
		if (!strncmp(line, "mac ", 4))
			answer_mac(line + 4);
		else if (!strncmp(line, "key ", 4))
			answer_key(line + 4);
		else if (!strncmp(line, "find ", 5))
			answer_find(line + 5);
		else if (!strncmp(line, "write ", 6))
			answer_write(line + 6);
	}
	return 0;
}
