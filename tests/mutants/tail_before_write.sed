# SPDX-License-Identifier: Apache-2.0
# The commit watermark moves before the write.
# source: persist/session.c
# caught by: simulator
/if (hb_frame_write(session->journal, &session->abandon) != 0)/i\
		publish(session, &gathered);
/^\t\tpublish(session, &gathered);$/d
