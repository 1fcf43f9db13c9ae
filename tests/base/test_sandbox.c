/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The filter of each process does what it says: whoever does what a process never does is dead,
 * and what it needs it may do. Each case is a child of its own that enters for good.
 */
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sandbox.h"

#define SURVIVED    0
#define NOT_ENTERED 99
#define JOB	    "as-a-job"

extern char **environ;

typedef void action_fn(void);

/* @return the wait status of a child that entered and then did it */
static int
status_of(enum hb_sandbox_part part, const char *mode, action_fn *action)
{
	char error[256];
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		signal(SIGSYS, SIG_DFL); /* cmocka's handlers are the parent's business */
		signal(SIGABRT, SIG_DFL);
		if (hb_sandbox_enter(part, mode, error) != 0) {
			fprintf(stderr, "%s\n", error);
			_exit(NOT_ENTERED);
		}
		action();
		_exit(SURVIVED);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_false(WIFEXITED(status) && WEXITSTATUS(status) == NOT_ENTERED);
	return status;
}

static bool
killed(enum hb_sandbox_part part, action_fn *action)
{
	int status = status_of(part, "enforce", action);

	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static bool
survives(enum hb_sandbox_part part, action_fn *action)
{
	int status = status_of(part, "enforce", action);

	return WIFEXITED(status) && WEXITSTATUS(status) == SURVIVED;
}

/* ---- what is done ---- */

static void
nothing(void)
{
}

static void
execute(void)
{
	execl("/bin/true", "true", NULL);
}

static void
fork_once(void)
{
	if (syscall(SYS_fork) == 0)
		_exit(SURVIVED);
}

static void
fork_by_library(void)
{
	if (fork() == 0)
		_exit(SURVIVED);
}

static void
trace(void)
{
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
}

static void
read_others_memory(void)
{
	syscall(SYS_process_vm_readv, getppid(), NULL, 0, NULL, 0, 0);
}

static void
mount_something(void)
{
	mount("none", "/nowhere", "tmpfs", 0, NULL);
}

static void
become_root(void)
{
	(void)!setuid(0);
}

static void
load_program(void)
{
	syscall(SYS_bpf, 0, NULL, 0);
}

static void
take_key(void)
{
	syscall(SYS_keyctl, 0, 0, 0, 0, 0);
}

static void
load_module(void)
{
	syscall(SYS_init_module, NULL, 0, "");
}

static void
restart_machine(void)
{
	syscall(SYS_reboot, 0, 0, 0, NULL);
}

static void
leave_namespaces(void)
{
	syscall(SYS_unshare, 0);
}

static void
set_the_clock(void)
{
	syscall(SYS_clock_settime, -1, NULL);
}

static void
use_io_uring(void)
{
	syscall(SYS_io_uring_setup, 0, NULL);
}

static void
internet_socket(void)
{
	close(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static void
packet_socket(void)
{
	close(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
}

static void
unix_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		_exit(1);
	close(fd);
}

static void
map_new_code(void)
{
	(void)mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void
kill_parent(void)
{
	kill(getppid(), 0);
}

static void *
thread_main(void *argument)
{
	return argument;
}

static void
make_thread(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, thread_main, NULL) != 0)
		_exit(1);
	pthread_join(thread, NULL);
}

static void
resolve_and_allocate(void)
{
	struct addrinfo *found = NULL;
	void *memory = malloc(64 << 20);
	FILE *file = fopen("/etc/passwd", "re");

	if (memory == NULL || file == NULL || getpwuid(0) == NULL)
		_exit(1);
	memset(memory, 1, 64 << 20);
	fclose(file);
	free(memory);
	if (getaddrinfo("localhost", "80", NULL, &found) == 0)
		freeaddrinfo(found);
	internet_socket();
	make_thread();
}

static void
spawn_job(void)
{
	char *arguments[] = {"test", JOB, NULL};
	int status;
	pid_t job;

	if (posix_spawn(&job, hb_sandbox_self, NULL, NULL, arguments, environ) != 0)
		_exit(1);
	if (waitpid(job, &status, 0) != job || !WIFEXITED(status) || WEXITSTATUS(status) != 7)
		_exit(2);
}

static void
spawn_shell(void)
{
	char *arguments[] = {"sh", "-c", "exit 0", NULL};
	int status;
	pid_t job;

	/* the child dies of it, and the parent hears */
	if (posix_spawn(&job, "/bin/sh", NULL, NULL, arguments, environ) != 0)
		_exit(3);
	if (waitpid(job, &status, 0) == job && WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		raise(SIGSYS);
}

static void
abort_as_an_assertion(void)
{
	abort();
}

/* ---- the tests ---- */

static const enum hb_sandbox_part parts[] = {
	HB_SANDBOX_DATAPLANE, HB_SANDBOX_PORTS, HB_SANDBOX_PERSIST, HB_SANDBOX_CONTROL};
#define PARTS (sizeof(parts) / sizeof(parts[0]))

static void
what_takes_hold_of_others_or_of_the_system_kills_every_process(void **state)
{
	static action_fn *const actions[] = {execute, fork_once, fork_by_library, trace,
		read_others_memory, mount_something, become_root, load_program, take_key,
		load_module, restart_machine, leave_namespaces, set_the_clock, use_io_uring};

	(void)state;
	for (size_t part = 0; part < PARTS; part++)
		for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
			if (!killed(parts[part], actions[i]))
				fail_msg("part %zu survives action %zu", part, i);
}

static void
a_dataplane_has_neither_network_nor_new_code_nor_children(void **state)
{
	(void)state;
	assert_true(killed(HB_SANDBOX_DATAPLANE, internet_socket));
	assert_true(killed(HB_SANDBOX_DATAPLANE, packet_socket));
	assert_true(killed(HB_SANDBOX_DATAPLANE, map_new_code));
	assert_true(killed(HB_SANDBOX_DATAPLANE, kill_parent));
	assert_true(killed(HB_SANDBOX_DATAPLANE, spawn_job));
	assert_true(survives(HB_SANDBOX_DATAPLANE, unix_socket));
	assert_true(survives(HB_SANDBOX_DATAPLANE, make_thread));
	/* drivers of ports make sockets; whether they get one is a matter of their rights */
	assert_true(survives(HB_SANDBOX_PORTS, packet_socket));
	assert_true(killed(HB_SANDBOX_PORTS, map_new_code));
}

static void
persist_executes_itself_and_nothing_else(void **state)
{
	(void)state;
	assert_true(survives(HB_SANDBOX_PERSIST, spawn_job));
	assert_true(killed(HB_SANDBOX_PERSIST, spawn_shell));
	assert_true(killed(HB_SANDBOX_CONTROL, spawn_job));
	assert_true(killed(HB_SANDBOX_PERSIST, packet_socket));
	assert_true(killed(HB_SANDBOX_CONTROL, packet_socket));
}

static void
what_libraries_do_is_allowed(void **state)
{
	(void)state;
	for (size_t part = 0; part < PARTS; part++) {
		int status = status_of(parts[part], "enforce", abort_as_an_assertion);

		assert_true(survives(parts[part], nothing));
		assert_true(survives(parts[part], make_thread));
		/* an assertion that fails ends as one, and not as a call that was refused */
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	}
	assert_true(survives(HB_SANDBOX_PERSIST, resolve_and_allocate));
	assert_true(survives(HB_SANDBOX_CONTROL, resolve_and_allocate));
}

static void *
wait_then_execute(void *argument)
{
	while (!atomic_load((_Atomic bool *)argument))
		usleep(1000);
	execute();
	return NULL;
}

/* DPDK's threads are there before the filter. */
static void
threads_that_were_there_before_are_in_it_too(void **state)
{
	_Atomic bool entered = false;
	char error[256];
	int status;
	pid_t child;

	(void)state;
	fflush(NULL);
	child = fork();
	if (child == 0) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, wait_then_execute, (void *)&entered) != 0 ||
			hb_sandbox_enter(HB_SANDBOX_DATAPLANE, "enforce", error) != 0)
			_exit(NOT_ENTERED);
		atomic_store(&entered, true);
		pthread_join(thread, NULL);
		_exit(SURVIVED);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
}

static void
check_no_new_privileges(void)
{
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		_exit(1);
}

static void
log_and_off_end_nobody_but_privileges_are_gone_in_any_case(void **state)
{
	static const char *const modes[] = {"enforce", "log", "off"};

	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(
			status_of(HB_SANDBOX_DATAPLANE, modes[i], check_no_new_privileges), 0);
	assert_int_equal(status_of(HB_SANDBOX_DATAPLANE, "log", internet_socket), 0);
	assert_int_equal(status_of(HB_SANDBOX_DATAPLANE, "off", internet_socket), 0);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_takes_hold_of_others_or_of_the_system_kills_every_process),
		cmocka_unit_test(a_dataplane_has_neither_network_nor_new_code_nor_children),
		cmocka_unit_test(persist_executes_itself_and_nothing_else),
		cmocka_unit_test(what_libraries_do_is_allowed),
		cmocka_unit_test(threads_that_were_there_before_are_in_it_too),
		cmocka_unit_test(log_and_off_end_nobody_but_privileges_are_gone_in_any_case),
	};
	char error[256];

	/* a job begins in its parent's filter and enters its own */
	if (argc > 1 && strcmp(argv[1], JOB) == 0) {
		if (hb_sandbox_enter(HB_SANDBOX_PERSIST, "enforce", error) != 0)
			return 8;
		resolve_and_allocate();
		return 7;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
