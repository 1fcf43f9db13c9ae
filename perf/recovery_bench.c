/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See recovery_bench.h. Threads as in a start of hongbao-persist, or as many as are asked
 * for. The state is this process's own and goes with it.
 */
#include "perf/recovery_bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/config.h"
#include "base/paths.h"
#include "persist/journal_reader.h"
#include "persist/replay.h"
#include "persist/snapshot.h"

#define PAGE_BYTES 4096

_Static_assert(HB_JOURNAL_ERROR_BYTES == 512, "errors are handed on as they are");

struct times {
	uint64_t create_ns;
	uint64_t touch_ns;
	uint64_t load_ns;
	uint64_t replay_ns;
	uint64_t read_ns;
};

static int
fail(char error[512], int result, const char *what)
{
	snprintf(error, 512, "%.200s: %s", what, strerror(-result));
	return result;
}

/* The first access to each page, before the clock of anything else starts. */
static void
touch_pages(struct hb_state *state)
{
	volatile uint8_t *base = state->segment.base;

	for (uint64_t at = 0; at < state->segment.bytes; at += PAGE_BYTES)
		base[at] = base[at];
}

/* The reader's work alone: disk, checksums, chain. */
static int
read_only(struct hb_journal_reader *reader, uint64_t from, uint64_t *records, char error[512])
{
	const struct hb_record *record;
	struct hb_journal_position at;
	int result = hb_journal_reader_seek(reader, from);

	while (result == 0) {
		result = hb_journal_reader_next(reader, &record, &at);
		if (result <= 0)
			break;
		(*records)++;
		result = 0;
	}
	if (result != 0)
		snprintf(error, 512, "%s", hb_journal_reader_error(reader));
	return result;
}

static int
measure(struct hb_journal_reader *reader, const char *directory, struct hb_state *state,
	const struct hb_capacity *capacity, uint32_t threads, bool touch, struct times *times,
	char error[512])
{
	struct hb_journal_info info;
	struct hb_snapshot_header header;
	struct hb_replay_result replay;
	uint64_t begin_ns, records = 0;
	int result = hb_journal_reader_info(reader, &info);

	if (result != 0)
		return fail(error, result, directory);
	begin_ns = hb_mono_ns();
	result = hb_state_create(state, capacity, info.node);
	times->create_ns = hb_mono_ns() - begin_ns;
	if (result != 0)
		return fail(error, result, "no memory for the state");

	begin_ns = hb_mono_ns();
	if (touch)
		touch_pages(state);
	times->touch_ns = hb_mono_ns() - begin_ns;

	begin_ns = hb_mono_ns();
	result = hb_snapshot_load_newest(
		directory, UINT64_MAX, info.stream_id, state, &header, error);
	times->load_ns = hb_mono_ns() - begin_ns;
	if (result != 0)
		return result;

	begin_ns = hb_mono_ns();
	result = hb_replay_in_threads(reader, state, &header, threads, &replay, error);
	times->replay_ns = hb_mono_ns() - begin_ns;
	if (result != 0)
		return result;

	hb_journal_reader_limit(reader, replay.seq);
	begin_ns = hb_mono_ns();
	result = read_only(reader, header.seq + 1, &records, error);
	times->read_ns = hb_mono_ns() - begin_ns;
	if (result != 0)
		return result;
	printf("{\"snapshot_seq\":%" PRIu64 ",\"seq\":%" PRIu64 ",\"records\":%" PRIu64
	       ",\"read\":%" PRIu64 ",\"marks\":%" PRIu64 ",\"threads\":%u",
		header.seq, replay.seq, replay.records, records, replay.marks, threads);
	return 0;
}

int
hb_recovery_bench(const char *config_file, int threads, bool touch, char error[512])
{
	static struct hb_config config;
	static struct hb_state state;
	struct hb_capacity capacity;
	struct hb_journal_reader *reader = NULL;
	struct times times = {0};
	char directory[HB_PATH_MAX], why[256] = "";
	int result;

	hb_config_defaults(&config);
	result = hb_config_load(&config, config_file, why);
	if (result != 0) {
		snprintf(error, 512, "%s", why);
		return result;
	}
	hb_path(directory, config.node_directory, "journal");
	capacity = hb_capacity_from_config(&config);
	result = hb_journal_reader_open(&reader, directory, error);
	if (result != 0)
		return result;
	result = measure(reader, directory, &state, &capacity,
		threads < 0 ? hb_replay_threads() : (uint32_t)threads, touch, &times, error);
	if (result == 0)
		printf(",\"state_mib\":%" PRIu64 ",\"state_ms\":%.1f,\"touch_ms\":%.1f,\"snapshot_"
		       "ms\":%.1f,\"replay_ms\":%.1f"
		       ",\"read_ms\":%.1f}\n",
			state.segment.bytes >> 20, (double)times.create_ns / 1e6,
			(double)times.touch_ns / 1e6, (double)times.load_ns / 1e6,
			(double)times.replay_ns / 1e6, (double)times.read_ns / 1e6);
	if (state.segment.base != NULL)
		hb_state_close(&state);
	hb_journal_reader_close(reader);
	return result;
}
