/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Journal records for people and scripts: the fields of every type, from one table.
 */
#ifndef HBCTL_RECORD_FIELDS_H
#define HBCTL_RECORD_FIELDS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "shm/record.h"

/**
 * A verified record as an object: seq, ring, core_sequence, time_ms, type, then its fields. Fields
 * that are zero are left out, order numbers are added where the record tells whose they are.
 * @param node of the journal, for order numbers
 */
json_t *hbctl_record_json(const struct hb_record *record, uint64_t seq, uint32_t node);
/** The same object on one line. */
void hbctl_record_print(const json_t *object, FILE *out);

bool hbctl_record_has_packet(const struct hb_record *record, uint64_t packet);
bool hbctl_record_has_account(const struct hb_record *record, uint64_t account);
/** True when it makes, changes or forgets the order of this allocator (ring) and stamp. */
bool hbctl_record_has_order(const struct hb_record *record, uint32_t allocator, uint64_t stamp);
/** Number of a type's name ("GRAB", any case); 0 when there is none. */
uint8_t hbctl_record_type_number(const char *name);

#endif
