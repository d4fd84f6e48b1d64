// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Listeners older than the agent: TCP writes no option of ours into their SYN-ACKs before a flag on
// the listening socket says so. The flag is set at listen(2), by sock_ops; for those that listened
// before, this iterator over a network namespace's sockets sets it. Kernels before 6.12 have no
// such option and answer EINVAL: there the services must be restarted before their peers can know
// them.

#define TCP_BPF_SOCK_OPS_CB_FLAGS 1008

// struct bpf_iter__tcp
struct tcp_iterator {
	void *meta;
	void *sk; // struct sock_common, null at the end
};

int cordon_listeners(struct tcp_iterator *ctx)
{
	void *sk = ctx->sk;
	int flags = 0;
	u8 state = 0;

	if (!sk)
		return 0;
	bpf_probe_read_kernel(&state, sizeof(state), sk + OFFSET_SOCK_STATE);
	if (state != TCP_STATE_LISTEN)
		return 0;
	if (bpf_getsockopt(sk, SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, &flags, sizeof(flags)))
		return 1; // an older kernel: who reads the iterator gets EAGAIN
	flags |= BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG;
	bpf_setsockopt(sk, SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, &flags, sizeof(flags));
	return 0;
}
