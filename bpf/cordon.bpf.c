// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Cordon's datapath, one translation unit. The loader puts the included files in here as text,
// because bcc rewrites map accesses only in the main buffer.
//
//   task.h      sched_process_fork, _exec, _exit    which process is who
//   sock.h      sock_create, bind, connect, sendmsg which socket is whose; EPERM
//   sockops.h   sock_ops                            the tag into SYN and SYN-ACK
//   ingress.h, egress.h                             cgroup_skb: tags verified, packets judged
//   listeners.h                                     iterator: listeners older than the agent
//
// The compiler takes longest for ingress.h, so the loader compiles this file twice at the same
// time, with CORDON_PART 1 for about half of the work and 2 for the rest; without it, all is in
// one.

#define INLINE static __always_inline

#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define IPPROTO_ICMP 1
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define IPPROTO_ICMPV6 58

#include "abi.h"
#include "siphash.h"
#include "tag.h"
#include "maps.h"
#include "access.h"
#include "process.h"
#include "judge.h"
#include "report.h"
#include "inquiry.h"
#include "packet.h"
#include "proof.h"
#include "tcp.h"
#include "datagram.h"
#include "skb.h"

#if CORDON_PART != 2
#include "ingress.h"
#include "sockops.h"
#endif
#if CORDON_PART != 1
#include "sock.h"
#include "egress.h"
#include "task.h"
#include "listeners.h"
#endif
