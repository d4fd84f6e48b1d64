// SPDX-License-Identifier: Apache-2.0
//
// A program that is many: each first argument is one thing that a process may do between its exec
// and the moment somebody asks who it is. Static and without a start of its own, so that what it
// does comes as soon after exec as a program can.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	return 1;
}

static void wait_forever(void)
{
	for (;;)
		pause();
}

static int dial_to(int fd, const char *address, int port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};

	if (inet_pton(AF_INET, address, &to.sin_addr) != 1)
		return -1;
	return connect(fd, (struct sockaddr *)&to, sizeof(to));
}

static int dial(int fd, int port)
{
	return dial_to(fd, "127.0.0.1", port);
}

// connect PORT [ADDRESS]: the first thing it does; the exit status says whether it came through.
static int do_connect(char **arguments)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	const char *address = arguments[1] ? arguments[1] : "127.0.0.1";

	return dial_to(fd, address, atoi(arguments[0])) ? fail("connect") : 0;
}

static char **to_run;

static void *run(void *nothing)
{
	execv(to_run[0], to_run);
	exit(fail("exec in a thread"));
	return nothing;
}

// thread PROGRAM ...: another thread than the first executes it.
static int do_thread(char **arguments)
{
	pthread_t thread;

	to_run = arguments;
	if (pthread_create(&thread, NULL, run, NULL))
		return 1;
	wait_forever();
	return 0;
}

// setuid UID: waits for a line, becomes that user, makes a socket and waits.
static int do_setuid(char **arguments)
{
	if (getchar() == EOF || setgid(atoi(arguments[0])) || setuid(atoi(arguments[0])))
		return fail("setuid");
	if (socket(AF_INET, SOCK_STREAM, 0) < 0)
		return fail("socket");
	puts("done");
	fflush(stdout);
	wait_forever();
	return 0;
}

// memfd PROGRAM ...: executes a copy of it that has no place in any file system.
static int do_memfd(char **arguments)
{
	extern char **environ;
	int from = open(arguments[0], O_RDONLY);
	int to = memfd_create("copy", MFD_CLOEXEC);
	struct stat found;

	if (from < 0 || to < 0 || fstat(from, &found))
		return fail("memfd");
	while (sendfile(to, from, NULL, found.st_size) > 0)
		;
	fexecve(to, arguments, environ);
	return fail("fexecve");
}

// inherit PROGRAM ...: executes it with a socket open as descriptor 9.
static int do_inherit(char **arguments)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || dup2(fd, 9) != 9)
		return fail("socket");
	close(fd);
	execv(arguments[0], arguments);
	return fail("exec");
}

// use PORT: connects the socket that it was given as descriptor 9, and waits.
static int do_use(char **arguments)
{
	if (dial(9, atoi(arguments[0])))
		return fail("connect");
	puts("done");
	fflush(stdout);
	wait_forever();
	return 0;
}

static void place(struct sockaddr_un *address, const char *path)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	strncpy(address->sun_path, path, sizeof(address->sun_path) - 1);
}

union rights {
	char bytes[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

// send PATH: gives whoever connects to PATH a socket, by SCM_RIGHTS.
static int do_send(char **arguments)
{
	char byte = 'x';
	struct iovec data = {.iov_base = &byte, .iov_len = 1};
	union rights rights;
	struct msghdr message = {.msg_iov = &data,
				 .msg_iovlen = 1,
				 .msg_control = rights.bytes,
				 .msg_controllen = sizeof(rights.bytes)};
	int given = socket(AF_INET, SOCK_STREAM, 0), server = socket(AF_UNIX, SOCK_STREAM, 0), peer;
	struct sockaddr_un address;
	struct cmsghdr *head;

	place(&address, arguments[0]);
	if (bind(server, (struct sockaddr *)&address, sizeof(address)) || listen(server, 1))
		return fail("listen");
	chmod(arguments[0], 0666);
	puts("done");
	fflush(stdout);
	peer = accept(server, NULL, NULL);
	head = CMSG_FIRSTHDR(&message);
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &given, sizeof(int));
	if (sendmsg(peer, &message, 0) < 0)
		return fail("sendmsg");
	wait_forever();
	return 0;
}

// receive PATH PORT: takes a socket from there and connects it.
static int do_receive(char **arguments)
{
	char byte;
	struct iovec data = {.iov_base = &byte, .iov_len = 1};
	union rights rights;
	struct msghdr message = {.msg_iov = &data,
				 .msg_iovlen = 1,
				 .msg_control = rights.bytes,
				 .msg_controllen = sizeof(rights.bytes)};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un address;

	place(&address, arguments[0]);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    recvmsg(fd, &message, 0) < 0)
		return fail("recvmsg");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	if (dup2(fd, 9) != 9)
		return fail("dup2");
	return do_use(arguments + 1);
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		exit(fail(path));
	close(fd);
}

// activate PORT CGROUP_PROCS PROGRAM ...: as systemd's socket activation does, listens on PORT and
// starts the program in another cgroup with the listener as descriptor 3.
static int do_activate(char **arguments)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[0]))};
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	char number[16];
	pid_t child;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 8))
		return fail("listen");
	puts("listening");
	fflush(stdout);
	if (getchar() == EOF)
		return 1;
	child = fork();
	if (child == 0) {
		snprintf(number, sizeof(number), "%d", getpid());
		write_text(arguments[1], number);
		setenv("LISTEN_PID", number, 1);
		setenv("LISTEN_FDS", "1", 1);
		if (fd != 3)
			dup2(fd, 3);
		execv(arguments[2], arguments + 2);
		_exit(fail("exec"));
	}
	printf("%d\n", child);
	fflush(stdout);
	wait_forever();
	return 0;
}

// accept: serves the listener that it was given as descriptor 3, one byte for each connection.
static int do_accept(char **arguments)
{
	(void)arguments;
	for (;;) {
		int fd = accept(3, NULL, NULL);

		if (fd < 0)
			return fail("accept");
		if (write(fd, "y", 1) != 1)
			return fail("write");
	}
}

static const char last_pid[] = "/proc/sys/kernel/ns_last_pid";

// reuse PID PROGRAM ...: forks until a child has that number, which must be free, and executes the
// program there. The sysctl is put back at once.
static int do_reuse(char **arguments)
{
	int wanted = atoi(arguments[0]), file = open(last_pid, O_RDONLY);
	char number[16], before[16] = {};

	if (file < 0 || read(file, before, sizeof(before) - 1) <= 0)
		return fail(last_pid);
	close(file);
	snprintf(number, sizeof(number), "%d", wanted - 1);
	for (int i = 0; i < 1000; i++) {
		pid_t child;

		write_text(last_pid, number);
		child = fork();
		if (child == 0) {
			if (getpid() != wanted)
				_exit(0);
			execv(arguments[1], arguments + 1);
			_exit(fail("exec"));
		}
		write_text(last_pid, before);
		if (child == wanted) {
			puts("done");
			fflush(stdout);
			wait_forever();
		}
		waitpid(child, NULL, 0);
	}
	fprintf(stderr, "number %d is not to be had\n", wanted);
	return 1;
}

// inside SOURCE TARGET PROGRAM ...: executes the program in mount and pid namespaces of its own, in
// which SOURCE lies over TARGET; prints the host's number of it.
static int do_inside(char **arguments)
{
	pid_t child;

	if (unshare(CLONE_NEWNS | CLONE_NEWPID) ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return fail("unshare");
	if (strcmp(arguments[0], arguments[1]) &&
	    mount(arguments[0], arguments[1], NULL, MS_BIND, NULL))
		return fail("mount");
	child = fork();
	if (child == 0) {
		execv(arguments[2], arguments + 2);
		_exit(fail("exec"));
	}
	printf("%d\n", child);
	fflush(stdout);
	wait_forever();
	return 0;
}

// churn SECONDS PROGRAM ...: starts it again and again, each to its end; prints how often.
static int do_churn(char **arguments)
{
	time_t end = time(NULL) + atoi(arguments[0]);
	volatile long count = 0;

	while (time(NULL) < end) {
		pid_t child = vfork();

		if (child == 0) {
			execv(arguments[1], arguments + 1);
			_exit(1);
		}
		waitpid(child, NULL, 0);
		count++;
	}
	printf("%ld\n", count);
	return 0;
}

// named NAME: gives itself that name, which may hold anything, and waits.
static int do_named(char **arguments)
{
	prctl(PR_SET_NAME, arguments[0]);
	puts("done");
	fflush(stdout);
	wait_forever();
	return 0;
}

static int do_end(char **arguments)
{
	(void)arguments;
	return 0;
}

static int do_wait(char **arguments)
{
	(void)arguments;
	wait_forever();
	return 0;
}

static const struct {
	const char *name;
	int (*work)(char **arguments);
} works[] = {
	{"connect", do_connect}, {"thread", do_thread},	  {"setuid", do_setuid},
	{"memfd", do_memfd},	 {"inherit", do_inherit}, {"use", do_use},
	{"send", do_send},	 {"receive", do_receive}, {"activate", do_activate},
	{"accept", do_accept},	 {"reuse", do_reuse},	  {"inside", do_inside},
	{"churn", do_churn},	 {"named", do_named},	  {"end", do_end},
	{"wait", do_wait},
};

int main(int count, char **arguments)
{
	for (size_t i = 0; count > 1 && i < sizeof(works) / sizeof(*works); i++)
		if (!strcmp(arguments[1], works[i].name))
			return works[i].work(arguments + 2);
	fprintf(stderr, "what?\n");
	return 2;
}
