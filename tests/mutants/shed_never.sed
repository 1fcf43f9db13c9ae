# SPDX-License-Identifier: Apache-2.0
# A nearly full journal volume refuses nothing.
# source: shm/decide_internal.h
# caught by: unit:engine packets
s/if (input->storage_level >= level_refused)/if (input->storage_level > 3)/
