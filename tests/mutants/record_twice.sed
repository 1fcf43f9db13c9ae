# SPDX-License-Identifier: Apache-2.0
# A successor writes records again that are on disk.
# source: persist/writer.c
# caught by: simulator
s/^\treturn 2;$/\treturn 1;/
