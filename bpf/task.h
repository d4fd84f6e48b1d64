// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Processes as they come and go. Offsets of kernel structures come from the running kernel's BTF as
// constants (OFFSET_*), so no kernel header is needed.

INLINE void *read_pointer(void *base, u32 offset)
{
	void *value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), base + offset);
	return value;
}

INLINE u32 read_u32(void *base, u32 offset)
{
	u32 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), base + offset);
	return value;
}

INLINE u64 read_u64(void *base, u32 offset)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), base + offset);
	return value;
}

// Is the current process below the instance's cgroup root? Others are other instances' business.
INLINE int is_ours(struct control *c)
{
	return c->cgroup_root &&
	       bpf_get_current_ancestor_cgroup_id(c->cgroup_level) == c->cgroup_root;
}

// args: parent, child. A thread shares its process's entry.
int cordon_fork(struct bpf_raw_tracepoint_args *ctx)
{
	void *parent = (void *)ctx->args[0];
	void *child = (void *)ctx->args[1];
	u32 tgid = read_u32(child, OFFSET_TASK_TGID);
	struct process *p;
	struct process copy;

	if (tgid != read_u32(child, OFFSET_TASK_PID))
		return 0;
	p = get_process(read_u32(parent, OFFSET_TASK_TGID));
	if (!p)
		return 0; // not ours, or not met yet: its first socket call will tell
	copy = *p;
	copy.stamp = make_stamp();
	if (copy.identity == ID_PENDING)
		copy.since_ns = bpf_ktime_get_ns(); // it waits for an attestation of its own
	if (put_process(tgid, &copy))
		count_outcome(OUTCOME_PROCESS_MAP_FULL);
	else if (copy.identity == ID_PENDING) // the parent's attestation will not be the child's
		report_process(PROCESS_EVENT_UNKNOWN, tgid, copy.generation, 0);
	return 0;
}

INLINE void read_executable(void *binary, struct executable_key *key)
{
	void *file = read_pointer(binary, OFFSET_BINPRM_FILE);
	void *inode = read_pointer(file, OFFSET_FILE_INODE);
	void *super = read_pointer(inode, OFFSET_INODE_SB);

	__builtin_memset(key, 0, sizeof(*key));
	key->inode = read_u64(inode, OFFSET_INODE_INO);
	key->device = read_u32(super, OFFSET_SUPER_DEV);
	key->ctime_sec = read_u64(inode, OFFSET_INODE_CTIME_SEC);
	// The top bits of a multigrain time stamp are flags of the inode, not nanoseconds.
	key->ctime_nsec = read_u32(inode, OFFSET_INODE_CTIME_NSEC) & 0x3fffffff;
	key->cgroup = bpf_get_current_cgroup_id();
	key->uid = bpf_get_current_uid_gid();
}

#define FIRST_WORKLOAD_IDENTITY 256 // agent.core.model

// Did somebody without a workload (systemd) start this one? What it was given along is its own now.
INLINE int is_started(struct process *old, u32 identity)
{
	return identity >= FIRST_WORKLOAD_IDENTITY &&
	       (!old || old->identity < FIRST_WORKLOAD_IDENTITY);
}

// args: task, old pid, struct linux_binprm. The current task is the one that got a new image.
int cordon_exec(struct bpf_raw_tracepoint_args *ctx)
{
	struct control *c = get_control();
	u32 tgid = bpf_get_current_pid_tgid() >> 32;
	struct executable_key key;
	struct process fresh = {};
	struct executable *known;
	struct process *old;
	int started;

	if (!c)
		return 0;
	old = get_process(tgid);
	if (!is_ours(c)) {
		if (old)
			delete_process(tgid);
		return 0;
	}
	read_executable((void *)ctx->args[2], &key);
	known = get_executable(&key);
	fresh.identity = known ? known->identity : ID_PENDING;
	fresh.flags = known ? PROCESS_ATTESTED : 0;
	fresh.uid = key.uid;
	fresh.cgroup = key.cgroup;
	fresh.inode = key.inode;
	fresh.device = key.device;
	fresh.since_ns = bpf_ktime_get_ns(); // tracepoints have no coarse clock
	fresh.stamp = make_stamp();
	fresh.generation = old ? old->generation + 1 : 0;
	started = is_started(old, fresh.identity); // `old` is overwritten in place
	if (put_process(tgid, &fresh)) {
		count_outcome(OUTCOME_PROCESS_MAP_FULL);
		return 0;
	}
	if (!known)
		report_process(PROCESS_EVENT_EXEC, tgid, fresh.generation, &key);
	else if (started)
		report_process(PROCESS_EVENT_STARTED, tgid, fresh.generation, 0);
	return 0;
}

// args: task. The leader may go before its threads; the process is gone with the last one.
int cordon_exit(struct bpf_raw_tracepoint_args *ctx)
{
	void *task = (void *)ctx->args[0];
	void *signal = read_pointer(task, OFFSET_TASK_SIGNAL);

	if (read_u32(signal, OFFSET_SIGNAL_LIVE) == 0)
		delete_process(read_u32(task, OFFSET_TASK_TGID));
	return 0;
}
