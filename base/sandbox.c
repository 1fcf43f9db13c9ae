/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The lists of base/sandbox.h, put into the kernel by libseccomp. A process that dies in here has
 * not begun to serve.
 */
#include "base/sandbox.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

const char hb_sandbox_self[] = "/proc/self/exe";

#define CALL(name) SCMP_SYS(name)

/* Whatever the arguments: files and sockets that are open, own memory, threads, time. */
static const int harmless[] = {
	/* files */
	CALL(read),
	CALL(write),
	CALL(readv),
	CALL(writev),
	CALL(pread64),
	CALL(pwrite64),
	CALL(preadv),
	CALL(pwritev),
	CALL(preadv2),
	CALL(pwritev2),
	CALL(open),
	CALL(openat),
	CALL(openat2),
	CALL(close),
	CALL(close_range),
	CALL(stat),
	CALL(fstat),
	CALL(lstat),
	CALL(newfstatat),
	CALL(statx),
	CALL(statfs),
	CALL(fstatfs),
	CALL(lseek),
	CALL(access),
	CALL(faccessat),
	CALL(faccessat2),
	CALL(readlink),
	CALL(readlinkat),
	CALL(getdents64),
	CALL(getcwd),
	CALL(mkdir),
	CALL(mkdirat),
	CALL(rmdir),
	CALL(unlink),
	CALL(unlinkat),
	CALL(rename),
	CALL(renameat),
	CALL(renameat2),
	CALL(link),
	CALL(linkat),
	CALL(fsync),
	CALL(fdatasync),
	CALL(sync_file_range),
	CALL(ftruncate),
	CALL(fallocate),
	CALL(fadvise64),
	CALL(readahead),
	CALL(copy_file_range),
	CALL(sendfile),
	CALL(splice),
	CALL(fchmod),
	CALL(chmod),
	CALL(fchmodat),
	CALL(utimensat),
	CALL(umask),
	CALL(flock),
	CALL(fcntl),
	CALL(dup),
	CALL(dup2),
	CALL(dup3),
	CALL(pipe),
	CALL(pipe2),
	CALL(ioctl),
	CALL(memfd_create),
	CALL(inotify_init1),
	CALL(inotify_add_watch),
	CALL(inotify_rm_watch),
	/* sockets that exist; making one is looked at by its family */
	CALL(bind),
	CALL(connect),
	CALL(listen),
	CALL(accept),
	CALL(accept4),
	CALL(sendto),
	CALL(sendmsg),
	CALL(sendmmsg),
	CALL(recvfrom),
	CALL(recvmsg),
	CALL(recvmmsg),
	CALL(shutdown),
	CALL(getsockopt),
	CALL(setsockopt),
	CALL(getsockname),
	CALL(getpeername),
	/* waiting */
	CALL(poll),
	CALL(ppoll),
	CALL(select),
	CALL(pselect6),
	CALL(epoll_create),
	CALL(epoll_create1),
	CALL(epoll_ctl),
	CALL(epoll_wait),
	CALL(epoll_pwait),
	CALL(epoll_pwait2),
	CALL(eventfd2),
	CALL(signalfd4),
	CALL(timerfd_create),
	CALL(timerfd_settime),
	CALL(timerfd_gettime),
	CALL(futex),
	CALL(restart_syscall),
	CALL(pause),
	/* memory */
	CALL(munmap),
	CALL(mremap),
	CALL(madvise),
	CALL(brk),
	CALL(msync),
	CALL(mincore),
	CALL(mlock),
	CALL(mlock2),
	CALL(munlock),
	CALL(mlockall),
	CALL(munlockall),
	CALL(membarrier),
	CALL(mbind),
	CALL(get_mempolicy),
	CALL(set_mempolicy),
	/* threads and signals of the process */
	CALL(set_robust_list),
	CALL(get_robust_list),
	CALL(rseq),
	CALL(set_tid_address),
	CALL(arch_prctl),
	CALL(prctl),
	CALL(exit),
	CALL(exit_group),
	CALL(gettid),
	CALL(getpid),
	CALL(getppid),
	CALL(getpgrp),
	CALL(getpgid),
	CALL(getsid),
	CALL(getuid),
	CALL(geteuid),
	CALL(getgid),
	CALL(getegid),
	CALL(getresuid),
	CALL(getresgid),
	CALL(getgroups),
	CALL(capget),
	CALL(seccomp),
	CALL(rt_sigaction),
	CALL(rt_sigprocmask),
	CALL(rt_sigreturn),
	CALL(rt_sigpending),
	CALL(rt_sigtimedwait),
	CALL(rt_sigsuspend),
	CALL(sigaltstack),
	CALL(tgkill),
	CALL(tkill),
	CALL(sched_yield),
	CALL(sched_getaffinity),
	CALL(sched_setaffinity),
	CALL(sched_getparam),
	CALL(sched_getscheduler),
	CALL(sched_setscheduler),
	CALL(sched_get_priority_max),
	CALL(sched_get_priority_min),
	CALL(getpriority),
	CALL(setpriority),
	CALL(getcpu),
	CALL(getrlimit),
	CALL(setrlimit),
	CALL(prlimit64),
	CALL(getrusage),
	/* time, and what the machine is */
	CALL(clock_gettime),
	CALL(clock_getres),
	CALL(clock_nanosleep),
	CALL(nanosleep),
	CALL(gettimeofday),
	CALL(time),
	CALL(times),
	CALL(alarm),
	CALL(setitimer),
	CALL(getitimer),
	CALL(timer_create),
	CALL(timer_settime),
	CALL(timer_delete),
	CALL(sysinfo),
	CALL(uname),
	CALL(getrandom),
};

/* Of persist: its jobs. They execute its program again, step back, and are waited for. */
static const int of_jobs[] = {
	CALL(wait4), CALL(waitid), CALL(setsid), CALL(kill), CALL(ioprio_set), CALL(ioprio_get)};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static int
allow_all(scmp_filter_ctx filter, const int *calls, size_t count)
{
	int result = 0;

	for (size_t i = 0; result == 0 && i < count; i++)
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
	return result;
}

static int
allow_families(scmp_filter_ctx filter, const int *families, size_t count)
{
	int result = 0;

	for (size_t i = 0; result == 0 && i < count; i++) {
		struct scmp_arg_cmp family = SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i]);

		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(socket), 1, family);
		if (result == 0)
			result = seccomp_rule_add(
				filter, SCMP_ACT_ALLOW, CALL(socketpair), 1, family);
	}
	return result;
}

static int
allow_sockets(scmp_filter_ctx filter, enum hb_sandbox_part part)
{
	static const int local[] = {AF_UNIX};
	/* netlink: getaddrinfo asks which addresses the machine has */
	static const int network[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
	static const int any[] = {CALL(socket), CALL(socketpair)};

	switch (part) {
	case HB_SANDBOX_DATAPLANE:
		return allow_families(filter, local, COUNT(local));
	case HB_SANDBOX_PORTS:
		return allow_all(filter, any, COUNT(any));
	default:
		return allow_families(filter, network, COUNT(network));
	}
}

/*
 * Threads, not processes. What clone3 wants lies in memory where no filter can look: as if the
 * kernel did not know it, so that the C library takes clone.
 */
static int
allow_threads(scmp_filter_ctx filter)
{
	int result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), CALL(clone3), 0);

	if (result != 0)
		return result;
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(clone), 1,
		SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
}

/* posix_spawn's child borrows the memory until it executes; and what it executes is ourselves. */
static int
allow_jobs(scmp_filter_ctx filter)
{
	int result = allow_all(filter, of_jobs, COUNT(of_jobs));

	if (result == 0)
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(clone), 1,
			SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD | CLONE_VFORK, CLONE_VFORK));
	if (result == 0)
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, CALL(execve), 1,
			SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)(uintptr_t)hb_sandbox_self));
	return result;
}

/* The dataplane has all its code; resolvers of names and users are loaded by others when asked. */
static int
allow_mappings(scmp_filter_ctx filter, bool new_code)
{
	static const int mapping[] = {CALL(mmap), CALL(mprotect)};
	int result = 0;

	if (new_code)
		return allow_all(filter, mapping, COUNT(mapping));
	for (size_t i = 0; result == 0 && i < COUNT(mapping); i++)
		result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, mapping[i], 1,
			SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return result;
}

static int
fill(scmp_filter_ctx filter, enum hb_sandbox_part part)
{
	int result = allow_all(filter, harmless, COUNT(harmless));

	if (result == 0)
		result = allow_sockets(filter, part);
	if (result == 0)
		result = allow_threads(filter);
	if (result == 0)
		result = allow_mappings(
			filter, part == HB_SANDBOX_PERSIST || part == HB_SANDBOX_CONTROL);
	if (result == 0 && part == HB_SANDBOX_PERSIST)
		result = allow_jobs(filter);
	return result;
}

static int
load(enum hb_sandbox_part part, uint32_t refuse)
{
	scmp_filter_ctx filter = seccomp_init(refuse);
	int result;

	if (filter == NULL)
		return -ENOMEM;
	result = fill(filter, part);
	if (result == 0)
		result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	/* every thread there is, also those of libraries */
	if (result == 0)
		result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	/* a tree: the more often a call is made, the less it matters where in the list it is */
	if (result == 0)
		result = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (result == 0)
		result = seccomp_load(filter);
	seccomp_release(filter);
	return result;
}

int
hb_sandbox_enter(enum hb_sandbox_part part, const char *mode, char error[256])
{
	bool enforce = strcmp(mode, "enforce") == 0;
	int result;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) {
		result = -errno;
		snprintf(error, 256, "cannot give up privileges for good: %s", strerror(errno));
		return result;
	}
	if (strcmp(mode, "off") == 0)
		return 0;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return 0; /* sanitizers look at their own process from another one */
#endif
	result = load(part, enforce ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_LOG);
	if (result != 0)
		snprintf(error, 256,
			"cannot enter the seccomp filter: %s; a kernel without seccomp needs "
			"security.seccomp = \"off\"",
			strerror(-result));
	return result;
}
