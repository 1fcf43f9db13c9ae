/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * An owner of all partitions for control's tests: the real attach handshake, rings and engine in a
 * thread of the test, without journal. Replies leave at once.
 */
#ifndef HB_TESTS_CONTROL_ENGINE_OWNER_H
#define HB_TESTS_CONTROL_ENGINE_OWNER_H

#include <stdint.h>

struct engine_owner;
struct world;

/** Start with an empty state. Asserts everything. */
struct engine_owner *engine_owner_start(const char *socket_path);
/** Stop and forget the state. */
void engine_owner_stop(struct engine_owner *owner);

/** Hang up on every client, as a dying dataplane does. State stays. */
void engine_owner_hang_up(struct engine_owner *owner);
/** While silent, frames are taken and decided but their replies are lost. */
void engine_owner_silent(struct engine_owner *owner, bool silent);
/** Answer the next frames "busy", deciding nothing. */
void engine_owner_busy(struct engine_owner *owner, uint32_t frames);
/** Let time pass in the engine, before its next frame. */
void engine_owner_pass_ms(struct engine_owner *owner, uint64_t ms);
/** A user asks for a token: the next TOKEN_TAKE of the target's partition hands it over. */
void engine_owner_ask(
	struct engine_owner *owner, uint64_t user, uint8_t operation, uint64_t target);
/** The engine itself; only before the first client attaches. */
struct world *engine_owner_world(struct engine_owner *owner);
/** Frames taken since start. */
uint64_t engine_owner_frames(struct engine_owner *owner);

#endif
