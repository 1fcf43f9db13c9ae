# SPDX-License-Identifier: Apache-2.0
# What MySQL does not have yet is forgotten.
# source: shm/evict.c
# caught by: unit:engine evict
s/ \&\& final_sequence <= input->applied_sequence;/;/
