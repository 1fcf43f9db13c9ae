/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hbctl doctor, the journal's disk: what kind of file system and drive, how long a durable write
 * takes, how many days of journal fit. The probe's file has no name, so nothing stays behind.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/sync_probe.h"
#include "tools/hbctl/doctor.h"

#define PROBE_WRITES	   200
#define SYNC_P99_US_MAX	   20000 /* a reply waits for its write: slower is felt */
#define SYNC_P50_US_ABSURD 4	 /* no medium is that fast: the write stayed in memory */
#define DAYS_LEFT_MIN	   7
#define SHED_PERCENT	   70 /* new packets are refused from here on */
#define SECONDS_PER_DAY	   86400
#define NFS_SUPER	   0x6969
#define SMB2_SUPER	   0xfe534d42

static void
look_at_file_system(struct hbctl_doctor *doctor, const char *journal)
{
	static const struct {
		long type;
		const char *name;
		enum hbctl_health health;
		const char *advice;
	} known[] = {
		{EXT4_SUPER_MAGIC, "ext4", HBCTL_HEALTH_OK, ""},
		{XFS_SUPER_MAGIC, "xfs", HBCTL_HEALTH_OK, ""},
		{TMPFS_MAGIC, "tmpfs", HBCTL_HEALTH_FAIL,
			"put node.directory on a disk: a restart of the machine loses the ledger"},
		{RAMFS_MAGIC, "ramfs", HBCTL_HEALTH_FAIL,
			"put node.directory on a disk: a restart of the machine loses the ledger"},
		{OVERLAYFS_SUPER_MAGIC, "overlay", HBCTL_HEALTH_WARN,
			"give the container a volume for node.directory: this one dies with it"},
		{BTRFS_SUPER_MAGIC, "btrfs", HBCTL_HEALTH_WARN,
			"copy on write turns each overwrite into several; prefer ext4 or xfs"},
		{NFS_SUPER, "nfs", HBCTL_HEALTH_WARN,
			"a server that acknowledges before its disk has it loses acknowledged "
			"money; prefer a local disk"},
		{SMB2_SUPER, "cifs", HBCTL_HEALTH_WARN, "prefer a local disk"},
	};
	struct statfs system;

	if (statfs(journal, &system) != 0)
		return; /* told by the folders */
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if ((uint32_t)system.f_type != (uint32_t)known[i].type)
			continue;
		hbctl_doctor_say(doctor, "file system", known[i].health, known[i].advice, "%s",
			known[i].name);
		return;
	}
	hbctl_doctor_say(doctor, "file system", HBCTL_HEALTH_WARN,
		"it is not one we know: does it keep what fsync has acknowledged?", "type 0x%lx",
		(unsigned long)(uint32_t)system.f_type);
}

/* A mount option that lets the drive keep what it was told to write. */
static void
look_at_barriers(struct hbctl_doctor *doctor, const struct stat *folder)
{
	char line[1024], device[32];
	FILE *file = fopen("/proc/self/mountinfo", "re");

	if (file == NULL)
		return;
	snprintf(device, sizeof(device), " %u:%u ", major(folder->st_dev), minor(folder->st_dev));
	while (fgets(line, sizeof(line), file) != NULL) {
		if (strstr(line, device) == NULL ||
			(strstr(line, "nobarrier") == NULL && strstr(line, "barrier=0") == NULL))
			continue;
		hbctl_doctor_say(doctor, "barriers", HBCTL_HEALTH_FAIL,
			"mount it without nobarrier and barrier=0",
			"they are off: a power cut "
			"loses acknowledged money");
		break;
	}
	fclose(file);
}

/* A file of the disk's queue; of the whole disk when the device is a partition. */
static bool
queue_file(dev_t device, const char *name, char *text, size_t bytes)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/queue/%s", major(device), minor(device),
		name);
	if (hbctl_doctor_read(path, text, bytes))
		return true;
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../queue/%s", major(device),
		minor(device), name);
	return hbctl_doctor_read(path, text, bytes);
}

static void
look_at_drive(struct hbctl_doctor *doctor, const struct stat *folder)
{
	char cache[64], turning[16];

	if (!queue_file(folder->st_dev, "write_cache", cache, sizeof(cache)) ||
		!queue_file(folder->st_dev, "rotational", turning, sizeof(turning))) {
		hbctl_doctor_say(doctor, "drive", HBCTL_HEALTH_OK, "",
			"device %u:%u tells nothing of itself", major(folder->st_dev),
			minor(folder->st_dev));
		return;
	}
	if (strcmp(cache, "write back") == 0)
		hbctl_doctor_say(doctor, "drive", HBCTL_HEALTH_WARN,
			"it must keep what it acknowledges to a flush: a drive with power-loss "
			"protection; in a VM the host's cache must be off (cache=none)",
			"it has a write cache%s", turning[0] == '1' ? "; it rotates" : "");
	else
		hbctl_doctor_say(doctor, "drive", HBCTL_HEALTH_OK, "", "no volatile write cache%s",
			turning[0] == '1' ? "; it rotates" : "");
}

static int
by_value(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void
look_at_speed(struct hbctl_doctor *doctor, const char *journal)
{
	static uint64_t latency_ns[PROBE_WRITES];
	char error[256];
	uint64_t p50_us, p99_us;

	if (hb_sync_probe(journal, PROBE_WRITES, latency_ns, error) != 0) {
		hbctl_doctor_say(doctor, "T_sync", HBCTL_HEALTH_FAIL,
			"persist writes the same way; run this as root, on a file system with "
			"O_DIRECT",
			"%s", error);
		return;
	}
	qsort(latency_ns, PROBE_WRITES, sizeof(latency_ns[0]), by_value);
	p50_us = latency_ns[PROBE_WRITES / 2] / 1000;
	p99_us = latency_ns[PROBE_WRITES * 99 / 100] / 1000;
	if (p50_us < SYNC_P50_US_ABSURD)
		hbctl_doctor_say(doctor, "T_sync", HBCTL_HEALTH_FAIL,
			"nothing durable is so fast: where do these writes end?",
			"a durable write takes p50 %" PRIu64 " us", p50_us);
	else if (p99_us > SYNC_P99_US_MAX)
		hbctl_doctor_say(doctor, "T_sync", HBCTL_HEALTH_WARN,
			"every reply waits for one such write: a faster disk, or one that others "
			"do not use",
			"a durable write takes p50 %" PRIu64 " us, p99 %" PRIu64 " us", p50_us,
			p99_us);
	else
		hbctl_doctor_say(doctor, "T_sync", HBCTL_HEALTH_OK, "",
			"a durable write takes p50 %" PRIu64 " us, p99 %" PRIu64 " us", p50_us,
			p99_us);
}

struct usage {
	uint64_t bytes;	       /* of all files of the journal and its snapshots */
	uint64_t packed_bytes; /* of finished segments */
	uint64_t packed_count;
	int64_t oldest_s; /* of them */
	int64_t newest_s;
	int64_t last_write_s; /* of any file */
};

static void
count_files(int directory, struct usage *usage)
{
	int fd = dup(directory);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	struct stat file;

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL) {
		const char *suffix = strrchr(entry->d_name, '.');

		if (fstatat(directory, entry->d_name, &file, AT_SYMLINK_NOFOLLOW) != 0 ||
			!S_ISREG(file.st_mode))
			continue;
		usage->bytes += (uint64_t)file.st_blocks * 512;
		if (file.st_mtim.tv_sec > usage->last_write_s)
			usage->last_write_s = file.st_mtim.tv_sec;
		if (suffix == NULL || strcmp(suffix, ".packed") != 0)
			continue;
		usage->packed_bytes += (uint64_t)file.st_size;
		usage->packed_count++;
		if (usage->oldest_s == 0 || file.st_mtim.tv_sec < usage->oldest_s)
			usage->oldest_s = file.st_mtim.tv_sec;
		if (file.st_mtim.tv_sec > usage->newest_s)
			usage->newest_s = file.st_mtim.tv_sec;
	}
	closedir(dir);
}

/* Bytes of journal that a day makes, from the finished segments; 0: there are too few. */
static uint64_t
bytes_per_day(const struct usage *usage)
{
	int64_t span_s = usage->newest_s - usage->oldest_s;

	if (usage->packed_count < 3 || span_s <= 0)
		return 0;
	return usage->packed_bytes / (uint64_t)span_s * SECONDS_PER_DAY;
}

static void
look_at_room(struct hbctl_doctor *doctor, const char *journal, const struct usage *usage)
{
	uint64_t volume = (uint64_t)doctor->hbctl->config.journal_volume_mib << 20;
	uint64_t day = bytes_per_day(usage);
	uint64_t used = usage->bytes, limit, free_bytes, days;
	struct statvfs system;

	if (statvfs(journal, &system) != 0)
		return;
	if (volume == 0) {
		/* as persist counts: what only root may use is no part of the volume */
		used = (system.f_blocks - system.f_bfree) * system.f_frsize;
		volume = used + system.f_bavail * system.f_frsize;
	}
	limit = volume / 100 * SHED_PERCENT;
	free_bytes = used < limit ? limit - used : 0;
	if (free_bytes == 0) {
		hbctl_doctor_say(doctor, "room", HBCTL_HEALTH_FAIL,
			"free or enlarge the volume, or lower journal.keep_days: new packets are "
			"refused",
			"%" PRIu64 " of %" PRIu64 " MiB used", used >> 20, volume >> 20);
		return;
	}
	if (day == 0) {
		hbctl_doctor_say(doctor, "room", HBCTL_HEALTH_OK, "",
			"%" PRIu64 " MiB until 70 %%; the journal is too young to tell a rate",
			free_bytes >> 20);
		return;
	}
	days = free_bytes / day;
	if (days < DAYS_LEFT_MIN && (uint64_t)doctor->hbctl->config.journal_keep_days > days)
		hbctl_doctor_say(doctor, "room", HBCTL_HEALTH_WARN,
			"enlarge the volume, or lower journal.keep_days",
			"%" PRIu64 " MiB until 70 %%: %" PRIu64 " days at %" PRIu64 " MiB a day",
			free_bytes >> 20, days, day >> 20);
	else
		hbctl_doctor_say(doctor, "room", HBCTL_HEALTH_OK, "",
			"%" PRIu64 " MiB until 70 %%: %" PRIu64 " days at %" PRIu64 " MiB a day",
			free_bytes >> 20, days, day >> 20);
}

/* The journal's files were written by this clock; it must not have gone back since. */
static void
look_at_journal_time(struct hbctl_doctor *doctor, const struct usage *usage)
{
	const struct hb_config *config = &doctor->hbctl->config;
	int64_t now_s = (int64_t)(hb_wall_ns() / 1000000000);
	int64_t ahead_s = usage->last_write_s - now_s;

	if (usage->last_write_s == 0)
		return;
	if (ahead_s * 1000 > config->clock_step_ms_max)
		hbctl_doctor_say(doctor, "journal time", HBCTL_HEALTH_FAIL,
			"set the clock right before a start: money operations would be stopped",
			"the journal was written %" PRId64 " s in this clock's future", ahead_s);
	else if (-ahead_s > config->clock_gap_s_max)
		hbctl_doctor_say(doctor, "journal time", HBCTL_HEALTH_WARN,
			"look at 'date'; after the start 'hbctl clock confirm' is needed",
			"the journal was last written %" PRId64 " days ago",
			-ahead_s / SECONDS_PER_DAY);
	else
		hbctl_doctor_say(doctor, "journal time", HBCTL_HEALTH_OK, "",
			"last written %" PRId64 " s ago", ahead_s > 0 ? 0 : -ahead_s);
}

void
hbctl_doctor_disk(struct hbctl_doctor *doctor)
{
	char journal[HB_PATH_MAX];
	struct usage usage = {0};
	struct stat folder;
	int fd, snapshots;

	hb_path(journal, doctor->hbctl->config.node_directory, HB_PATH_JOURNAL);
	fd = open(journal, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &folder) != 0) {
		hbctl_doctor_say(doctor, "disk", HBCTL_HEALTH_FAIL,
			errno == EACCES ? "run hbctl as root"
					: "./hongbao up or the package makes it",
			"%s: %s", journal, strerror(errno));
		if (fd >= 0)
			close(fd);
		return;
	}
	count_files(fd, &usage);
	snapshots = openat(fd, "snapshot", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (snapshots >= 0) {
		count_files(snapshots, &usage);
		close(snapshots);
	}
	close(fd);
	look_at_file_system(doctor, journal);
	look_at_barriers(doctor, &folder);
	look_at_drive(doctor, &folder);
	look_at_speed(doctor, journal);
	look_at_room(doctor, journal, &usage);
	look_at_journal_time(doctor, &usage);
}
