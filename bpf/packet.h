// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Reading headers in cgroup_skb, where the packet starts at the IP header. Nothing is trusted:
// every length is checked by bpf_skb_load_bytes, and a packet that cannot be read is refused by
// the caller with REASON_PACKET_MALFORMED.

#define IPV6_HEADER 40
#define EXTENSIONS_MAX 6

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

struct packet {
	struct address_key source;
	struct address_key destination;
	u32 sequence;	  // TCP
	u32 acknowledged; // TCP
	u16 source_port;  // for ICMP echo the identifier, in both
	u16 destination_port;
	u16 transport;	   // offset of the transport header
	u8 protocol;	   // after IPv6 extension headers
	u8 tcp_flags;	   // for ICMP the type
	u8 options_length; // TCP
	u8 fragment;	   // not the first fragment: no ports
};

INLINE void map_ipv4(struct address_key *out, u32 address)
{
	u64 *words = (u64 *)out;
	u32 *halves = (u32 *)out;

	words[0] = 0;
	halves[2] = bpf_htonl(0xffff);
	halves[3] = address;
}

INLINE int read_ipv4(struct __sk_buff *skb, struct packet *p)
{
	u8 head[20];

	if (bpf_skb_load_bytes(skb, 0, head, sizeof(head)))
		return -1;
	if ((head[0] & 0x0f) < 5)
		return -1;
	p->transport = (head[0] & 0x0f) * 4;
	p->protocol = head[9];
	p->fragment = !!((head[6] & 0x1f) | head[7]);
	map_ipv4(&p->source, *(u32 *)(head + 12));
	map_ipv4(&p->destination, *(u32 *)(head + 16));
	return 0;
}

// Hop-by-hop, routing, fragment, destination options; RFC 8200 section 4.
INLINE int read_ipv6(struct __sk_buff *skb, struct packet *p)
{
	u8 extension[8];
	u32 offset = IPV6_HEADER;
	u8 next;

	if (bpf_skb_load_bytes(skb, 6, &next, 1) || bpf_skb_load_bytes(skb, 8, &p->source, 16) ||
	    bpf_skb_load_bytes(skb, 24, &p->destination, 16))
		return -1;
	p->fragment = 0;
	for (int i = 0; i < EXTENSIONS_MAX; i++) {
		if (next != 0 && next != 43 && next != 44 && next != 60)
			break;
		if (bpf_skb_load_bytes(skb, offset, extension, sizeof(extension)))
			return -1;
		if (next == 44) {
			p->fragment = !!((extension[2] << 8 | extension[3]) & 0xfff8);
			offset += 8;
		} else {
			offset += (extension[1] + 1) * 8;
		}
		next = extension[0];
	}
	if (next == 0 || next == 43 || next == 44 || next == 60)
		return -1; // a longer chain than any honest sender's
	p->protocol = next;
	p->transport = offset;
	return 0;
}

INLINE int read_network(struct __sk_buff *skb, struct packet *p)
{
	__builtin_memset(p, 0, sizeof(*p));
	if (skb->protocol == bpf_htons(ETH_P_IP))
		return read_ipv4(skb, p);
	if (skb->protocol == bpf_htons(ETH_P_IPV6))
		return read_ipv6(skb, p);
	return -1;
}

INLINE int read_tcp(struct __sk_buff *skb, struct packet *p)
{
	u8 head[20];
	u32 length;

	if (bpf_skb_load_bytes(skb, p->transport, head, sizeof(head)))
		return -1;
	length = (head[12] >> 4) * 4;
	if (length < 20)
		return -1;
	p->source_port = bpf_ntohs(*(u16 *)head);
	p->destination_port = bpf_ntohs(*(u16 *)(head + 2));
	p->sequence = bpf_ntohl(*(u32 *)(head + 4));
	p->acknowledged = bpf_ntohl(*(u32 *)(head + 8));
	p->tcp_flags = head[13];
	p->options_length = length - 20;
	return 0;
}

// Ports of UDP and of whatever else has them in its first four bytes; ICMP's type and identifier.
INLINE int read_ports(struct __sk_buff *skb, struct packet *p)
{
	u8 head[8];

	if (p->fragment)
		return 0;
	if (p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_ICMPV6) {
		if (bpf_skb_load_bytes(skb, p->transport, head, 8))
			return -1;
		p->tcp_flags = head[0];
		p->source_port = bpf_ntohs(*(u16 *)(head + 4));
		p->destination_port = p->source_port;
		return 0;
	}
	if (p->protocol != IPPROTO_UDP && p->protocol != IPPROTO_TCP)
		return 0;
	if (bpf_skb_load_bytes(skb, p->transport, head, 4))
		return -1;
	p->source_port = bpf_ntohs(*(u16 *)head);
	p->destination_port = bpf_ntohs(*(u16 *)(head + 2));
	return 0;
}

// Errors (RFC 792, RFC 4443), neighbour and multicast listener discovery (RFC 4861, RFC 3810):
// refusing them breaks path MTU discovery and IPv6 itself.
INLINE int is_icmp_control(struct packet *p)
{
	u8 type = p->tcp_flags;

	if (p->protocol == IPPROTO_ICMP)
		return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
	if (p->protocol == IPPROTO_ICMPV6)
		return type < 128 || (type >= 130 && type <= 137) || type == 143;
	return 0;
}

INLINE int is_echo_reply(struct packet *p)
{
	return (p->protocol == IPPROTO_ICMP && p->tcp_flags == 0) ||
	       (p->protocol == IPPROTO_ICMPV6 && p->tcp_flags == 129);
}
