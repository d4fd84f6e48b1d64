// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Who is the current process? The tag holds only while uid and cgroup are those that were
// attested; otherwise the process is pending again and the daemon is told. What cannot be told
// (event ring full) is not lost for good: the hold limit turns a pending process into `host`.
//
// The executable is not compared here, for it cannot be another one: only execve(2) changes the
// image of a process, and the kernel calls the exec tracepoint (task.h) after the old image is gone
// and before the new one runs, so no socket call comes between. What a process maps, or points
// /proc/PID/exe at, is not its image; the daemon holds that link against the inode kept at exec.

#define NS_PER_S 1000000000ULL

INLINE u64 now_ns(void)
{
	return bpf_ktime_get_coarse_ns();
}

INLINE void report_process(u32 kind, u32 tgid, u32 generation, struct executable_key *executable)
{
	struct process_event *event = reserve_process_event();

	if (!event) {
		count_outcome(OUTCOME_PROCESS_EVENT_LOST);
		return;
	}
	if (executable)
		event->executable = *executable;
	else
		__builtin_memset(&event->executable, 0, sizeof(event->executable));
	event->kind = kind;
	event->tgid = tgid;
	event->generation = generation;
	event->pad = 0;
	submit_process_event(event);
}

// A pending process is held only so long; then it is what an unknown process is.
INLINE u32 identity_of(struct control *c, struct process *p)
{
	if (p->identity != ID_PENDING)
		return p->identity;
	// Signed: the coarse clock may lag behind the one that took `since_ns`.
	if ((s64)(now_ns() - p->since_ns) <= (s64)c->hold_limit_ns)
		return ID_PENDING;
	count_outcome(OUTCOME_HOLD_EXPIRED);
	return ID_HOST;
}

INLINE u32 make_stamp(void)
{
	return (bpf_ktime_get_ns() >> 10) | 1; // microseconds; 0 is an adopted process's
}

// A process that the tracepoints did not show us: it was here before, or moved in.
INLINE u32 meet_process(u32 tgid, u32 uid, u64 cgroup, u32 *stamp)
{
	struct process fresh = {
		.identity = ID_PENDING,
		.uid = uid,
		.cgroup = cgroup,
		.since_ns = now_ns(),
		.stamp = make_stamp(),
	};

	*stamp = fresh.stamp;
	if (put_process(tgid, &fresh)) {
		count_outcome(OUTCOME_PROCESS_MAP_FULL);
		return ID_HOST;
	}
	report_process(PROCESS_EVENT_UNKNOWN, tgid, 0, 0);
	return ID_PENDING;
}

INLINE u32 current_identity(struct control *c, u32 *tgid, u32 *stamp)
{
	u32 uid = bpf_get_current_uid_gid();
	u64 cgroup = bpf_get_current_cgroup_id();
	struct process *p;

	*tgid = bpf_get_current_pid_tgid() >> 32;
	p = get_process(*tgid);
	if (!p)
		return meet_process(*tgid, uid, cgroup, stamp);
	*stamp = p->stamp;
	if (p->uid == uid && p->cgroup == cgroup)
		return identity_of(c, p);
	p->uid = uid;
	p->cgroup = cgroup;
	p->since_ns = now_ns();
	p->identity = ID_PENDING;
	p->flags = 0;
	p->generation++;
	report_process(PROCESS_EVENT_STALE, *tgid, p->generation, 0);
	return ID_PENDING;
}

// 2^n units in place n.
INLINE int place_of(u32 units)
{
	int place = 0;

	for (int i = 16; i; i >>= 1) {
		if (units >> i) {
			units >>= i;
			place += i;
		}
	}
	return place < HELD_TIMES ? place : HELD_TIMES - 1;
}

INLINE void begin_hold(struct socket_state *s)
{
	s->flags |= SOCKET_HELD;
	s->since = bpf_ktime_get_ns() >> 10;
}

// We know who asks: the packet that comes now is judged.
INLINE void end_hold(struct socket_state *s)
{
	s->flags &= ~SOCKET_HELD;
	count_held_time(place_of((u32)(bpf_ktime_get_ns() >> 10) - s->since));
}

// Sockets older than the first policy pass until the grace is over.
INLINE int adoption_holds(struct control *c)
{
	return now_ns() / NS_PER_S < c->adopted_until_s;
}

// The identity of a socket is that of the process which took it last: looked up again where a
// judgement is made, because the process may have been attested since, or be named by a newer
// policy. When the process is gone, or is another one with its number, what it was stands.
INLINE u32 settle_local(struct control *c, struct socket_state *s)
{
	struct process *p = get_process(s->tgid);

	if (p && p->stamp == s->stamp)
		s->local = identity_of(c, p);
	else if (s->local == ID_PENDING)
		s->local = ID_HOST; // nobody will attest it
	return s->local;
}
