/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The process hongbao-persist: what its main thread, link and admin socket share.
 *
 * The main thread owns the journal's position while no dataplane is attached, and the session.
 * The writer thread has the position while one is. Admin threads only read atomics and call the
 * appliers' interface.
 */
#ifndef HB_PERSIST_PERSIST_H
#define HB_PERSIST_PERSIST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/config.h"
#include "base/paths.h"
#include "persist/announcer.h"
#include "persist/applier.h"
#include "persist/journal.h"
#include "persist/session.h"

struct hb_persist {
	struct hb_config config;  /* what is live in it changes, by the main thread alone */
	_Atomic uint32_t reloads; /* that were complete */
	_Atomic uint32_t reload_failures;
	char journal_directory[HB_PATH_MAX];
	struct hb_journal journal;
	struct hb_applier_source applier_source;
	struct hb_applier *applier; /* NULL: could not be started */

	struct hb_announcer *announcer; /* NULL: could not be started */
	int notices_fd;			/* listens for readers of notices: main thread */

	/* link: main thread */
	int listen_fd;
	int link_fd; /* of the attached dataplane, -1: none */
	pid_t link_pid;
	struct hb_session session;
	struct hb_runner writer; /* real-time, where the host allows it */
	bool attached;
	bool busy_told; /* a second dataplane's refusal was logged */
	int failed_fd;	/* the writer rings it when a session failed */

	/* for the admin socket */
	_Atomic bool dataplane_attached;
	_Atomic bool recovering;       /* a state is being made from snapshot and journal */
	_Atomic bool snapshot_running; /* the job that makes one */
	_Atomic uint64_t epoch;
	_Atomic uint64_t state_epoch;
	_Atomic uint64_t last_snapshot_seq;
	_Atomic uint64_t snapshots_made;
	_Atomic uint64_t snapshots_failed;
	_Atomic uint64_t recoveries;
	_Atomic uint64_t recovery_ms;
	_Atomic uint64_t recovery_records;
	uint64_t started_ns; /* wall */
};

/* ---- link.c: main thread only ---- */

/** Listen for the dataplane. @return 0 or -errno, logged */
int hb_link_listen(struct hb_persist *persist);
/** A connection waits on listen_fd: greet it, or refuse it. */
void hb_link_accept(struct hb_persist *persist);
/** The attached dataplane hung up or broke the rules: drain, free. */
void hb_link_hang_up(struct hb_persist *persist);
/** Stop: end the writer after its write; rings stay with a living dataplane. */
void hb_link_close(struct hb_persist *persist);

/** Listen for readers of notices. @return 0 or -errno, logged */
int hb_notices_listen(struct hb_persist *persist);
/** A connection waits on notices_fd: give it the ring, or say why not. */
void hb_notices_accept(struct hb_persist *persist);

/* ---- admin.c ---- */

/** What status tells of each server's applier. */
struct json_t *hb_admin_appliers(struct hb_persist *persist);
/** Answer a command about MySQL servers; NULL when it is none of those (admin_mysql.c). */
struct json_t *hb_admin_mysql(
	struct hb_persist *persist, const char *name, const struct json_t *command);

/** Serve the admin socket with threads of its own. @return 0 or -errno, logged */
int hb_admin_start(struct hb_persist *persist);

/** Bind and listen on a Unix socket under the node directory, mode 0660. @return fd or -errno */
int hb_listen_unix(const struct hb_config *config, const char *relative, int type);
/** The peer's uid is root, ours, or that of the named user. */
bool hb_peer_allowed(int fd, const char *user_a, const char *user_b, pid_t *pid);

#endif
