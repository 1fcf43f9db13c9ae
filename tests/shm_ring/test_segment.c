/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Segments: readiness, layout, kind, size and seals, and the node segment's counters.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "shm/node.h"
#include "shm/segment.h"

static struct hb_segment_guard *
guard(struct hb_segment *segment)
{
	return (struct hb_segment_guard *)(void *)segment->base;
}

static void
a_ready_segment_is_seen_by_whoever_attaches(void **state)
{
	struct hb_segment mine, theirs;
	char error[160];

	(void)state;
	assert_int_equal(hb_segment_create(&mine, "test", HB_SEGMENT_NODE, 10000), 0);
	assert_int_equal(mine.bytes, 12288);
	mine.base[5000] = 42;
	hb_segment_ready(&mine);
	assert_int_equal(hb_segment_attach(&theirs, dup(mine.fd), HB_SEGMENT_NODE, true, error), 0);
	assert_int_equal(theirs.base[5000], 42);
	hb_segment_close(&theirs);
	hb_segment_close(&theirs); /* twice is harmless */
	hb_segment_close(&mine);
}

static void
a_segment_that_is_not_ready_is_refused(void **state)
{
	struct hb_segment mine, theirs;
	char error[160];

	(void)state;
	assert_int_equal(hb_segment_create(&mine, "test", HB_SEGMENT_NODE, 4096), 0);
	assert_int_equal(
		hb_segment_attach(&theirs, dup(mine.fd), HB_SEGMENT_NODE, true, error), -EPROTO);
	assert_non_null(strstr(error, "not ready"));
	hb_segment_close(&mine);
}

static void
another_layout_is_refused_with_both_named(void **state)
{
	struct hb_segment mine, theirs;
	char error[160], own[32];

	(void)state;
	assert_int_equal(hb_segment_create(&mine, "test", HB_SEGMENT_NODE, 4096), 0);
	guard(&mine)->layout_hash = UINT64_C(0x1234567890abcdef);
	hb_segment_ready(&mine);
	assert_int_equal(
		hb_segment_attach(&theirs, dup(mine.fd), HB_SEGMENT_NODE, true, error), -EPROTO);
	snprintf(own, sizeof(own), "%016llx", (unsigned long long)hb_layout_hash());
	assert_non_null(strstr(error, "1234567890abcdef"));
	assert_non_null(strstr(error, own));
	hb_segment_close(&mine);
}

static void
another_kind_is_refused(void **state)
{
	struct hb_segment mine, theirs;
	char error[160];

	(void)state;
	assert_int_equal(hb_segment_create(&mine, "test", HB_SEGMENT_STATE, 4096), 0);
	hb_segment_ready(&mine);
	assert_int_equal(
		hb_segment_attach(&theirs, dup(mine.fd), HB_SEGMENT_NODE, true, error), -EPROTO);
	assert_non_null(strstr(error, "kind"));
	hb_segment_close(&mine);
}

static void
a_descriptor_whose_size_can_change_is_refused(void **state)
{
	struct hb_segment theirs;
	char error[160];
	int fd = memfd_create("hostile", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	(void)state;
	assert_int_equal(ftruncate(fd, 8192), 0);
	assert_int_equal(hb_segment_attach(&theirs, fd, HB_SEGMENT_CLIENT, true, error), -EPROTO);
	assert_non_null(strstr(error, "sealed"));
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(hb_segment_attach(&theirs, fd, HB_SEGMENT_CLIENT, true, error), -EPROTO);
}

static void
a_size_is_sealed_and_a_read_only_segment_cannot_be_mapped_writable(void **state)
{
	struct hb_segment mine, theirs;
	char error[160];

	(void)state;
	assert_int_equal(hb_segment_create(&mine, "test", HB_SEGMENT_NODE, 8192), 0);
	assert_int_equal(hb_segment_seal_read_only(&mine), 0);
	mine.base[4096] = 7; /* the creator goes on writing */
	hb_segment_ready(&mine);
	assert_int_equal(ftruncate(mine.fd, 4096), -1);
	assert_int_equal(
		hb_segment_attach(&theirs, dup(mine.fd), HB_SEGMENT_NODE, true, error), -EPERM);
	assert_int_equal(
		hb_segment_attach(&theirs, dup(mine.fd), HB_SEGMENT_NODE, false, error), 0);
	assert_int_equal(theirs.base[4096], 7);
	assert_int_equal(mprotect(theirs.base, theirs.bytes, PROT_READ | PROT_WRITE), -1);
	hb_segment_close(&theirs);
	hb_segment_close(&mine);
}

static void
a_counter_is_the_sum_of_its_columns_and_carries_its_label(void **state)
{
	struct hb_segment mine;
	struct hb_node *node;

	(void)state;
	assert_int_equal(hb_segment_create(&mine, "test", HB_SEGMENT_NODE,
				 HB_SEGMENT_GUARD_BYTES + sizeof(*node)),
		0);
	node = (struct hb_node *)(void *)(mine.base + HB_SEGMENT_GUARD_BYTES);
	hb_node_init(node, 2);
	hb_counter_add(node, 0, HB_COUNTER_GRABS, 3);
	hb_counter_add(node, 1, HB_COUNTER_GRABS, 4);
	hb_counter_add(node, HB_LCORE_COUNT_MAX, HB_COUNTER_GRABS, 5);
	assert_int_equal(hb_counter_sum(node, HB_COUNTER_GRABS), 12);
	assert_int_equal(node->counter_count, HB_COUNTER_COUNT);
	assert_string_equal(node->label[HB_COUNTER_GRABS].key, "grabs");
	assert_string_equal(node->label[HB_COUNTER_PARKED].key, "parked");
	assert_int_equal(node->label[HB_COUNTER_GRABS].kind, HB_KIND_SUM);
	assert_int_equal(node->label[HB_COUNTER_PARKED].kind, HB_KIND_GAUGE);
	hb_counter_add(node, 0, HB_COUNTER_TURN_NS_MAX, 30);
	hb_counter_add(node, 1, HB_COUNTER_TURN_NS_MAX, 20);
	assert_int_equal(hb_counter_sum(node, HB_COUNTER_TURN_NS_MAX), 30);
	assert_string_equal(node->label[HB_COUNTER_TURN_NS_MAX].unit, "ns");
	hb_segment_close(&mine);
}

/* Does the mapping that begins there have this flag? From /proc/self/smaps. */
static bool
mapping_has_flag(const void *base, const char *flag)
{
	char line[512];
	unsigned long begin, end;
	bool inside = false, found = false;
	FILE *maps = fopen("/proc/self/smaps", "r");

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps) != NULL) {
		if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
			inside = begin == (unsigned long)base;
		else if (inside && strncmp(line, "VmFlags:", 8) == 0)
			found = strstr(line, flag) != NULL;
	}
	fclose(maps);
	return found;
}

static void
a_state_asks_for_huge_pages_and_one_that_is_thrown_away_does_not(void **unused)
{
	struct hb_segment segment;

	(void)unused;
	assert_int_equal(hb_segment_create(&segment, "hongbao-test", HB_SEGMENT_STATE, 4 << 20), 0);
	assert_true(mapping_has_flag(segment.base, " hg"));
	hb_segment_keep_small_pages(&segment);
	assert_false(mapping_has_flag(segment.base, " hg"));
	assert_true(mapping_has_flag(segment.base, " nh"));
	hb_segment_close(&segment);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_ready_segment_is_seen_by_whoever_attaches),
		cmocka_unit_test(a_segment_that_is_not_ready_is_refused),
		cmocka_unit_test(another_layout_is_refused_with_both_named),
		cmocka_unit_test(another_kind_is_refused),
		cmocka_unit_test(a_descriptor_whose_size_can_change_is_refused),
		cmocka_unit_test(a_state_asks_for_huge_pages_and_one_that_is_thrown_away_does_not),
		cmocka_unit_test(
			a_size_is_sealed_and_a_read_only_segment_cannot_be_mapped_writable),
		cmocka_unit_test(a_counter_is_the_sum_of_its_columns_and_carries_its_label),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
