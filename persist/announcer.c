/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The announcer's thread and its readers' connections: see the header.
 */
#include "persist/announcer.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "persist/announcement.h"
#include "persist/snapshot.h"

#define WAIT_MS		1000
#define PACE_NS		5000000 /* between looks at the journal: many small frames are read at once */
#define RETRY_NS	1000000000 /* after a journal that could not be read */
#define THROUGH_RECORDS 1024	   /* while it catches up, readers are told this often */

struct hb_announcer {
	struct hb_announcer_source source;
	uint64_t snapshot_seq; /* where it begins, 0: at the first record */
	struct hb_notices ring;
	struct hb_packet_origins *origins;
	pthread_t thread;
	_Atomic bool stop;

	/* the thread's */
	struct hb_journal_reader *reader; /* NULL: to be opened */
	uint64_t seq;			  /* announced */
	bool complained;

	/* of who calls admit and sweep */
	int readers[HB_ANNOUNCER_READERS_MAX];
	uint32_t reader_count;
};

/* ---- following ---- */

static void
add_packet(void *origins, const struct hb_packet *packet)
{
	hb_packet_origins_add(origins, packet);
}

static void
load_origins(struct hb_announcer *a)
{
	char error[HB_JOURNAL_ERROR_BYTES] = "";

	if (a->snapshot_seq == 0)
		return;
	if (hb_snapshot_visit_packets(a->source.journal_directory, a->snapshot_seq,
		    a->source.stream_id, add_packet, a->origins, error) != 0)
		hb_log(HB_LOG_WARN, "announcer_packets_unknown",
			"error=\"%s\" effect=\"grabs of older packets are told to their "
			"grabbers only\"",
			error);
}

static void
complain(struct hb_announcer *a, const char *error)
{
	if (!a->complained)
		hb_log(HB_LOG_ERROR, "announcer_halted",
			"seq=%llu error=\"%s\" effect=\"event streams wait; it tries again\"",
			(unsigned long long)a->seq, error);
	a->complained = true;
}

static int
open_reader(struct hb_announcer *a)
{
	char error[HB_JOURNAL_ERROR_BYTES] = "";
	int rc = hb_journal_reader_open(&a->reader, a->source.journal_directory, error);

	if (rc != 0) {
		a->reader = NULL;
		complain(a, error);
		return rc;
	}
	hb_journal_reader_limit(a->reader, hb_committed_seq(a->source.commit));
	rc = hb_journal_reader_seek(a->reader, a->seq + 1);
	if (rc == 0)
		return 0;
	complain(a, hb_journal_reader_error(a->reader));
	hb_journal_reader_close(a->reader);
	a->reader = NULL;
	return rc;
}

static void
announce(struct hb_announcer *a, const struct hb_record *record, uint64_t seq)
{
	struct hb_notice notices[HB_NOTICES_OF_RECORD_MAX];
	uint32_t count = hb_notices_of(a->origins, record, seq, notices);

	for (uint32_t i = 0; i < count; i++)
		hb_notices_publish(&a->ring, &notices[i]);
	a->seq = seq;
	if (seq % THROUGH_RECORDS == 0)
		hb_notices_through(&a->ring, seq);
}

/* Announce what is committed. @return 0, or an error after which the reader is opened anew */
static int
follow(struct hb_announcer *a, uint64_t committed_seq)
{
	const struct hb_record *record;
	struct hb_journal_position at;
	int rc = a->reader == NULL ? open_reader(a) : 0;

	if (rc != 0)
		return rc;
	hb_journal_reader_limit(a->reader, committed_seq);
	while (!atomic_load_explicit(&a->stop, memory_order_relaxed) &&
		(rc = hb_journal_reader_next(a->reader, &record, &at)) > 0)
		announce(a, record, at.seq);
	hb_notices_through(&a->ring, a->seq);
	if (rc >= 0) {
		a->complained = false;
		return 0;
	}
	complain(a, hb_journal_reader_error(a->reader));
	hb_journal_reader_close(a->reader);
	a->reader = NULL;
	return rc;
}

static void *
announcer_main(void *argument)
{
	struct hb_announcer *a = argument;

	load_origins(a);
	while (!atomic_load(&a->stop)) {
		uint64_t committed_seq = hb_commit_wait(a->source.commit, a->seq, WAIT_MS);
		struct timespec pause = {.tv_nsec = PACE_NS};

		if (committed_seq <= a->seq || atomic_load(&a->stop))
			continue;
		if (follow(a, committed_seq) != 0)
			pause = (struct timespec){.tv_sec = RETRY_NS / 1000000000};
		nanosleep(&pause, NULL);
	}
	return NULL;
}

/* ---- start and stop ---- */

/*
 * Where to begin: the second newest snapshot when the ring can hold what came after it, else the
 * newest. Segments are kept at least that far back (release_mark in main.c).
 */
static uint64_t
choose_begin(const struct hb_announcer_source *source)
{
	uint64_t seq[HB_SNAPSHOTS_MAX];
	uint64_t committed_seq = hb_committed_seq(source->commit);
	int count = hb_snapshot_list(source->journal_directory, seq);

	if (count >= 2 && seq[1] + source->slots >= committed_seq)
		return seq[1];
	return count >= 1 && seq[0] <= committed_seq ? seq[0] : 0;
}

int
hb_announcer_start(struct hb_announcer **announcer, const struct hb_announcer_source *source,
	char error[HB_JOURNAL_ERROR_BYTES])
{
	struct hb_announcer *a = calloc(1, sizeof(*a));
	int rc = -ENOMEM;

	*announcer = NULL;
	if (a == NULL)
		goto out;
	a->source = *source;
	a->seq = a->snapshot_seq = choose_begin(source);
	a->origins = hb_packet_origins_new(source->packets);
	if (a->origins != NULL)
		rc = hb_notices_create(&a->ring, source->slots, a->seq + 1);
	if (rc == 0)
		rc = -pthread_create(&a->thread, NULL, announcer_main, a);
	if (rc == 0) {
		*announcer = a;
		return 0;
	}
	hb_notices_close(&a->ring);
	hb_packet_origins_free(a->origins);
out:
	snprintf(error, HB_JOURNAL_ERROR_BYTES, "cannot keep %llu events: %s",
		(unsigned long long)source->slots, strerror(-rc));
	free(a);
	return rc;
}

void
hb_announcer_stop(struct hb_announcer *a)
{
	if (a == NULL)
		return;
	atomic_store(&a->stop, true);
	hb_commit_wake(a->source.commit);
	pthread_join(a->thread, NULL);
	for (uint32_t i = 0; i < a->reader_count; i++)
		close(a->readers[i]);
	if (a->reader != NULL)
		hb_journal_reader_close(a->reader);
	hb_notices_close(&a->ring);
	hb_packet_origins_free(a->origins);
	free(a);
}

uint64_t
hb_announcer_seq(const struct hb_announcer *a)
{
	return hb_notices_through_seq(&a->ring);
}

/* ---- readers ---- */

uint32_t
hb_announcer_sweep(struct hb_announcer *a)
{
	for (uint32_t i = 0; i < a->reader_count;) {
		uint8_t byte;
		ssize_t n = recv(a->readers[i], &byte, 1, MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			i++;
			continue;
		}
		/* gone, or it says something, which a reader never does */
		close(a->readers[i]);
		a->readers[i] = a->readers[--a->reader_count];
	}
	return a->reader_count;
}

int
hb_announcer_admit(struct hb_announcer *a, int fd)
{
	int rc = -EBUSY;

	if (hb_announcer_sweep(a) < HB_ANNOUNCER_READERS_MAX)
		rc = hb_notices_hand_out(&a->ring, fd);
	else
		hb_notices_refuse(fd, EBUSY, "too many processes follow the notices");
	if (rc == 0)
		a->readers[a->reader_count++] = fd;
	else
		close(fd);
	return rc;
}
