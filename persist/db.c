/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * The one place that talks to libmariadb.
 *
 * Rows are sent by array binding: measured on the reference machine against multi-row VALUES it
 * took 261,000 flow rows a second instead of 232,000 (512 rows a statement) or 183,000 (64), and
 * it needs one prepared statement per table whatever the number of rows. Memory: a connection owns
 * its statements, a statement its buffers. If the process dies here, the server rolls back.
 */
#include "persist/db.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mysql/errmsg.h>
#include <mysql/mysql.h>
#include <mysql/mysqld_error.h>

#include "base/assert.h"
#include "base/paths.h"

#define BULK_ROWS_MAX	   1024 /* of one round trip */
#define LOCK_WAIT_S	   10
#define IO_TIMEOUT_FACTOR  10
#define PASSWORD_BYTES_MAX 256

/* Numbers of MariaDB that its header lacks under some versions. */
#define ERROR_CONSTRAINT_FAILED 4025

struct hb_db {
	MYSQL *handle;
	struct hb_db_statement *statements;
	bool array_binding; /* the server is MariaDB */
};

struct hb_db_statement {
	struct hb_db_statement *next;
	struct hb_db *db;
	MYSQL_STMT *handle;
	const struct hb_db_column *in;
	const struct hb_db_column *out;
	uint32_t in_count;
	uint32_t out_count;
	MYSQL_BIND *in_bind;
	MYSQL_BIND *out_bind;
	unsigned long *out_length;
	uint8_t *bulk; /* column buffers of BULK_ROWS_MAX rows, made at the first bulk call */
	bool array;    /* the handle is set to array binding */
};

/* Room of one value of a column in the buffers of a bulk statement. */
struct bulk_text {
	char *text[BULK_ROWS_MAX];
	unsigned long length[BULK_ROWS_MAX];
};

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void
library_start(void)
{
	HB_ASSERT(mysql_library_init(0, NULL, NULL) == 0);
}

static int
error_class(unsigned int number)
{
	switch (number) {
	case CR_SERVER_GONE_ERROR:
	case CR_SERVER_LOST:
	case CR_CONNECTION_ERROR:
	case CR_CONN_HOST_ERROR:
	case CR_UNKNOWN_HOST:
	case CR_IPSOCK_ERROR:
	case CR_SOCKET_CREATE_ERROR:
	case CR_SERVER_HANDSHAKE_ERR:
	case CR_SERVER_LOST_EXTENDED:
	case CR_COMMANDS_OUT_OF_SYNC:
	case CR_MALFORMED_PACKET:
	case ER_SERVER_SHUTDOWN:
	case ER_CONNECTION_KILLED:
	case ER_NEW_ABORTING_CONNECTION:
	case ER_CON_COUNT_ERROR:
	case ER_NORMAL_SHUTDOWN:
	case ER_NET_READ_ERROR:
	case ER_NET_READ_INTERRUPTED:
	case ER_NET_ERROR_ON_WRITE:
	case ER_NET_WRITE_INTERRUPTED:
		return -ENOTCONN;
	case ER_LOCK_DEADLOCK:
	case ER_LOCK_WAIT_TIMEOUT:
	case ER_QUERY_INTERRUPTED:
	case ER_DISK_FULL:
	case ER_RECORD_FILE_FULL:
	case ER_OPTION_PREVENTS_STATEMENT:
	case ER_OUT_OF_RESOURCES:
	case ER_OUTOFMEMORY:
		return -EAGAIN;
	case ER_DUP_ENTRY:
	case ER_DUP_KEY:
		return -EEXIST;
	case ER_BAD_NULL_ERROR:
	case ER_WARN_DATA_OUT_OF_RANGE:
	case ER_DATA_TOO_LONG:
	case ER_TRUNCATED_WRONG_VALUE:
	case ER_TRUNCATED_WRONG_VALUE_FOR_FIELD:
	case ER_DATA_OUT_OF_RANGE:
	case ER_NO_REFERENCED_ROW_2:
	case ERROR_CONSTRAINT_FAILED:
		return -EBADMSG;
	case ER_ACCESS_DENIED_ERROR:
	case ER_DBACCESS_DENIED_ERROR:
	case ER_TABLEACCESS_DENIED_ERROR:
	case ER_ACCESS_DENIED_NO_PASSWORD_ERROR:
		return -EPERM;
	default:
		return -EIO;
	}
}

static int
connection_failed(struct hb_db *db, const char *doing, char error[HB_DB_ERROR_BYTES])
{
	snprintf(error, HB_DB_ERROR_BYTES, "%s: %s (%u)", doing, mysql_error(db->handle),
		mysql_errno(db->handle));
	return error_class(mysql_errno(db->handle));
}

static int
statement_failed(struct hb_db_statement *s, const char *doing, char error[HB_DB_ERROR_BYTES])
{
	unsigned int number = mysql_stmt_errno(s->handle);

	snprintf(error, HB_DB_ERROR_BYTES, "%s: %s (%u)", doing, mysql_stmt_error(s->handle),
		number);
	return error_class(number);
}

static int
read_password(const char *path, char password[PASSWORD_BYTES_MAX], char error[HB_DB_ERROR_BYTES])
{
	FILE *file = fopen(path, "re");

	if (file == NULL) {
		int rc = -errno;

		snprintf(error, HB_DB_ERROR_BYTES, "mysql.password_file %.160s: %s", path,
			strerror(errno));
		return rc == -ENOENT || rc == -EACCES ? -EPERM : rc;
	}
	if (fgets(password, PASSWORD_BYTES_MAX, file) == NULL)
		password[0] = 0;
	fclose(file);
	password[strcspn(password, "\r\n")] = 0;
	return 0;
}

static void
socket_path(const struct hb_config *config, char path[HB_PATH_MAX])
{
	if (config->mysql_socket[0] != 0)
		snprintf(path, HB_PATH_MAX, "%s", config->mysql_socket);
	else
		hb_path(path, config->node_directory, HB_PATH_MYSQL_SOCKET);
}

void
hb_db_server_name(const struct hb_config *config, char *name, size_t bytes)
{
	char path[HB_PATH_MAX];

	if (config->mysql_socket[0] == 0 && config->mysql_host[0] != 0) {
		snprintf(name, bytes, "%s:%ld", config->mysql_host, (long)config->mysql_port);
		return;
	}
	socket_path(config, path);
	snprintf(name, bytes, "%s", path);
}

static int
connect_session(struct hb_db *db, const struct hb_config *config, const char *user,
	const char *password, char error[HB_DB_ERROR_BYTES])
{
	bool by_socket = config->mysql_socket[0] != 0 || config->mysql_host[0] == 0;
	char path[HB_PATH_MAX];

	socket_path(config, path);
	if (mysql_real_connect(db->handle, by_socket ? NULL : config->mysql_host, user, password,
		    NULL, by_socket ? 0 : (unsigned int)config->mysql_port, by_socket ? path : NULL,
		    CLIENT_FOUND_ROWS) == NULL) {
		int rc = connection_failed(db, "connect", error);

		return rc == -EPERM ? rc : -ENOTCONN;
	}
	if (hb_db_execute(db,
		    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,"
		    "ERROR_FOR_DIVISION_BY_ZERO', autocommit = 1, "
		    "foreign_key_checks = 1, unique_checks = 1",
		    error) != 0)
		return -ENOTCONN;
	snprintf(path, sizeof(path), "SET SESSION innodb_lock_wait_timeout = %d", LOCK_WAIT_S);
	return hb_db_execute(db, path, error) == 0 ? 0 : -ENOTCONN;
}

int
hb_db_open(struct hb_db **db, const struct hb_config *config, const char *user, uint32_t timeout_s,
	char error[HB_DB_ERROR_BYTES])
{
	char password[PASSWORD_BYTES_MAX] = "";
	unsigned int connect_s = timeout_s;
	unsigned int io_s = timeout_s * IO_TIMEOUT_FACTOR;
	int rc = 0;

	*db = NULL;
	pthread_once(&library_once, library_start);
	if (config->mysql_password_file[0] != 0)
		rc = read_password(config->mysql_password_file, password, error);
	if (rc != 0)
		return rc;
	struct hb_db *opened = calloc(1, sizeof(*opened));
	if (opened == NULL)
		return -ENOMEM;
	opened->handle = mysql_init(NULL);
	if (opened->handle == NULL) {
		free(opened);
		return -ENOMEM;
	}
	mysql_options(opened->handle, MYSQL_SET_CHARSET_NAME, "utf8mb4");
	mysql_options(opened->handle, MYSQL_OPT_CONNECT_TIMEOUT, &connect_s);
	mysql_options(opened->handle, MYSQL_OPT_READ_TIMEOUT, &io_s);
	mysql_options(opened->handle, MYSQL_OPT_WRITE_TIMEOUT, &io_s);
	rc = connect_session(opened, config, user, password, error);
	opened->array_binding = rc == 0 && mariadb_connection(opened->handle);
	explicit_bzero(password, sizeof(password));
	if (rc != 0) {
		hb_db_close(opened);
		return rc;
	}
	*db = opened;
	return 0;
}

static void
statement_free(struct hb_db_statement *s)
{
	if (s->handle != NULL)
		mysql_stmt_close(s->handle);
	free(s->in_bind);
	free(s->out_bind);
	free(s->out_length);
	free(s->bulk);
	free(s);
}

void
hb_db_close(struct hb_db *db)
{
	if (db == NULL)
		return;
	while (db->statements != NULL) {
		struct hb_db_statement *s = db->statements;

		db->statements = s->next;
		statement_free(s);
	}
	mysql_close(db->handle);
	free(db);
}

void
hb_db_row_by_row(struct hb_db *db)
{
	db->array_binding = false;
}

uint64_t
hb_db_connection_id(const struct hb_db *db)
{
	return mysql_thread_id(db->handle);
}

int
hb_db_execute(struct hb_db *db, const char *sql, char error[HB_DB_ERROR_BYTES])
{
	if (mysql_real_query(db->handle, sql, strlen(sql)) != 0) {
		char doing[80];

		snprintf(doing, sizeof(doing), "%.70s", sql);
		return connection_failed(db, doing, error);
	}
	return 0;
}

/* Values of server variables are compared as text; a variable that is unknown is no objection. */
struct wanted_setting {
	const char *name;
	const char *wanted;
	const char *instead; /* the server's other spelling of the same */
};

static int
setting_value(struct hb_db *db, const char *name, char value[64], char error[HB_DB_ERROR_BYTES])
{
	char sql[128];

	snprintf(sql, sizeof(sql), "SHOW GLOBAL VARIABLES LIKE '%s'", name);
	int rc = hb_db_execute(db, sql, error);
	if (rc != 0)
		return rc;
	MYSQL_RES *result = mysql_store_result(db->handle);
	if (result == NULL)
		return connection_failed(db, sql, error);
	MYSQL_ROW row = mysql_fetch_row(result);

	snprintf(value, 64, "%s", row == NULL || row[1] == NULL ? "" : row[1]);
	mysql_free_result(result);
	return 0;
}

static int
check_setting(struct hb_db *db, const struct wanted_setting *setting, char error[HB_DB_ERROR_BYTES])
{
	char value[64];
	int rc = setting_value(db, setting->name, value, error);

	if (rc != 0 || strcasecmp(value, setting->wanted) == 0 ||
		strcasecmp(value, setting->instead) == 0)
		return rc;
	snprintf(error, HB_DB_ERROR_BYTES,
		"the server may lose commits: %s is '%s' but must be '%s'; set it in the server's "
		"configuration and restart the server",
		setting->name, value, setting->wanted);
	return -EPERM;
}

int
hb_db_check_durability(struct hb_db *db, char error[HB_DB_ERROR_BYTES])
{
	static const struct wanted_setting always[] = {
		{"innodb_flush_log_at_trx_commit", "1", "1"},
		{"innodb_doublewrite", "ON", "DETECT_AND_RECOVER"},
	};
	static const struct wanted_setting with_log = {"sync_binlog", "1", "1"};
	char log_bin[64];

	for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++) {
		int rc = check_setting(db, &always[i], error);

		if (rc != 0)
			return rc;
	}
	int rc = setting_value(db, "log_bin", log_bin, error);
	if (rc != 0 || strcasecmp(log_bin, "ON") != 0)
		return rc;
	return check_setting(db, &with_log, error);
}

static enum enum_field_types
field_type(enum hb_db_type type)
{
	switch (type) {
	case HB_DB_U64:
	case HB_DB_I64:
		return MYSQL_TYPE_LONGLONG;
	case HB_DB_U32:
		return MYSQL_TYPE_LONG;
	case HB_DB_U16:
		return MYSQL_TYPE_SHORT;
	case HB_DB_U8:
		return MYSQL_TYPE_TINY;
	case HB_DB_TEXT:
		return MYSQL_TYPE_STRING;
	case HB_DB_BYTES:
		return MYSQL_TYPE_BLOB;
	}
	HB_ASSERT(!"column type");
}

static bool
is_text(const struct hb_db_column *column)
{
	return column->type == HB_DB_TEXT || column->type == HB_DB_BYTES;
}

static unsigned long
text_length(const struct hb_db_column *column, const uint8_t *value)
{
	return column->type == HB_DB_TEXT ? strnlen((const char *)value, column->bytes)
					  : column->bytes;
}

static void
bind_head(MYSQL_BIND *bind, const struct hb_db_column *column)
{
	memset(bind, 0, sizeof(*bind));
	bind->buffer_type = field_type(column->type);
	bind->is_unsigned = column->type != HB_DB_I64;
	bind->buffer_length = column->bytes;
}

int
hb_db_prepare(struct hb_db *db, const char *sql, const struct hb_db_column *in, uint32_t in_count,
	const struct hb_db_column *out, uint32_t out_count, struct hb_db_statement **statement,
	char error[HB_DB_ERROR_BYTES])
{
	struct hb_db_statement *s = calloc(1, sizeof(*s));
	int rc = 0;

	*statement = NULL;
	if (s == NULL)
		return -ENOMEM;
	s->db = db;
	s->in = in;
	s->in_count = in_count;
	s->out = out;
	s->out_count = out_count;
	s->in_bind = calloc(in_count + 1, sizeof(MYSQL_BIND));
	s->out_bind = calloc(out_count + 1, sizeof(MYSQL_BIND));
	s->out_length = calloc(in_count + out_count + 1, sizeof(unsigned long));
	s->handle = mysql_stmt_init(db->handle);
	if (s->in_bind == NULL || s->out_bind == NULL || s->out_length == NULL ||
		s->handle == NULL) {
		rc = -ENOMEM;
		goto out;
	}
	if (mysql_stmt_prepare(s->handle, sql, strlen(sql)) != 0) {
		rc = statement_failed(s, sql, error);
		goto out;
	}
	HB_ASSERT(mysql_stmt_param_count(s->handle) == in_count);
	HB_ASSERT(mysql_stmt_field_count(s->handle) == out_count);
	s->next = db->statements;
	db->statements = s;
	*statement = s;
	return 0;
out:
	statement_free(s);
	return rc;
}

void
hb_db_release(struct hb_db_statement *statement)
{
	if (statement == NULL)
		return;
	for (struct hb_db_statement **at = &statement->db->statements; *at != NULL;
		at = &(*at)->next) {
		if (*at != statement)
			continue;
		*at = statement->next;
		statement_free(statement);
		return;
	}
	HB_ASSERT(!"statement of this connection");
}

static size_t
bulk_column_bytes(const struct hb_db_column *column)
{
	return is_text(column) ? sizeof(struct bulk_text) : (size_t)column->bytes * BULK_ROWS_MAX;
}

static int
bulk_prepare(struct hb_db_statement *s)
{
	size_t bytes = 0;

	if (s->bulk != NULL)
		return 0;
	for (uint32_t i = 0; i < s->in_count; i++)
		bytes += (bulk_column_bytes(&s->in[i]) + 7) & ~(size_t)7;
	s->bulk = malloc(bytes + 1);
	return s->bulk == NULL ? -ENOMEM : 0;
}

/* Turn rows into columns; texts are pointed at where they lie. */
static void
bulk_fill(struct hb_db_statement *s, const uint8_t *rows, size_t row_bytes, uint32_t count)
{
	uint8_t *room = s->bulk;

	for (uint32_t i = 0; i < s->in_count; i++) {
		const struct hb_db_column *column = &s->in[i];
		MYSQL_BIND *bind = &s->in_bind[i];

		bind_head(bind, column);
		bind->buffer = room;
		if (is_text(column)) {
			struct bulk_text *text = (struct bulk_text *)(void *)room;

			for (uint32_t r = 0; r < count; r++) {
				const uint8_t *value = rows + r * row_bytes + column->offset;

				text->text[r] = (char *)(uintptr_t)value;
				text->length[r] = text_length(column, value);
			}
			bind->length = text->length;
		} else {
			for (uint32_t r = 0; r < count; r++)
				memcpy(room + (size_t)r * column->bytes,
					rows + r * row_bytes + column->offset, column->bytes);
		}
		room += (bulk_column_bytes(column) + 7) & ~(size_t)7;
	}
}

static int
query_bind(struct hb_db_statement *s, const uint8_t *parameters, uint8_t *row)
{
	unsigned int array_size = 0;

	if (s->array && mysql_stmt_attr_set(s->handle, STMT_ATTR_ARRAY_SIZE, &array_size) != 0)
		return -EIO;
	s->array = false;
	for (uint32_t i = 0; i < s->in_count; i++) {
		const uint8_t *value = parameters + s->in[i].offset;

		bind_head(&s->in_bind[i], &s->in[i]);
		s->in_bind[i].buffer = (void *)(uintptr_t)value;
		if (is_text(&s->in[i])) {
			s->out_length[s->out_count + i] = text_length(&s->in[i], value);
			s->in_bind[i].length = &s->out_length[s->out_count + i];
		}
	}
	for (uint32_t i = 0; i < s->out_count; i++) {
		bind_head(&s->out_bind[i], &s->out[i]);
		s->out_bind[i].buffer = row + s->out[i].offset;
		s->out_bind[i].length = &s->out_length[i];
	}
	if (s->in_count > 0 && mysql_stmt_bind_param(s->handle, s->in_bind) != 0)
		return -EIO;
	return 0;
}

static int
run_row_by_row(struct hb_db_statement *s, const uint8_t *rows, size_t row_bytes, uint32_t row_count,
	uint64_t *matched, char error[HB_DB_ERROR_BYTES])
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < row_count; i++) {
		if (query_bind(s, rows + i * row_bytes, NULL) != 0 ||
			mysql_stmt_execute(s->handle) != 0)
			return statement_failed(s, "row", error);
		total += mysql_stmt_affected_rows(s->handle);
	}
	if (matched != NULL)
		*matched = total;
	return 0;
}

int
hb_db_bulk(struct hb_db_statement *s, const void *rows, size_t row_bytes, uint32_t row_count,
	uint64_t *matched, char error[HB_DB_ERROR_BYTES])
{
	uint64_t total = 0;

	if (!s->db->array_binding)
		return run_row_by_row(s, rows, row_bytes, row_count, matched, error);
	if (bulk_prepare(s) != 0) {
		snprintf(error, HB_DB_ERROR_BYTES, "out of memory");
		return -ENOMEM;
	}
	for (uint32_t done = 0; done < row_count;) {
		unsigned int count = row_count - done;

		if (count > BULK_ROWS_MAX)
			count = BULK_ROWS_MAX;
		bulk_fill(s, (const uint8_t *)rows + done * row_bytes, row_bytes, count);
		s->array = true;
		if (mysql_stmt_attr_set(s->handle, STMT_ATTR_ARRAY_SIZE, &count) != 0 ||
			mysql_stmt_bind_param(s->handle, s->in_bind) != 0 ||
			mysql_stmt_execute(s->handle) != 0)
			return statement_failed(s, "rows", error);
		total += mysql_stmt_affected_rows(s->handle);
		done += count;
	}
	if (matched != NULL)
		*matched = total;
	return 0;
}

/* What is shorter than its place ends in zeros, so that equal rows are equal structures. */
static void
pad_texts(struct hb_db_statement *s, uint8_t *row)
{
	for (uint32_t i = 0; i < s->out_count; i++) {
		const struct hb_db_column *column = &s->out[i];

		if (is_text(column) && s->out_length[i] < column->bytes)
			memset(row + column->offset + s->out_length[i], 0,
				column->bytes - s->out_length[i]);
	}
}

int
hb_db_query(struct hb_db_statement *s, const void *parameters, void *row, hb_db_row_fn *callback,
	void *context, char error[HB_DB_ERROR_BYTES])
{
	int rc = 0;

	if (query_bind(s, parameters, row) != 0 || mysql_stmt_execute(s->handle) != 0 ||
		mysql_stmt_bind_result(s->handle, s->out_bind) != 0) {
		rc = statement_failed(s, "query", error);
		mysql_stmt_free_result(s->handle);
		return rc;
	}
	while (rc == 0) {
		int fetched = mysql_stmt_fetch(s->handle);

		if (fetched == MYSQL_NO_DATA)
			break;
		if (fetched != 0) {
			rc = fetched == MYSQL_DATA_TRUNCATED ? -EBADMSG
							     : statement_failed(s, "fetch", error);
			if (fetched == MYSQL_DATA_TRUNCATED)
				snprintf(error, HB_DB_ERROR_BYTES,
					"a value does not fit its column");
			break;
		}
		pad_texts(s, row);
		rc = callback(context, row);
	}
	mysql_stmt_free_result(s->handle);
	return rc;
}
