/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl doctor, the machine: CPU, memory, clock, limits, and what dataplane.ports asks for. Reads
 * /proc and /sys; keeps nothing.
 */
#include <cpuid.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/timex.h>
#include <unistd.h>

#include "base/assert.h"
#include "persist/snapshot.h"
#include "shm/state.h"
#include "tools/hbctl/doctor.h"

#define DESCRIPTORS_WANTED   65536
#define DESCRIPTORS_NEEDED   4096
#define CLOCK_ERROR_US_MAX   1000000
#define CAPABILITY_NET_ADMIN 12
#define CAPABILITY_NET_RAW   13
#define CPUID_SHA	     (1u << 29) /* leaf 7, EBX */

static int
cpus_allowed(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	return sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
}

static bool
has_sha_ni(void)
{
	unsigned eax, ebx = 0, ecx, edx;

	return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & CPUID_SHA) != 0;
}

static void
look_at_cpu(struct hbctl_doctor *doctor)
{
	int lcores = (int)doctor->hbctl->config.dataplane_lcores;
	int cpus = cpus_allowed();

	if (!__builtin_cpu_supports("sse4.2"))
		hbctl_doctor_say(doctor, "cpu", HBCTL_HEALTH_FAIL,
			"another machine is needed: every program uses these instructions",
			"no SSE4.2");
	else if (!has_sha_ni())
		hbctl_doctor_say(doctor, "cpu", HBCTL_HEALTH_WARN,
			"the journal's SHA-256 costs about four times as much CPU; size for it",
			"SSE4.2, but no SHA extensions");
	else
		hbctl_doctor_say(doctor, "cpu", HBCTL_HEALTH_OK, "", "SSE4.2, SHA extensions%s%s",
			__builtin_cpu_supports("avx2") ? ", AVX2" : "",
			__builtin_cpu_supports("pclmul") ? ", PCLMUL" : "");
	if (lcores + 1 > cpus)
		hbctl_doctor_say(doctor, "cpus", HBCTL_HEALTH_WARN,
			strcmp(doctor->hbctl->config.dataplane_idle, "busy") == 0
				? "set dataplane.idle = \"adaptive\": lcores that spin would take "
				  "the CPUs of persist and nginx"
				: "fine for a trial; under load latencies grow: fewer lcores or "
				  "more CPUs",
			"%d CPU(s) for %d lcore(s) and the other processes", cpus, lcores);
	else
		hbctl_doctor_say(doctor, "cpus", HBCTL_HEALTH_OK, "", "%d CPU(s), %d lcore(s)",
			cpus, lcores);
}

/* A number of /proc/meminfo, KiB or pages; 0 when it is not there. */
static uint64_t
meminfo(const char *key)
{
	char text[8192];
	const char *at;

	if (!hbctl_doctor_read("/proc/meminfo", text, sizeof(text)))
		return 0;
	at = strstr(text, key);
	return at == NULL ? 0 : strtoull(at + strlen(key), NULL, 10);
}

/* The state's pages are taken as tables fill, so this is what it may come to. */
static void
look_at_memory(struct hbctl_doctor *doctor)
{
	struct hb_capacity capacity = hb_capacity_from_config(&doctor->hbctl->config);
	uint64_t total_mib = meminfo("MemTotal:") >> 10;
	struct hb_state state = {0};
	uint64_t state_mib;
	int rc = hb_state_create(&state, &capacity, 0);

	if (rc != 0) {
		hbctl_doctor_say(doctor, "memory", HBCTL_HEALTH_FAIL, "lower capacity.*",
			"the state's segment cannot be made: %s", strerror(-rc));
		return;
	}
	state_mib = state.segment.bytes >> 20;
	hb_state_close(&state);
	if (state_mib > total_mib)
		hbctl_doctor_say(doctor, "memory", HBCTL_HEALTH_FAIL,
			"lower capacity.* or add memory: the dataplane dies when the tables fill",
			"%" PRIu64 " MiB for the state at capacity.*, the machine has %" PRIu64,
			state_mib, total_mib);
	else if (state_mib * 4 > total_mib * 3)
		hbctl_doctor_say(doctor, "memory", HBCTL_HEALTH_WARN,
			"a snapshot needs as much again while it is made: lower capacity.*, or add "
			"memory",
			"%" PRIu64 " MiB for the state at capacity.*, the machine has %" PRIu64,
			state_mib, total_mib);
	else
		hbctl_doctor_say(doctor, "memory", HBCTL_HEALTH_OK, "",
			"%" PRIu64 " MiB for the state at capacity.*, the machine has %" PRIu64,
			state_mib, total_mib);
}

/* The state asks for transparent huge pages; the kernel decides by this file. */
static void
look_at_huge_pages(struct hbctl_doctor *doctor)
{
	char text[128];
	const char *path = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

	if (!hbctl_doctor_read(path, text, sizeof(text)))
		hbctl_doctor_say(doctor, "huge pages", HBCTL_HEALTH_WARN,
			"look-ups in large tables miss the TLB; nothing else depends on it",
			"this kernel has none for shared memory");
	else if (strstr(text, "[never]") != NULL || strstr(text, "[deny]") != NULL)
		hbctl_doctor_say(doctor, "huge pages", HBCTL_HEALTH_WARN,
			"echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled before "
			"the dataplane starts, at each boot: ./hongbao setup does, and the package",
			"off for shared memory: %s", text);
	else
		hbctl_doctor_say(doctor, "huge pages", HBCTL_HEALTH_OK, "",
			"shared memory: %s; %" PRIu64 " reserved pages are free", text,
			meminfo("HugePages_Free:"));
}

static void
look_at_clock(struct hbctl_doctor *doctor)
{
	struct timex clock = {.modes = 0};
	int state = adjtimex(&clock);

	if (state == TIME_ERROR || (clock.status & STA_UNSYNC) != 0)
		hbctl_doctor_say(doctor, "clock", HBCTL_HEALTH_WARN,
			"install chrony: a jump of more than clock.step_ms_max stops money "
			"operations, and deadlines follow this clock",
			"nobody keeps it right (the kernel says unsynchronised)");
	else if (clock.maxerror > CLOCK_ERROR_US_MAX)
		hbctl_doctor_say(doctor, "clock", HBCTL_HEALTH_WARN,
			"look at 'chronyc tracking'; are its servers reached?",
			"synchronised, but it may be %ld ms off", clock.maxerror / 1000);
	else
		hbctl_doctor_say(doctor, "clock", HBCTL_HEALTH_OK, "",
			"synchronised, at most %ld ms off", clock.maxerror / 1000);
}

static void
look_at_limits(struct hbctl_doctor *doctor)
{
	struct rlimit files = {0}, locked = {0};

	getrlimit(RLIMIT_NOFILE, &files);
	getrlimit(RLIMIT_MEMLOCK, &locked);
	if (files.rlim_max < DESCRIPTORS_NEEDED)
		hbctl_doctor_say(doctor, "open files", HBCTL_HEALTH_FAIL,
			"raise the hard limit (ulimit -Hn, or LimitNOFILE= of a unit) to 65536",
			"at most %" PRIu64 " each process", (uint64_t)files.rlim_max);
	else if (files.rlim_max < DESCRIPTORS_WANTED)
		hbctl_doctor_say(doctor, "open files", HBCTL_HEALTH_WARN,
			"nginx can hold fewer connections; raise the hard limit to 65536",
			"at most %" PRIu64 " each process", (uint64_t)files.rlim_max);
	else
		hbctl_doctor_say(doctor, "open files", HBCTL_HEALTH_OK, "",
			"at most %" PRIu64 " each process", (uint64_t)files.rlim_max);
	if (locked.rlim_max == RLIM_INFINITY)
		hbctl_doctor_say(doctor, "locked memory", HBCTL_HEALTH_OK, "", "no limit");
	else if (strstr(doctor->hbctl->config.dataplane_ports, "-a") != NULL)
		hbctl_doctor_say(doctor, "locked memory", HBCTL_HEALTH_FAIL,
			"set LimitMEMLOCK=infinity: a PCI port locks its DMA memory",
			"at most %" PRIu64 " KiB", (uint64_t)locked.rlim_max >> 10);
	else
		hbctl_doctor_say(doctor, "locked memory", HBCTL_HEALTH_OK, "",
			"at most %" PRIu64 " KiB; nothing needs more without PCI ports",
			(uint64_t)locked.rlim_max >> 10);
}

/* "…iface=NAME,…" of one device; "" when it names none. */
static void
interface_of(const char *device, char name[IF_NAMESIZE])
{
	const char *at = strstr(device, "iface=");

	name[0] = '\0';
	if (at == NULL)
		return;
	at += strlen("iface=");
	snprintf(name, IF_NAMESIZE, "%.*s", (int)strcspn(at, ", "), at);
}

static bool
may_have(int capability)
{
	return prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1;
}

static void
look_at_device(struct hbctl_doctor *doctor, const char *device)
{
	char name[IF_NAMESIZE];
	bool raw = strstr(device, "net_af_packet") != NULL;
	bool tap = strstr(device, "net_tap") != NULL;

	interface_of(device, name);
	if (tap && access("/dev/net/tun", F_OK) != 0)
		hbctl_doctor_say(doctor, "ports", HBCTL_HEALTH_FAIL,
			"modprobe tun, or let the container have the device",
			"%s needs /dev/net/tun", device);
	else if (raw && (name[0] == '\0' || if_nametoindex(name) == 0))
		hbctl_doctor_say(doctor, "ports", HBCTL_HEALTH_FAIL,
			"'ip link' lists the interfaces; it must be up before the dataplane starts",
			"%s: there is no interface '%s'", device, name);
	else if ((raw && !may_have(CAPABILITY_NET_RAW)) ||
		 ((raw || tap) && !may_have(CAPABILITY_NET_ADMIN)))
		hbctl_doctor_say(doctor, "ports", HBCTL_HEALTH_FAIL,
			"CAP_NET_RAW and CAP_NET_ADMIN are not to be had here; use net_ring, or "
			"another machine",
			"%s", device);
	else if (strncmp(device, "-a", 2) == 0 && access("/dev/vfio/vfio", F_OK) != 0)
		hbctl_doctor_say(doctor, "ports", HBCTL_HEALTH_FAIL,
			"modprobe vfio-pci and bind the card to it (dpdk-devbind.py)",
			"PCI ports need /dev/vfio/vfio");
	else
		hbctl_doctor_say(doctor, "ports", HBCTL_HEALTH_OK, "", "%s", device);
}

static void
look_at_ports(struct hbctl_doctor *doctor)
{
	char ports[HB_CONFIG_TEXT_MAX];
	char *rest;

	snprintf(ports, sizeof(ports), "%s", doctor->hbctl->config.dataplane_ports);
	if (ports[strspn(ports, " ")] == '\0') {
		hbctl_doctor_say(doctor, "ports", HBCTL_HEALTH_OK, "",
			"none configured; possible here: net_ring%s%s%s",
			may_have(CAPABILITY_NET_RAW) && may_have(CAPABILITY_NET_ADMIN)
				? ", net_af_packet"
				: "",
			access("/dev/net/tun", F_OK) == 0 && may_have(CAPABILITY_NET_ADMIN)
				? ", net_tap"
				: "",
			access("/dev/vfio/vfio", F_OK) == 0 ? ", PCI cards by vfio" : "");
		return;
	}
	for (char *word = strtok_r(ports, " ", &rest); word != NULL;
		word = strtok_r(NULL, " ", &rest))
		look_at_device(doctor, word);
}

void
hbctl_doctor_machine(struct hbctl_doctor *doctor)
{
	look_at_cpu(doctor);
	look_at_memory(doctor);
	look_at_huge_pages(doctor);
	look_at_clock(doctor);
	look_at_limits(doctor);
	look_at_ports(doctor);
}
