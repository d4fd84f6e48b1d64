// SPDX-License-Identifier: Apache-2.0
//
// The measured program of bench/spawn.py: processes per second, and from exec to identity.
//
//   spawn loop SECONDS                starts itself again and again, each to its end; prints the
//                                     number of processes and nanoseconds
//   spawn tag MAP PROGRAM ...         starts each program, which the kernel must not know yet, and
//                                     prints the nanoseconds from its exec to its identity, as the
//                                     pinned map `processes` shows them
//   spawn end, spawn wait             what is started

#include <errno.h>
#include <linux/bpf.h>
#include <linux/types.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../bpf/abi.h"

#define PATIENCE_NS 2000000000LL
#define LOOK_NS 20000

static void die(const char *what)
{
	fprintf(stderr, "spawn: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static pid_t start(const char *program, const char *work)
{
	char *arguments[] = {(char *)program, (char *)work, NULL};
	pid_t child = vfork();

	if (child < 0)
		die("vfork");
	if (child == 0) {
		execv(program, arguments);
		_exit(1);
	}
	return child;
}

static void loop(const char *self, double seconds)
{
	long long begin = now_ns(), end = begin + (long long)(seconds * 1e9), now;
	long count = 0;
	int status;

	do {
		if (waitpid(start(self, "end"), &status, 0) < 0 || status)
			die("a process failed");
		count++;
		now = now_ns();
	} while (now < end);
	printf("%ld %lld\n", count, now - begin);
}

static int open_map(const char *path)
{
	union bpf_attr attributes;
	int fd;

	memset(&attributes, 0, sizeof(attributes));
	attributes.pathname = (__u64)(unsigned long)path;
	fd = syscall(__NR_bpf, BPF_OBJ_GET, &attributes, sizeof(attributes));
	if (fd < 0)
		die(path);
	return fd;
}

static int look_up(int map, __u32 pid, struct process *entry)
{
	union bpf_attr attributes;

	memset(&attributes, 0, sizeof(attributes));
	attributes.map_fd = map;
	attributes.key = (__u64)(unsigned long)&pid;
	attributes.value = (__u64)(unsigned long)entry;
	return syscall(__NR_bpf, BPF_MAP_LOOKUP_ELEM, &attributes, sizeof(attributes));
}

// vfork returns before the exec is seen: until then the entry is a copy of ours.
// Sleeps between its looks: one that spins keeps the core from the program or the agent until the
// scheduler's next tick, and it would be that tick that is measured.
static void tag(int map, const char *program)
{
	pid_t child = start(program, "wait");
	long long begin = now_ns(), pending = 0;
	struct process entry, ours;

	if (look_up(map, getpid(), &ours))
		die("this process has no entry");

	for (;;) {
		long long now = now_ns();

		if (!look_up(map, child, &entry) && entry.generation != ours.generation) {
			if (entry.identity == ID_PENDING)
				pending = entry.since_ns;
			else if (entry.flags & PROCESS_ATTESTED)
				break;
		}
		if (now - begin > PATIENCE_NS) {
			fprintf(stderr, "spawn: %s has no identity\n", program);
			exit(1);
		}
		nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
	}
	// One that was answered before we looked once took no longer than vfork's return.
	printf("%lld\n", now_ns() - (pending ? pending : begin));
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

int main(int count, char **arguments)
{
	const char *work = count > 1 ? arguments[1] : "";

	if (!strcmp(work, "end"))
		return 0;
	if (!strcmp(work, "wait"))
		return pause();
	if (!strcmp(work, "loop") && count == 3) {
		loop(arguments[0], atof(arguments[2]));
		return 0;
	}
	if (!strcmp(work, "tag") && count > 3) {
		int map = open_map(arguments[2]);

		if (prctl(PR_SET_TIMERSLACK, 1UL))
			die("prctl");
		for (int i = 3; i < count; i++)
			tag(map, arguments[i]);
		return 0;
	}
	fprintf(stderr, "spawn: what?\n");
	return 2;
}
