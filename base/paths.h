/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * Where things lie under node.directory. One place, so launcher, processes and tools agree.
 *
 *   bin/        installed programs and the nginx module      root
 *   etc/        hongbao.conf, nginx.conf                      root
 *   key/        secrets, each 0400 of the one user that needs it
 *   socket/     one folder per process, owned by its user: attach, link, admin, http sockets
 *   cases/      commands of operators, with their reasons     hongbao-control, 0700
 *   journal/    segments, superblock, snapshots               hongbao-persist, 0700
 *   mysql/      data directory of the private server          hongbao-mysql, 0700
 *   mysql-tmp/  its temporary files                           hongbao-mysql, 0700
 *   log/        one file per process
 *   nginx/      pid file and temporary files of nginx
 */
#ifndef HB_BASE_PATHS_H
#define HB_BASE_PATHS_H

#define HB_PATH_DATAPLANE_SOCKET     "socket/dataplane/attach.sock"
#define HB_PATH_PERSIST_SOCKET	     "socket/persist/link.sock"
#define HB_PATH_PERSIST_ADMIN_SOCKET "socket/persist/admin.sock"
#define HB_PATH_NOTICES_SOCKET	     "socket/persist/notices.sock"
#define HB_PATH_TOKENS_SOCKET	     "socket/control/tokens.sock"
#define HB_PATH_CONTROL_SOCKET	     "socket/control/admin.sock"
#define HB_PATH_CONTROL_HTTP_SOCKET  "socket/control/http.sock"
#define HB_PATH_MYSQL_SOCKET	     "socket/mysql/mysql.sock"
#define HB_PATH_JOURNAL		     "journal"
#define HB_PATH_CASES		     "cases/cases.jsonl"
#define HB_PATH_SNAPSHOTS	     "journal/snapshot"
#define HB_PATH_KEY_TOKEN	     "key/money-token.key" /* 16 bytes as hex; dataplane */
#define HB_PATH_KEY_FRAME	     "key/frame.keys"	   /* dataplane/front_keys.h; dataplane */
#define HB_PATH_KEY_BUSINESS	     "key/business.keys"   /* lines: key-id hex-secret; control */
#define HB_PATH_KEY_ALARM	     "key/alarm.keys"	   /* the same; control signs alarms */
#define HB_PATH_KEY_JWT		     "key/jwt.keys" /* lines: key-id HS256|EdDSA hex; front */

#define HB_PATH_MAX 512

/** Join node directory and one of the paths above. Asserts that it fits. */
void hb_path(char out[HB_PATH_MAX], const char *node_directory, const char *relative);

#endif
