// SPDX-License-Identifier: Apache-2.0
//
// The measured program: connections per second (crr) or round trips per second (rr), one byte each
// way, after netperf's TCP_CRR and TCP_RR. Connections end by RST, so that no TIME_WAIT piles up.
//
//   crr serve ADDRESS PORT                   until killed; prints "ready" when it listens
//   crr crr|rr ADDRESS PORT SECONDS [RATE]   prints the number of operations and nanoseconds; at
//                                            most RATE operations a second
//
// Both sides are pinned by the caller (taskset): on one core no wake-up between cores hides the
// cost that is to be measured.

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "crr: %s: %s\n", what, strerror(errno));
	exit(1);
}

static long long now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static struct sockaddr_in address_of(const char *host, const char *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};

	if (inet_pton(AF_INET, host, &a.sin_addr) != 1)
		die("address");
	return a;
}

static void reset_on_close(int fd)
{
	struct linger l = {.l_onoff = 1, .l_linger = 0};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

static void answer(int epoll, int fd)
{
	char byte;
	ssize_t n = read(fd, &byte, 1);

	if (n == 1 && write(fd, &byte, 1) == 1)
		return;
	epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL);
	close(fd);
}

static void serve(const char *host, const char *port)
{
	struct sockaddr_in a = address_of(host, port);
	struct epoll_event event = {.events = EPOLLIN}, events[64];
	int listener = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0), one = 1;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&a, sizeof(a)) || listen(listener, 1024))
		die("listen");
	event.data.fd = listener;
	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(epoll, events, 64, -1);

		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;

			if (fd != listener) {
				answer(epoll, fd);
				continue;
			}
			fd = accept(listener, NULL, NULL);
			if (fd < 0)
				continue;
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
			event.data.fd = fd;
			epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
		}
	}
}

static int open_connection(const struct sockaddr_in *a)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (const struct sockaddr *)a, sizeof(*a)))
		die("connect");
	reset_on_close(fd);
	return fd;
}

static void exchange(int fd)
{
	char byte = 'x';

	if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1)
		die("exchange");
}

// Sleeps until the time of the next operation; one that is late is made up for.
static void pace(long long start, long long count, double rate)
{
	long long next = start + (long long)(count / rate * 1e9);
	struct timespec t = {.tv_sec = next / 1000000000LL, .tv_nsec = next % 1000000000LL};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "serve"))
		serve(argv[2], argv[3]);
	if (argc < 5 || argc > 6 || (strcmp(argv[1], "crr") && strcmp(argv[1], "rr"))) {
		fprintf(stderr,
			"usage: crr serve ADDRESS PORT | crr crr|rr ADDRESS PORT SECONDS [RATE]\n");
		return 2;
	}
	struct sockaddr_in a = address_of(argv[2], argv[3]);
	long long start, end, count = 0;
	double rate = argc == 6 ? atof(argv[5]) : 0;
	int connections = !strcmp(argv[1], "crr");
	int fd = connections ? -1 : open_connection(&a);

	start = now_ns();
	end = start + (long long)(atof(argv[4]) * 1e9);
	while (now_ns() < end) {
		if (rate > 0)
			pace(start, count, rate);
		if (connections)
			fd = open_connection(&a);
		exchange(fd);
		if (connections)
			close(fd);
		count++;
	}
	printf("%lld %lld\n", count, now_ns() - start);
	return 0;
}
