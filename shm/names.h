/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * What people and JSON call the numbers of records and states, the same through every door.
 * Constant text; "unknown" for other numbers.
 */
#ifndef HB_SHM_NAMES_H
#define HB_SHM_NAMES_H

#include <stdint.h>

const char *hb_business_name(uint32_t business);
const char *hb_order_state_name(uint32_t state);
const char *hb_packet_state_name(uint32_t state);
const char *hb_packet_kind_name(uint32_t kind);
const char *hb_split_algorithm_name(uint32_t algorithm);

#endif
