/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Event streams: GET /v1/events stays open, and the worker writes to it what
 * was committed and concerns its user (docs/events.md).  Whom a notice
 * concerns and what he is told is in events.c; here are streams, their
 * queues and their ends.
 *
 * Each worker maps the ring of notices that persist writes, read only, and
 * looks at it every few milliseconds while it has streams; without streams
 * there is no timer.  It keeps one place in the ring for all.  A stream that
 * comes back with the id it saw last walks through the ring by itself, a bit
 * per turn, until it has caught up with the others.
 *
 * What a client has not taken yet waits in its stream's queue.  The queue is
 * bounded: a client that does not read is told "resync" and let go.
 *
 * If persist dies, its socket hangs up; the old ring stays mapped until the
 * successor's is there, and ids tell where to go on.  If a worker dies, its
 * clients connect again with their last id.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "base/unix_socket.h"
#include "front/events.h"
#include "front/ngx_hb_events.h"
#include "front/ngx_hb_ring.h"
#include "front/ngx_hb_tokens.h"
#include "front/ngx_http_hb_module.h"
#include "shm/node.h"
#include "shm/notices.h"


#define NGX_HB_EVENTS_TURN          10      /* ms */
#define NGX_HB_EVENTS_REATTACH      100     /* ms */
#define NGX_HB_EVENTS_BEAT_TURN     250     /* ms */
#define NGX_HB_EVENTS_NOTICES_MAX   32      /* told before queues are emptied */
#define NGX_HB_EVENTS_BATCHES_MAX   128     /* of those in one turn */
#define NGX_HB_EVENTS_CATCH_UP_MAX  16384   /* of one turn, of who came back */
#define NGX_HB_EVENTS_RESYNC        10000   /* ms between two of one stream
                                               for unknown packets */
#define NGX_HB_EVENTS_RETRY_MIN     200     /* ms, told at a reload */
#define NGX_HB_EVENTS_RETRY_SPREAD  1800
#define NGX_HB_EVENTS_RETRY         2000    /* ms, told at the begin */
#define NGX_HB_EVENTS_TEXT_MAX      256     /* of what is no notice */

#define NGX_HB_EVENTS_HEARTBEAT     15000   /* ms */
#define NGX_HB_EVENTS_QUEUE         32768   /* bytes */
#define NGX_HB_EVENTS_QUEUE_MIN     (NGX_HB_EVENTS_NOTICES_MAX                \
                                     * HB_EVENT_TEXT_BYTES_MAX)
#define NGX_HB_EVENTS_QUEUE_FIRST   1024    /* grows from there */
#define NGX_HB_EVENTS_SEND_BUFFER   65536   /* of the kernel, for one client */
#define NGX_HB_EVENTS_STREAMS       6000    /* of one worker */


typedef struct {
    ngx_str_t                   socket;
    ngx_str_t                   tokens;     /* "": they go elsewhere */
    ngx_msec_t                  heartbeat;
    size_t                      queue;
    ngx_uint_t                  streams;
    ngx_uint_t                  used;
} ngx_hb_events_main_conf_t;


typedef struct {
    ngx_queue_t                 queue;
    ngx_queue_t                 ready;
    ngx_http_request_t         *request;

    uint64_t                    after;      /* told everything up to this key */
    uint64_t                    cursor;     /* while it catches up */
    time_t                      expires;
    ngx_msec_t                  beat;
    ngx_msec_t                  resynced;

    u_char                     *data;       /* not handed to nginx yet */
    size_t                      length;
    size_t                      size;

    u_char                     *flight;     /* handed to nginx, perhaps not
                                               sent: buf */
    ngx_buf_t                   buf;

    unsigned                    catching:1;
    unsigned                    queued:1;   /* in the worker's ready */
    unsigned                    slow:1;     /* its queue was full */

    struct hb_listener          listener;   /* the last: it has links */
} ngx_hb_events_stream_t;


typedef struct {
    ngx_hb_events_main_conf_t  *conf;
    ngx_log_t                  *log;

    struct hb_notices           ring;       /* segment.base NULL: none yet */
    ngx_connection_t           *link;       /* to persist, NULL: none */
    unsigned                    attached:1; /* the link brought the ring */
    unsigned                    complained:1;

    uint64_t                    key;        /* told everything up to this */
    uint64_t                    cursor;

    struct hb_event_index      *index;
    ngx_queue_t                 streams;
    ngx_queue_t                 ready;      /* something is to be done */
    ngx_uint_t                  count;
    ngx_uint_t                  catching;

    ngx_event_t                 turn;
    ngx_event_t                 reattach;
    ngx_connection_t            dumb;
    ngx_msec_t                  beat_turn;

    /* of the notice being told */
    const struct hb_notice     *notice;
    uint32_t                    text_length;
    char                        text[HB_EVENT_TEXT_BYTES_MAX];
} ngx_hb_events_worker_t;


static ngx_int_t ngx_hb_events_handler(ngx_http_request_t *r);
static ngx_int_t ngx_hb_events_open(ngx_http_request_t *r,
    const struct hb_identity *identity);
static ngx_int_t ngx_hb_events_send_header(ngx_http_request_t *r);
static void ngx_hb_events_place(ngx_hb_events_stream_t *stream);
static ngx_uint_t ngx_hb_events_last_id(ngx_http_request_t *r, ngx_str_t *id);
static void ngx_hb_events_cleanup(void *data);
static void ngx_hb_events_leave(ngx_hb_events_stream_t *stream);

static void ngx_hb_events_append(ngx_hb_events_stream_t *stream,
    const char *text, size_t length);
static void ngx_hb_events_ready(ngx_hb_events_stream_t *stream);
static void ngx_hb_events_flush(void);
static void ngx_hb_events_print(ngx_hb_events_stream_t *stream,
    const char *format, ...);
static void ngx_hb_events_resync(ngx_hb_events_stream_t *stream,
    const char *reason);
static void ngx_hb_events_resync_all(const char *reason);
static void ngx_hb_events_hand_over(ngx_hb_events_stream_t *stream);
static void ngx_hb_events_output(ngx_hb_events_stream_t *stream,
    ngx_chain_t *in);
static void ngx_hb_events_write_handler(ngx_http_request_t *r);
static void ngx_hb_events_finish(ngx_hb_events_stream_t *stream,
    const char *reason);

static void ngx_hb_events_turn_handler(ngx_event_t *ev);
static ngx_uint_t ngx_hb_events_follow(void);
static void ngx_hb_events_catch_up(void);
static void ngx_hb_events_tell(void *context, struct hb_listener *listener);
static void ngx_hb_events_tell_one(ngx_hb_events_stream_t *stream,
    const struct hb_notice *notice);
static void ngx_hb_events_append_text(void *context,
    struct hb_listener *listener);
static void ngx_hb_events_unknown(const struct hb_notice *notice);
static void ngx_hb_events_beat(void);
static void ngx_hb_events_end_all(const char *reason);
static void ngx_hb_events_seek(void);

static void ngx_hb_events_attach(void);
static void ngx_hb_events_link_handler(ngx_event_t *ev);
static void ngx_hb_events_received(struct hb_notices *ring);
static void ngx_hb_events_place_again(void);
static void ngx_hb_events_unlink(const char *why);
static void ngx_hb_events_reattach_handler(ngx_event_t *ev);

static void *ngx_hb_events_create_main_conf(ngx_conf_t *cf);
static char *ngx_hb_events_init_main_conf(ngx_conf_t *cf, void *conf);
static char *ngx_hb_events(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static ngx_int_t ngx_hb_events_init_process(ngx_cycle_t *cycle);
static void ngx_hb_events_exit_process(ngx_cycle_t *cycle);


static ngx_command_t  ngx_hb_events_commands[] = {

    { ngx_string("hb_notices"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_hb_events_main_conf_t, socket),
      NULL },

    { ngx_string("hb_events_tokens"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_hb_events_main_conf_t, tokens),
      NULL },

    { ngx_string("hb_events_heartbeat"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_hb_events_main_conf_t, heartbeat),
      NULL },

    { ngx_string("hb_events_queue"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_hb_events_main_conf_t, queue),
      NULL },

    { ngx_string("hb_events_streams"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_hb_events_main_conf_t, streams),
      NULL },

    { ngx_string("hb_events"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_hb_events,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_hb_events_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_hb_events_create_main_conf,        /* create main configuration */
    ngx_hb_events_init_main_conf,          /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_hb_events_module = {
    NGX_MODULE_V1,
    &ngx_hb_events_module_ctx,             /* module context */
    ngx_hb_events_commands,                /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_hb_events_init_process,            /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_hb_events_exit_process,            /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* one per worker, made in init_process; NULL in other processes */

static ngx_hb_events_worker_t  *ngx_hb_events_worker;


/* a stream begins */

static ngx_int_t
ngx_hb_events_handler(ngx_http_request_t *r)
{
    ngx_int_t                  rc;
    const char                *why;
    ngx_hb_events_worker_t    *worker;
    const struct hb_identity  *identity;

    worker = ngx_hb_events_worker;

    if (worker == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    if (r->discard_body) {
        return ngx_http_hb_refuse(r, NGX_HTTP_BAD_REQUEST, "bad_request",
                                  "this request has no body");
    }

    if (r->method != NGX_HTTP_GET) {
        return ngx_http_hb_refuse(r, NGX_HTTP_NOT_ALLOWED, "method_not_allowed",
                                  "use GET");
    }

    identity = ngx_http_hb_identity(r, &why);

    if (identity == NULL) {
        return ngx_http_hb_unauthorized(r, why);
    }

    if (!worker->attached || ngx_exiting) {
        return ngx_http_hb_refuse(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                  "unavailable",
                                  "the notices are not there; ask again");
    }

    if (ngx_hb_degrade_level() >= HB_DEGRADE_NO_PUSH) {
        return ngx_http_hb_refuse(r, NGX_HTTP_SERVICE_UNAVAILABLE, "degraded",
                                  "event streams are switched off for a while; "
                                  "ask again");
    }

    if (worker->count >= worker->conf->streams) {
        return ngx_http_hb_refuse(r, NGX_HTTP_SERVICE_UNAVAILABLE, "busy",
                                  "this worker has as many event streams as it "
                                  "may; ask again");
    }

    return ngx_hb_events_open(r, identity);
}


static ngx_int_t
ngx_hb_events_open(ngx_http_request_t *r, const struct hb_identity *identity)
{
    int                      send_buffer;
    size_t                   size;
    ngx_int_t                rc;
    ngx_http_cleanup_t      *cln;
    ngx_hb_events_stream_t  *stream;
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;
    send_buffer = NGX_HB_EVENTS_SEND_BUFFER;

    size = offsetof(ngx_hb_events_stream_t, listener)
           + hb_listener_bytes(identity->group_count);

    size = ngx_max(size, sizeof(ngx_hb_events_stream_t));

    cln = ngx_http_cleanup_add(r, size);
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    stream = cln->data;
    ngx_memzero(stream, size);
    hb_listener_init(&stream->listener, identity);

    stream->request = r;
    stream->expires = (time_t) identity->expires_s;
    stream->resynced = ngx_current_msec - NGX_HB_EVENTS_RESYNC;

    /* spread, so that the streams of a reload do not all beat at once */

    stream->beat = ngx_current_msec + worker->conf->heartbeat / 2
                   + (ngx_msec_t) ngx_random()
                     % (worker->conf->heartbeat / 2 + 1);

    rc = ngx_hb_events_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    /* what a client does not read must not pile up in the kernel either */

    if (setsockopt(r->connection->fd, SOL_SOCKET, SO_SNDBUF,
                   (const void *) &send_buffer, sizeof(int))
        == -1)
    {
        ngx_connection_error(r->connection, ngx_socket_errno,
                             "setsockopt(SO_SNDBUF) failed");
    }

    ngx_http_set_ctx(r, stream, ngx_http_hb_events_module);

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_hb_events_write_handler;
    r->main->count++;

    if (worker->count++ == 0) {
        ngx_hb_events_seek();
        ngx_add_timer(&worker->turn, NGX_HB_EVENTS_TURN);
    }

    ngx_queue_insert_tail(&worker->streams, &stream->queue);
    hb_event_index_add(worker->index, &stream->listener);
    cln->handler = ngx_hb_events_cleanup;

    ngx_hb_events_print(stream, "retry: %d\n\n", NGX_HB_EVENTS_RETRY);
    ngx_hb_events_place(stream);
    ngx_hb_events_hand_over(stream);

    return NGX_DONE;
}


static ngx_int_t
ngx_hb_events_send_header(ngx_http_request_t *r)
{
    ngx_table_elt_t  *h;

    r->headers_out.status = NGX_HTTP_OK;
    r->keepalive = 0;
    ngx_str_set(&r->headers_out.content_type, "text/event-stream");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;
    ngx_http_clear_content_length(r);
    ngx_http_clear_accept_ranges(r);

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    ngx_str_set(&h->key, "Cache-Control");
    ngx_str_set(&h->value, "no-store");

    return ngx_http_send_header(r);
}


/* where it goes on: behind its last id when that can be, else from now on */

static void
ngx_hb_events_place(ngx_hb_events_stream_t *stream)
{
    uint64_t                 key;
    ngx_str_t                id;
    char                     text[HB_EVENT_ID_BYTES_MAX];
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;
    stream->after = worker->key;

    if (ngx_hb_events_last_id(stream->request, &id)) {

        if (!hb_event_id_parse((char *) id.data, id.len, &key)
            || (key > worker->key
                && key >> 1 > hb_notices_through_seq(&worker->ring)))
        {
            ngx_hb_events_resync(stream, "unknown_id");

        } else if (key >= worker->key) {

            /* another worker was a bit ahead of this one */

            stream->after = key;

        } else if (hb_notices_find(&worker->ring, key, &stream->cursor) == 0) {
            stream->after = key;
            stream->catching = 1;
            worker->catching++;

        } else {
            ngx_hb_events_resync(stream, "too_old");
        }
    }

    hb_event_id_format(text, stream->after);
    ngx_hb_events_print(stream, "id: %s\n\n", text);
}


/* the header Last-Event-ID, or the argument last_event_id */

static ngx_uint_t
ngx_hb_events_last_id(ngx_http_request_t *r, ngx_str_t *id)
{
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    static ngx_str_t  name = ngx_string("last-event-id");

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len == name.len
            && ngx_strncasecmp(h[i].key.data, name.data, name.len) == 0)
        {
            *id = h[i].value;
            return id->len != 0;
        }
    }

    return ngx_http_arg(r, (u_char *) "last_event_id",
                        sizeof("last_event_id") - 1, id)
           == NGX_OK;
}


static void
ngx_hb_events_cleanup(void *data)
{
    ngx_hb_events_stream_t  *stream = data;

    if (stream->request != NULL) {
        ngx_hb_events_leave(stream);
    }

    ngx_free(stream->data);
    ngx_free(stream->flight);
    stream->data = NULL;
    stream->flight = NULL;
}


/* it is nobody's any more; what it handed to nginx stays */

static void
ngx_hb_events_leave(ngx_hb_events_stream_t *stream)
{
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;

    stream->request = NULL;
    worker->count--;
    worker->catching -= stream->catching;

    if (stream->queued) {
        ngx_queue_remove(&stream->ready);
        stream->queued = 0;
    }

    ngx_queue_remove(&stream->queue);
    hb_event_index_remove(&stream->listener);
}


/* queues */

static void
ngx_hb_events_append(ngx_hb_events_stream_t *stream, const char *text,
    size_t length)
{
    u_char  *data;
    size_t   size, max;

    if (stream->slow) {
        return;
    }

    ngx_hb_events_ready(stream);

    max = ngx_hb_events_worker->conf->queue;

    if (stream->length + length > stream->size) {

        size = ngx_max(stream->size, NGX_HB_EVENTS_QUEUE_FIRST / 2);

        do {
            size *= 2;
        } while (size < stream->length + length);

        size = ngx_min(size, max);
        data = NULL;

        if (stream->length + length <= size) {
            data = ngx_alloc(size, ngx_hb_events_worker->log);
        }

        if (data == NULL) {
            stream->slow = 1;
            stream->length = 0;
            return;
        }

        ngx_memcpy(data, stream->data, stream->length);
        ngx_free(stream->data);
        stream->data = data;
        stream->size = size;
    }

    ngx_memcpy(stream->data + stream->length, text, length);
    stream->length += length;
}


static void
ngx_hb_events_ready(ngx_hb_events_stream_t *stream)
{
    if (!stream->queued) {
        ngx_queue_insert_tail(&ngx_hb_events_worker->ready, &stream->ready);
        stream->queued = 1;
    }
}


static void
ngx_hb_events_flush(void)
{
    ngx_queue_t             *q;
    ngx_connection_t        *c;
    ngx_hb_events_stream_t  *stream;
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;

    while (!ngx_queue_empty(&worker->ready)) {

        q = ngx_queue_head(&worker->ready);
        stream = ngx_queue_data(q, ngx_hb_events_stream_t, ready);

        ngx_queue_remove(q);
        stream->queued = 0;

        if (stream->slow) {
            ngx_log_error(NGX_LOG_NOTICE, worker->log, 0,
                          "an event stream's client is too slow");
            ngx_hb_events_finish(stream, "slow");
            continue;
        }

        c = stream->request->connection;
        ngx_hb_events_hand_over(stream);
        ngx_http_run_posted_requests(c);
    }
}


static void
ngx_hb_events_print(ngx_hb_events_stream_t *stream, const char *format, ...)
{
    u_char   text[NGX_HB_EVENTS_TEXT_MAX], *last;
    va_list  args;

    va_start(args, format);
    last = ngx_vslprintf(text, text + sizeof(text), format, args);
    va_end(args);

    ngx_hb_events_append(stream, (char *) text, last - text);
}


static void
ngx_hb_events_resync(ngx_hb_events_stream_t *stream, const char *reason)
{
    stream->resynced = ngx_current_msec;

    ngx_hb_events_print(stream, "event: resync\ndata: {\"reason\":\"%s\"}\n\n",
                        reason);
}


static void
ngx_hb_events_resync_all(const char *reason)
{
    ngx_queue_t             *q;
    ngx_hb_events_stream_t  *stream;
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;

    for (q = ngx_queue_head(&worker->streams);
         q != ngx_queue_sentinel(&worker->streams);
         q = ngx_queue_next(q))
    {
        stream = ngx_queue_data(q, ngx_hb_events_stream_t, queue);

        worker->catching -= stream->catching;
        stream->catching = 0;
        stream->after = worker->key;

        ngx_hb_events_resync(stream, reason);
    }
}


/* what waits goes to nginx, one piece at a time */

static void
ngx_hb_events_hand_over(ngx_hb_events_stream_t *stream)
{
    ngx_buf_t    *b;
    ngx_chain_t   out;

    if (stream->flight != NULL || stream->length == 0) {
        return;
    }

    b = &stream->buf;
    ngx_memzero(b, sizeof(ngx_buf_t));

    b->start = b->pos = stream->data;
    b->end = b->last = stream->data + stream->length;
    b->memory = 1;
    b->flush = 1;

    stream->flight = stream->data;
    stream->data = NULL;
    stream->length = 0;
    stream->size = 0;

    out.buf = b;
    out.next = NULL;

    ngx_hb_events_output(stream, &out);
}


/* the stream may be gone after this */

static void
ngx_hb_events_output(ngx_hb_events_stream_t *stream, ngx_chain_t *in)
{
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_core_loc_conf_t  *clcf;

    r = stream->request;
    c = r->connection;

    if (ngx_http_output_filter(r, in) == NGX_ERROR) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    if (stream->flight != NULL && ngx_buf_size(&stream->buf) == 0) {
        ngx_free(stream->flight);
        stream->flight = NULL;

        if (stream->length) {
            ngx_hb_events_ready(stream);
        }
    }

    if (!r->buffered && !c->buffered) {

        if (c->write->timer_set) {
            ngx_del_timer(c->write);
        }

    } else if (!c->write->timer_set) {
        clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
        ngx_add_timer(c->write, clcf->send_timeout);
    }

    if (ngx_handle_write_event(c->write, 0) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_ERROR);
    }
}


static void
ngx_hb_events_write_handler(ngx_http_request_t *r)
{
    ngx_event_t             *wev;
    ngx_hb_events_stream_t  *stream;

    wev = r->connection->write;
    stream = ngx_http_get_module_ctx(r, ngx_http_hb_events_module);

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, NGX_ETIMEDOUT,
                      "an event stream's client does not read");
        r->connection->timedout = 1;
        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (r->buffered || r->connection->buffered) {

        /* progress: the client has as long again for the rest */

        if (wev->timer_set) {
            ngx_del_timer(wev);
        }

        ngx_hb_events_output(stream, NULL);
    }
}


/*
 * The last words: what still waits, then why.  nginx sends the rest and
 * closes; the memory lives as long as the request.
 */

static void
ngx_hb_events_finish(ngx_hb_events_stream_t *stream, const char *reason)
{
    ngx_buf_t           *b;
    ngx_chain_t          out;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = stream->request;
    c = r->connection;

    if (stream->slow) {
        stream->slow = 0;
        ngx_hb_events_resync(stream, "slow");
    }

    ngx_hb_events_print(stream, "event: end\ndata: {\"reason\":\"%s\"}\n\n",
                        reason);

    b = ngx_calloc_buf(r->pool);

    if (b == NULL || stream->slow) {
        ngx_http_finalize_request(r, NGX_ERROR);
        ngx_http_run_posted_requests(c);
        return;
    }

    b->pos = stream->data;
    b->last = stream->data + stream->length;
    b->memory = 1;
    b->last_buf = 1;
    out.buf = b;
    out.next = NULL;

    /* the cleanup frees what is being sent */

    ngx_hb_events_leave(stream);

    if (c->write->timer_set) {
        ngx_del_timer(c->write);
    }

    ngx_http_finalize_request(r, ngx_http_output_filter(r, &out));
    ngx_http_run_posted_requests(c);
}


/* turns */

static void
ngx_hb_events_turn_handler(ngx_event_t *ev)
{
    ngx_uint_t               n, more;
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;

    if (ngx_exiting) {
        ngx_hb_events_end_all("restart");
        return;
    }

    if (ngx_hb_degrade_level() >= HB_DEGRADE_NO_PUSH) {
        ngx_hb_events_end_all("degraded");
        return;
    }

    more = 1;

    for (n = 0; more && n < NGX_HB_EVENTS_BATCHES_MAX; n++) {
        more = ngx_hb_events_follow();
        ngx_hb_events_flush();
    }

    if (worker->catching) {
        ngx_hb_events_catch_up();
    }

    if ((ngx_msec_int_t) (ngx_current_msec - worker->beat_turn) >= 0) {
        worker->beat_turn = ngx_current_msec + NGX_HB_EVENTS_BEAT_TURN;
        ngx_hb_events_beat();
    }

    ngx_hb_events_flush();

    if (worker->count) {
        ngx_add_timer(ev, more ? 1 : NGX_HB_EVENTS_TURN);
    }
}


/* tell all what is new; true when there is more than is told at once */

static ngx_uint_t
ngx_hb_events_follow(void)
{
    int                      rc;
    uint64_t                 key;
    ngx_uint_t               n;
    struct hb_notice         notice;
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;

    if (worker->ring.segment.base == NULL) {
        return 0;
    }

    /* what was published up to here is in the ring when the head is read */

    key = hb_notice_key(hb_notices_through_seq(&worker->ring), 1);

    for (n = 0; n < NGX_HB_EVENTS_NOTICES_MAX; n++) {

        rc = hb_notices_read(&worker->ring, worker->cursor, &notice);

        if (rc == 0) {
            worker->key = ngx_max(worker->key, key);
            return 0;
        }

        if (rc < 0) {
            ngx_hb_events_seek();
            ngx_hb_events_resync_all("overrun");
            return 0;
        }

        worker->cursor++;

        if (hb_event_key(&notice) <= worker->key) {
            continue;
        }

        worker->notice = &notice;
        worker->text_length = 0;

        hb_event_index_each(worker->index, &notice, ngx_hb_events_tell, NULL);

        if (notice.flags & HB_NOTICE_UNKNOWN) {
            ngx_hb_events_unknown(&notice);
        }

        worker->key = hb_event_key(&notice);
    }

    return 1;
}


static void
ngx_hb_events_tell(void *context, struct hb_listener *listener)
{
    ngx_hb_events_stream_t  *stream;

    stream = ngx_queue_data(listener, ngx_hb_events_stream_t, listener);

    if (!stream->catching) {
        ngx_hb_events_tell_one(stream, ngx_hb_events_worker->notice);
    }
}


/* most are told the same, so that text is made once */

static void
ngx_hb_events_tell_one(ngx_hb_events_stream_t *stream,
    const struct hb_notice *notice)
{
    char                     own[HB_EVENT_TEXT_BYTES_MAX];
    uint32_t                 length;
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;

    if (hb_event_key(notice) <= stream->after) {
        return;
    }

    stream->after = hb_event_key(notice);

    if (hb_event_owns(notice, stream->listener.user)) {
        length = hb_event_text(own, notice, stream->listener.user,
                               ngx_hb_node());
        ngx_hb_events_append(stream, own, length);
        return;
    }

    if (worker->text_length == 0) {
        worker->text_length = hb_event_text(worker->text, notice, 0, 0);
    }

    ngx_hb_events_append(stream, worker->text, worker->text_length);
}


/* it may have been for any group: who is in one looks for himself */

static void
ngx_hb_events_unknown(const struct hb_notice *notice)
{
    ngx_queue_t             *q;
    ngx_hb_events_stream_t  *stream;
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;

    for (q = ngx_queue_head(&worker->streams);
         q != ngx_queue_sentinel(&worker->streams);
         q = ngx_queue_next(q))
    {
        stream = ngx_queue_data(q, ngx_hb_events_stream_t, queue);

        if (stream->listener.user != notice->user
            && ngx_current_msec - stream->resynced >= NGX_HB_EVENTS_RESYNC)
        {
            ngx_hb_events_resync(stream, "gap");
        }
    }
}


/* those who came back; the budget of a turn is shared in the order they came */

static void
ngx_hb_events_catch_up(void)
{
    int                      rc;
    ngx_uint_t               budget, whole;
    ngx_queue_t             *q;
    struct hb_notice         notice;
    ngx_hb_events_stream_t  *stream;
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;
    budget = NGX_HB_EVENTS_CATCH_UP_MAX;

    /* a new ring may not yet have what this worker told from the one before */

    whole = hb_notices_through_seq(&worker->ring) >= worker->key >> 1;

    for (q = ngx_queue_head(&worker->streams);
         q != ngx_queue_sentinel(&worker->streams) && budget;
         q = ngx_queue_next(q))
    {
        stream = ngx_queue_data(q, ngx_hb_events_stream_t, queue);

        if (!stream->catching) {
            continue;
        }

        while (stream->cursor < worker->cursor && budget) {

            /* as fast as its client reads */

            if (stream->slow
                || stream->length >= worker->conf->queue / 2)
            {
                break;
            }

            rc = hb_notices_read(&worker->ring, stream->cursor, &notice);

            if (rc != 1) {
                stream->cursor = worker->cursor;
                stream->after = worker->key;
                ngx_hb_events_resync(stream, "overrun");
                break;
            }

            budget--;
            stream->cursor++;

            if (hb_event_concerns(&notice, &stream->listener)) {
                worker->text_length = 0;
                ngx_hb_events_tell_one(stream, &notice);
            }

            if (notice.flags & HB_NOTICE_UNKNOWN
                && ngx_current_msec - stream->resynced >= NGX_HB_EVENTS_RESYNC)
            {
                ngx_hb_events_resync(stream, "gap");
            }
        }

        if (whole && stream->cursor >= worker->cursor) {
            stream->catching = 0;
            worker->catching--;
        }
    }
}


/*
 * Heartbeats and the ends of tokens.  The id in a heartbeat moves the
 * client's last id without an event, so that one who comes back after a
 * silence need not look through all that happened to others.
 */

static void
ngx_hb_events_beat(void)
{
    char                     id[HB_EVENT_ID_BYTES_MAX];
    ngx_queue_t             *q, *next;
    ngx_hb_events_stream_t  *stream;
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;

    for (q = ngx_queue_head(&worker->streams);
         q != ngx_queue_sentinel(&worker->streams);
         q = next)
    {
        next = ngx_queue_next(q);
        stream = ngx_queue_data(q, ngx_hb_events_stream_t, queue);

        if (stream->expires <= ngx_time()) {
            ngx_hb_events_finish(stream, "token_expired");
            continue;
        }

        if ((ngx_msec_int_t) (ngx_current_msec - stream->beat) < 0) {
            continue;
        }

        stream->beat = ngx_current_msec + worker->conf->heartbeat;

        if (!stream->catching) {
            stream->after = ngx_max(stream->after, worker->key);
        }

        hb_event_id_format(id, stream->after);
        ngx_hb_events_print(stream, ":\nid: %s\n\n", id);
    }
}


static void
ngx_hb_events_end_all(const char *reason)
{
    char                     id[HB_EVENT_ID_BYTES_MAX];
    ngx_queue_t             *q;
    ngx_hb_events_stream_t  *stream;
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;

    while (!ngx_queue_empty(&worker->streams)) {

        q = ngx_queue_head(&worker->streams);
        stream = ngx_queue_data(q, ngx_hb_events_stream_t, queue);

        if (!stream->catching) {
            stream->after = ngx_max(stream->after, worker->key);
        }

        hb_event_id_format(id, stream->after);
        ngx_hb_events_print(stream, "retry: %ui\nid: %s\n\n",
                            NGX_HB_EVENTS_RETRY_MIN + (ngx_uint_t) ngx_random()
                            % NGX_HB_EVENTS_RETRY_SPREAD, id);
        ngx_hb_events_finish(stream, reason);
    }
}


/* the newest place there is */

static void
ngx_hb_events_seek(void)
{
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;

    worker->key = ngx_max(worker->key,
                          hb_notice_key(hb_notices_through_seq(&worker->ring),
                                        1));

    if (hb_notices_find(&worker->ring, worker->key, &worker->cursor) != 0) {
        worker->cursor = hb_notices_head(&worker->ring);
    }
}


/* persist */

static void
ngx_hb_events_attach(void)
{
    int                      fd;
    ngx_connection_t        *c;
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;

    fd = hb_unix_connect((char *) worker->conf->socket.data,
                         SOCK_SEQPACKET|SOCK_NONBLOCK);

    if (fd < 0) {
        ngx_hb_events_unlink(strerror(-fd));
        return;
    }

    c = ngx_get_connection(fd, worker->log);

    if (c == NULL) {
        (void) close(fd);
        ngx_hb_events_unlink("out of connections");
        return;
    }

    c->log = worker->log;
    c->read->log = worker->log;
    c->write->log = worker->log;
    c->read->handler = ngx_hb_events_link_handler;
    worker->link = c;

    if (ngx_add_event(c->read, NGX_READ_EVENT, NGX_CLEAR_EVENT) != NGX_OK) {
        ngx_hb_events_unlink("it cannot be watched");
    }
}


/* the segment comes, later the hang-up */

static void
ngx_hb_events_link_handler(ngx_event_t *ev)
{
    int                      rc;
    char                     error[160];
    ngx_connection_t        *c;
    struct hb_notices        ring;
    ngx_hb_events_worker_t  *worker;

    c = ev->data;
    worker = ngx_hb_events_worker;

    /* worker_shutdown_timeout calls every connection's handler */

    if (c->close) {
        return;
    }

    if (worker->attached) {
        ngx_hb_events_unlink("it hung up");
        return;
    }

    rc = hb_notices_receive(&ring, c->fd, error);

    if (rc == -EAGAIN) {
        return;
    }

    if (rc != 0) {
        ngx_hb_events_unlink(error[0] ? error : strerror(-rc));
        return;
    }

    ngx_hb_events_received(&ring);
}


static void
ngx_hb_events_received(struct hb_notices *ring)
{
    ngx_uint_t               more, missed;
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;

    /* the rest of the ring before; its writer has gone */

    do {
        more = worker->count ? ngx_hb_events_follow() : 0;
        ngx_hb_events_flush();
    } while (more);

    hb_notices_close(&worker->ring);
    worker->ring = *ring;
    worker->attached = 1;
    worker->complained = 0;

    ngx_log_error(NGX_LOG_NOTICE, worker->log, 0, "attached to the notices");

    missed = worker->count
             && hb_notices_find(&worker->ring, worker->key, &worker->cursor)
                != 0;

    if (missed || worker->count == 0) {
        ngx_hb_events_seek();
    }

    if (missed) {
        ngx_hb_events_resync_all("gap");
    }

    ngx_hb_events_place_again();
}


/* who was catching up goes on in the new ring */

static void
ngx_hb_events_place_again(void)
{
    ngx_queue_t             *q;
    ngx_hb_events_stream_t  *stream;
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;

    for (q = ngx_queue_head(&worker->streams);
         q != ngx_queue_sentinel(&worker->streams);
         q = ngx_queue_next(q))
    {
        stream = ngx_queue_data(q, ngx_hb_events_stream_t, queue);

        if (!stream->catching
            || hb_notices_find(&worker->ring, stream->after, &stream->cursor)
               == 0)
        {
            continue;
        }

        stream->catching = 0;
        worker->catching--;
        stream->after = worker->key;
        ngx_hb_events_resync(stream, "gap");
    }
}


static void
ngx_hb_events_unlink(const char *why)
{
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;

    if (!worker->complained) {
        ngx_log_error(NGX_LOG_ERR, worker->log, 0,
                      "not attached to the notices, trying again every %d ms: "
                      "%s", NGX_HB_EVENTS_REATTACH, why);
        worker->complained = 1;
    }

    if (worker->link != NULL) {
        ngx_close_connection(worker->link);
        worker->link = NULL;
    }

    worker->attached = 0;

    ngx_add_timer(&worker->reattach, NGX_HB_EVENTS_REATTACH);
}


static void
ngx_hb_events_reattach_handler(ngx_event_t *ev)
{
    if (!ngx_exiting) {
        ngx_hb_events_attach();
    }
}


/* what is no notice */

void
ngx_hb_events_tell_user(uint64_t user, const char *event, const char *data,
    size_t length)
{
    u_char                   text[NGX_HB_EVENTS_DATA_MAX + 64], *last;
    ngx_str_t                whole;
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;

    if (worker->count == 0 || length > NGX_HB_EVENTS_DATA_MAX) {
        return;
    }

    last = ngx_slprintf(text, text + sizeof(text), "event: %s\ndata: %*s\n\n",
                        event, length, data);

    whole.data = text;
    whole.len = last - text;

    hb_event_index_each_of_user(worker->index, user, ngx_hb_events_append_text,
                                &whole);
    ngx_hb_events_flush();
}


static void
ngx_hb_events_append_text(void *context, struct hb_listener *listener)
{
    ngx_str_t  *text = context;

    ngx_hb_events_stream_t  *stream;

    stream = ngx_queue_data(listener, ngx_hb_events_stream_t, listener);

    ngx_hb_events_append(stream, (char *) text->data, text->len);
}


/* configuration */

static void *
ngx_hb_events_create_main_conf(ngx_conf_t *cf)
{
    ngx_hb_events_main_conf_t  *conf;

    /*
     * set by ngx_pcalloc():
     *
     *     conf->socket = { 0, NULL };
     *     conf->tokens = { 0, NULL };
     *     conf->used = 0;
     */

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_hb_events_main_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->heartbeat = NGX_CONF_UNSET_MSEC;
    conf->queue = NGX_CONF_UNSET_SIZE;
    conf->streams = NGX_CONF_UNSET_UINT;

    return conf;
}


static char *
ngx_hb_events_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_hb_events_main_conf_t  *emcf = conf;

    ngx_conf_init_msec_value(emcf->heartbeat, NGX_HB_EVENTS_HEARTBEAT);
    ngx_conf_init_size_value(emcf->queue, NGX_HB_EVENTS_QUEUE);
    ngx_conf_init_uint_value(emcf->streams, NGX_HB_EVENTS_STREAMS);

    if (emcf->used && emcf->socket.len == 0) {
        return "\"hb_events\" needs \"hb_notices\"";
    }

    if (emcf->heartbeat == 0) {
        return "\"hb_events_heartbeat\" must not be 0";
    }

    if (emcf->queue < NGX_HB_EVENTS_QUEUE_MIN) {
        return "\"hb_events_queue\" must be at least 20k";
    }

    return NGX_CONF_OK;
}


static char *
ngx_hb_events(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t   *clcf;
    ngx_hb_events_main_conf_t  *emcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_hb_events_handler;

    emcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_hb_events_module);
    emcf->used = 1;

    ngx_hb_get_conf(cf->cycle)->used = "hb_events";

    return NGX_CONF_OK;
}


/* processes */

static ngx_int_t
ngx_hb_events_init_process(ngx_cycle_t *cycle)
{
    ngx_hb_events_worker_t     *worker;
    ngx_hb_events_main_conf_t  *emcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    emcf = ngx_http_cycle_get_module_main_conf(cycle,
                                               ngx_http_hb_events_module);

    if (emcf == NULL || !emcf->used) {
        return NGX_OK;
    }

    worker = ngx_pcalloc(cycle->pool, sizeof(ngx_hb_events_worker_t));
    if (worker == NULL) {
        return NGX_ERROR;
    }

    worker->index = hb_event_index_new();
    if (worker->index == NULL) {
        return NGX_ERROR;
    }

    worker->conf = emcf;
    worker->log = cycle->log;
    worker->beat_turn = ngx_current_msec;

    ngx_queue_init(&worker->streams);
    ngx_queue_init(&worker->ready);

    /* debug logging of events looks at a connection's descriptor */

    worker->dumb.fd = (ngx_socket_t) -1;

    /* not cancelable: a worker that shuts down first ends its streams */

    worker->turn.handler = ngx_hb_events_turn_handler;
    worker->turn.data = &worker->dumb;
    worker->turn.log = cycle->log;

    worker->reattach.handler = ngx_hb_events_reattach_handler;
    worker->reattach.data = &worker->dumb;
    worker->reattach.log = cycle->log;
    worker->reattach.cancelable = 1;

    ngx_hb_events_worker = worker;

    ngx_hb_events_attach();

    return ngx_hb_tokens_init(cycle, &emcf->tokens);
}


static void
ngx_hb_events_exit_process(ngx_cycle_t *cycle)
{
    ngx_hb_events_worker_t  *worker;

    worker = ngx_hb_events_worker;

    if (worker == NULL) {
        return;
    }

    ngx_hb_tokens_exit();

    if (worker->link != NULL) {
        ngx_close_connection(worker->link);
        worker->link = NULL;
    }

    hb_notices_close(&worker->ring);
}
