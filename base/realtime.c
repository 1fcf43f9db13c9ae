/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Real-time threads: base/realtime.h. Owns nothing.
 */
#include "base/realtime.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"

void
hb_realtime_leave(void)
{
	const struct sched_param ordinary = {.sched_priority = 0};

	if (sched_getscheduler(0) == SCHED_OTHER)
		return;
	/* nobody may be kept from going back; nice stays what it was */
	HB_ASSERT(sched_setscheduler(0, SCHED_OTHER, &ordinary) == 0);
}

bool
hb_realtime_stay(const char *thread, bool wanted)
{
	struct sched_param now = {.sched_priority = 0};

	if (!wanted)
		hb_realtime_leave();
	(void)sched_getparam(0, &now);
	hb_log(HB_LOG_INFO, "thread_started", "thread=%s realtime_priority=%d", thread,
		now.sched_priority);
	return now.sched_priority != 0;
}
