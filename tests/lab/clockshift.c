// SPDX-License-Identifier: Apache-2.0
//
// A wall clock that a test sets for one program: loaded before libc, it adds to CLOCK_REALTIME the
// nanoseconds that stand in a file, which the test may change at any moment. Other clocks are as
// they are, as on a host whose wall clock is set.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static const volatile int64_t *offset;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("CORDON_LAB_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	if (fd < 0 || !real)
		abort();
	offset = mmap(NULL, sizeof(*offset), PROT_READ, MAP_SHARED, fd, 0);
	if (offset == MAP_FAILED)
		abort();
	close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = real(clock, now);
	int64_t moved;

	if (result || clock != CLOCK_REALTIME)
		return result;
	moved = now->tv_sec * SECOND + now->tv_nsec + *offset;
	now->tv_sec = moved / SECOND;
	now->tv_nsec = moved % SECOND;
	return 0;
}
