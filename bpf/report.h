// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Counters and events. A refusal always has a counter; its event is limited by rate, and what was
// not reported is counted and told with the next one.

struct flow {
	struct address_key local;
	struct address_key remote;
	u32 tgid;
	u32 peer_host;
	u16 local_port;
	u16 remote_port;
	u8 proof;
	u8 segment; // SEGMENT_*
	u32 answer;
	u64 netns;
};

// Number of refusals suppressed since the last report, or -1 if this one is to be suppressed too.
INLINE int take_report(struct control *c)
{
	struct report_window *w = get_report_window();
	u64 window = now_ns() >> 30;
	int suppressed;

	if (!w)
		return -1;
	if (w->window != window) {
		w->window = window;
		w->reported = 0;
	}
	if (w->reported >= c->refusals_per_second) {
		w->suppressed++;
		count_outcome(OUTCOME_FLOW_EVENT_SUPPRESSED);
		return -1;
	}
	w->reported++;
	suppressed = w->suppressed;
	w->suppressed = 0;
	return suppressed;
}

// Whether anybody wants to hear of what is in order.
INLINE int is_watched(struct control *c)
{
	return c->flags & (CONTROL_OBSERVE | CONTROL_SUM_UP);
}

// To wake the daemon costs more than the event. It finds what was put here quietly by its timer, or
// with the next refusal, which wakes it whatever lies before.
INLINE u64 wake_watchers(struct control *c)
{
	return c->flags & CONTROL_OBSERVE ? 0 : BPF_RB_NO_WAKEUP;
}

// Every judgement ends here.
INLINE void report(struct control *c, u64 generation, struct question *q, struct decision *d,
		   struct flow *f)
{
	struct flow_event *event;
	u64 wake = BPF_RB_FORCE_WAKEUP;
	int suppressed = 0;

	count_verdict(q->direction, d->verdict, d->reason);
	if (d->rule)
		count_rule(d->rule);
	if (d->verdict == VERDICT_ALLOW) {
		if (!is_watched(c))
			return;
		wake = wake_watchers(c);
	} else {
		suppressed = take_report(c);
		if (suppressed < 0)
			return;
	}
	event = reserve_flow_event();
	if (!event) {
		count_outcome(OUTCOME_FLOW_EVENT_LOST);
		return;
	}
	event->time_ns = now_ns();
	event->generation = generation;
	__builtin_memcpy(event->local_address, &f->local, 16);
	__builtin_memcpy(event->remote_address, &f->remote, 16);
	event->local = q->local;
	event->peer = q->peer;
	event->peer_host = f->peer_host;
	event->rule = d->rule;
	event->tgid = f->tgid;
	event->suppressed = suppressed;
	event->local_port = f->local_port;
	event->remote_port = f->remote_port;
	event->protocol = q->protocol;
	event->direction = q->direction;
	event->verdict = d->verdict;
	event->reason = d->reason;
	event->proof = f->proof;
	event->segment = f->segment;
	event->kind = FLOW_JUDGED;
	event->pad = 0;
	event->answer = f->answer;
	event->sent_bytes = 0;
	event->received_bytes = 0;
	event->sent_packets = 0;
	event->received_packets = 0;
	event->duration_ms = 0;
	event->pad2 = 0;
	event->netns = f->netns;
	submit_flow_event(event, wake);
}
