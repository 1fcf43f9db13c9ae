# SPDX-License-Identifier: Apache-2.0
# A failed journal write is tried again instead of ending the process.
# source: persist/writer.c
# caught by: simulator
s/if (n != (ssize_t)frame_length)/for (int i = 0; i < 3 \&\& n != (ssize_t)frame_length; i++)\n\t\tn = pwritev2(journal->segment_fd, \&part, 1, (off_t)journal->segment_offset, 0);\n\tif (n != (ssize_t)frame_length)/
