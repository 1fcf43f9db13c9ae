/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The environment of DPDK (EAL 22.11): dataplane/env.h. All calls of DPDK are in this file and in
 * env_dpdk_port.c.
 *
 * No huge pages, no shared configuration, no root: EAL's run-time directory is a private one under
 * /tmp that is removed as soon as EAL has started. Several lcores may share one CPU.
 */
#include "dataplane/env.h"

#include <errno.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_pause.h>

#include "base/log.h"
#include "base/unix_socket.h"
#include "shm/limits.h"

#define ARGUMENTS_MAX	    48
#define ARGUMENTS_BYTES_MAX 2048
#define MEMORY_MIB	    "64"

struct arguments {
	char text[ARGUMENTS_BYTES_MAX];
	size_t used;
	char *argv[ARGUMENTS_MAX + 1];
	int argc;
};

/* EAL keeps pointers into it for the life of the process. */
static struct arguments arguments;

static int
add(const char *argument, size_t length)
{
	if (arguments.argc == ARGUMENTS_MAX || arguments.used + length + 1 > ARGUMENTS_BYTES_MAX)
		return -E2BIG;
	arguments.argv[arguments.argc++] = arguments.text + arguments.used;
	memcpy(arguments.text + arguments.used, argument, length);
	arguments.used += length;
	arguments.text[arguments.used++] = '\0';
	return 0;
}

/* Add the words of a text that are separated by spaces. */
static int
add_words(const char *text)
{
	int result = 0;

	for (text += strspn(text, " "); result == 0 && *text != '\0'; text += strspn(text, " ")) {
		size_t length = strcspn(text, " ");

		result = add(text, length);
		text += length;
	}
	return result;
}

/* CPUs of the configuration, or all that the process may use, as a list for --lcores. */
static uint32_t
cpu_list(const struct hb_config *config, char *list, size_t bytes)
{
	cpu_set_t allowed;
	uint32_t count = 0;
	size_t used = 0;

	if (config->dataplane_cpus[0] != '\0') {
		snprintf(list, bytes, "%s", config->dataplane_cpus);
		count = 1;
		for (const char *c = list; *c != '\0'; c++)
			count += *c == ',';
		return count;
	}
	list[0] = '\0';
	CPU_ZERO(&allowed);
	sched_getaffinity(0, sizeof(allowed), &allowed);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &allowed) || used + 8 > bytes)
			continue;
		used += (size_t)snprintf(
			list + used, bytes - used, "%s%d", count > 0 ? "," : "", cpu);
		count++;
	}
	return count;
}

/* The port lcore comes behind those that own partitions. */
static uint32_t
worker_count(const struct hb_config *config)
{
	return (uint32_t)config->dataplane_lcores + (config->dataplane_ports[0] != '\0');
}

/*
 * Named CPUs, one for each worker: pinned, the main lcore floats over all of them. Otherwise all
 * lcores float over all CPUs, as there are fewer CPUs than lcores or others need them too.
 */
static void
lcore_map(const struct hb_config *config, char *map, size_t bytes)
{
	uint32_t workers = worker_count(config);
	char cpus[256];
	uint32_t count = cpu_list(config, cpus, sizeof(cpus));
	const char *cpu = cpus;
	size_t used;

	if (config->dataplane_cpus[0] == '\0' || count < workers) {
		snprintf(map, bytes, "--lcores=(0-%u)@(%s)", workers, cpus);
		return;
	}
	used = (size_t)snprintf(map, bytes, "--lcores=0@(%s)", cpus);
	for (uint32_t i = 1; i <= workers && used < bytes; i++) {
		int length = (int)strcspn(cpu, ",");

		used += (size_t)snprintf(map + used, bytes - used, ",%u@%.*s", i, length, cpu);
		cpu += length + 1;
	}
}

static int
build_arguments(const struct hb_config *config)
{
	bool pci = strstr(config->dataplane_ports, "-a") != NULL;
	char lcores[512], prefix[64];
	int result;

	lcore_map(config, lcores, sizeof(lcores));
	snprintf(prefix, sizeof(prefix), "--file-prefix=hongbao-%d", (int)getpid());
	result = add_words("hongbao-dataplane --no-huge -m " MEMORY_MIB
			   " --no-shconf --no-telemetry --log-level=warning --main-lcore=0");
	if (result == 0)
		result = add(lcores, strlen(lcores));
	if (result == 0)
		result = add(prefix, strlen(prefix));
	if (result == 0 && !pci)
		result = add_words("--no-pci");
	if (result == 0)
		result = add_words(config->dataplane_ports);
	if (result == 0)
		result = add_words(config->dataplane_eal_extra);
	return result;
}

/* The value of KEY= in a device's arguments. @return false when it is not there or too long */
static bool
device_value(const char *device, const char *key, char *value, size_t bytes)
{
	const char *at = strstr(device, key);
	size_t length;

	if (at == NULL)
		return false;
	at += strlen(key);
	length = strcspn(at, ", ");
	if (length == 0 || length >= bytes)
		return false;
	memcpy(value, at, length);
	value[length] = '\0';
	return true;
}

/*
 * A dataplane that was killed leaves the socket of its net_memif behind, and the driver does not
 * listen where a file is. One that nobody serves is taken away.
 */
static void
remove_dead_sockets(void)
{
	for (int i = 0; i < arguments.argc; i++) {
		const char *device = arguments.argv[i];
		char path[HB_UNIX_PATH_MAX + 1];
		int fd;

		if (strncmp(device, "--vdev=net_memif", 16) != 0 ||
			strstr(device, "role=server") == NULL ||
			strstr(device, "socket-abstract=no") == NULL ||
			!device_value(device, ",socket=", path, sizeof(path)))
			continue;
		fd = hb_unix_connect(path, SOCK_SEQPACKET);
		if (fd >= 0)
			close(fd);
		else if (fd == -ECONNREFUSED && unlink(path) == 0)
			hb_log(HB_LOG_INFO, "dead_socket_removed", "path=%s", path);
	}
}

static void
print_arguments(void)
{
	char line[ARGUMENTS_BYTES_MAX] = "";
	size_t used = 0;

	for (int i = 0; i < arguments.argc && used < sizeof(line); i++)
		used += (size_t)snprintf(line + used, sizeof(line) - used, "%s%s", i > 0 ? " " : "",
			arguments.argv[i]);
	hb_log(HB_LOG_INFO, "eal_start", "argv=\"%s\"", line);
}

static int
remove_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	(void)st;
	(void)kind;
	(void)where;
	return remove(path) == 0 ? 0 : -1;
}

int
hb_env_start(const struct hb_config *config, char error[HB_ENV_ERROR_MAX])
{
	char directory[] = "/tmp/hongbao-dataplane-XXXXXX";
	int result;

	if (mkdtemp(directory) == NULL) {
		result = -errno;
		snprintf(error, HB_ENV_ERROR_MAX, "cannot make %s: %s", directory, strerror(errno));
		return result;
	}
	/* EAL looks there first, whoever runs it */
	setenv("RUNTIME_DIRECTORY", directory, 1);
	result = build_arguments(config);
	if (result != 0) {
		snprintf(error, HB_ENV_ERROR_MAX,
			"dataplane.ports, dataplane.cpus and dataplane.eal_extra are too long");
		goto out;
	}
	print_arguments();
	remove_dead_sockets();
	result = 0;
	if (rte_eal_init(arguments.argc, arguments.argv) < 0) {
		result = -rte_errno;
		snprintf(error, HB_ENV_ERROR_MAX,
			"DPDK did not start: %s; see its lines above, and dataplane.ports, "
			"dataplane.cpus, dataplane.eal_extra",
			rte_strerror(rte_errno));
	} else if (rte_lcore_count() != worker_count(config) + 1) {
		result = -EINVAL;
		snprintf(error, HB_ENV_ERROR_MAX,
			"DPDK has %u lcores, %u are needed; remove --lcores from "
			"dataplane.eal_extra",
			rte_lcore_count(), worker_count(config) + 1);
	}
out:
	/* Without shared configuration nothing in it is used again. */
	nftw(directory, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
	return result;
}

int
hb_env_launch(uint32_t worker, hb_env_lcore_fn *fn, void *argument)
{
	return rte_eal_remote_launch(fn, argument, worker + 1);
}

void
hb_env_wait(void)
{
	rte_eal_mp_wait_lcore();
}

void
hb_env_stop(void)
{
	rte_eal_cleanup();
}

void
hb_env_pause(void)
{
	rte_pause();
}
