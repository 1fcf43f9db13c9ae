/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Framed TCP: the frames of docs/frames.md over a connection of one user, who
 * says who he is by a hello and may ask on before he is answered.  What a
 * frame must be is in framed.c, the ring to the dataplane in ngx_hb_ring.c;
 * here is only what nginx must see of the connection.
 *
 * A frame is taken only when there is room for the longest reply to it beside
 * all that is owed already; until then nothing more is read, so a client that
 * does not read its replies stops being served and costs one buffer.  The
 * buffers are there only while a connection has something in them: an idle
 * one has none.
 *
 * If a worker dies, its connections close, and what they were owed has an
 * unknown outcome: asked again with the same sequence, it is told.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_stream.h>

#include "front/framed.h"
#include "front/ngx_hb_ring.h"


#define NGX_STREAM_HB_CALLS         64      /* asked and not answered */
#define NGX_STREAM_HB_IN_BYTES      8192
#define NGX_STREAM_HB_OUT_BYTES     ((NGX_STREAM_HB_CALLS + 1)                \
                                     * HB_REPLY_BYTES_MAX)

/* ms for a hello, the rest of a frame, a reply to be read, the client's end */

#define NGX_STREAM_HB_WITHIN        10000


typedef struct {
    ngx_msec_t                     idle;
} ngx_stream_hb_srv_conf_t;


typedef struct ngx_stream_hb_ctx_s  ngx_stream_hb_ctx_t;
typedef struct ngx_stream_hb_call_s  ngx_stream_hb_call_t;


/* a frame that waits for its reply */

struct ngx_stream_hb_call_s {
    ngx_stream_hb_call_t          *next;        /* of the free ones */
    ngx_stream_hb_ctx_t           *ctx;
    ngx_hb_slot_t                 *slot;        /* NULL: free */
    struct hb_frame                frame;       /* as it was sent to us */
};


typedef struct {
    _Alignas(64) u_char            in[NGX_STREAM_HB_IN_BYTES];
    _Alignas(64) u_char            out[NGX_STREAM_HB_OUT_BYTES];
    ngx_stream_hb_call_t           calls[NGX_STREAM_HB_CALLS];
} ngx_stream_hb_buffers_t;


struct ngx_stream_hb_ctx_s {
    ngx_stream_session_t          *session;
    struct hb_identity            *identity;    /* NULL: no hello yet */
    ngx_stream_hb_buffers_t       *buffers;     /* NULL: idle */
    ngx_stream_hb_call_t          *free;

    size_t                         in_start;
    size_t                         in_end;
    size_t                         out_start;
    size_t                         out_end;
    ngx_uint_t                     owed;

    unsigned                       ending:1;    /* no more frames are taken */
    unsigned                       over:1;      /* the client sends no more */
    unsigned                       shut:1;      /* neither do we */
    unsigned                       partial:1;   /* a hello or frame is due */
};


static void ngx_stream_hb_handler(ngx_stream_session_t *s);
static void ngx_stream_hb_event_handler(ngx_event_t *ev);
static void ngx_stream_hb_run(ngx_stream_hb_ctx_t *ctx);
static ngx_int_t ngx_stream_hb_read(ngx_stream_hb_ctx_t *ctx);
static ngx_int_t ngx_stream_hb_write(ngx_stream_hb_ctx_t *ctx);
static void ngx_stream_hb_take(ngx_stream_hb_ctx_t *ctx);
static void ngx_stream_hb_hello(ngx_stream_hb_ctx_t *ctx,
    struct hb_frame *frame);
static void ngx_stream_hb_ask(ngx_stream_hb_ctx_t *ctx,
    struct hb_frame *frame);
static void ngx_stream_hb_reply(void *data, const struct hb_reply *reply);
static void ngx_stream_hb_refuse(ngx_stream_hb_ctx_t *ctx,
    const struct hb_frame *frame, enum hb_status status);
static void ngx_stream_hb_put(ngx_stream_hb_ctx_t *ctx,
    const struct hb_reply *reply);
static ngx_uint_t ngx_stream_hb_room(ngx_stream_hb_ctx_t *ctx);
static ngx_int_t ngx_stream_hb_open(ngx_stream_hb_ctx_t *ctx);
static ngx_int_t ngx_stream_hb_end(ngx_stream_hb_ctx_t *ctx);
static void ngx_stream_hb_rest(ngx_stream_hb_ctx_t *ctx);
static void ngx_stream_hb_timers(ngx_stream_hb_ctx_t *ctx);
static void ngx_stream_hb_cleanup(void *data);

static void *ngx_stream_hb_create_srv_conf(ngx_conf_t *cf);
static char *ngx_stream_hb_merge_srv_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_stream_hb_framed(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_stream_hb_commands[] = {

    { ngx_string("hb_framed"),
      NGX_STREAM_SRV_CONF|NGX_CONF_NOARGS,
      ngx_stream_hb_framed,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("hb_framed_idle"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_STREAM_SRV_CONF_OFFSET,
      offsetof(ngx_stream_hb_srv_conf_t, idle),
      NULL },

      ngx_null_command
};


static ngx_stream_module_t  ngx_stream_hb_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    ngx_stream_hb_create_srv_conf,         /* create server configuration */
    ngx_stream_hb_merge_srv_conf           /* merge server configuration */
};


ngx_module_t  ngx_stream_hb_module = {
    NGX_MODULE_V1,
    &ngx_stream_hb_module_ctx,             /* module context */
    ngx_stream_hb_commands,                /* module directives */
    NGX_STREAM_MODULE,                     /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static void
ngx_stream_hb_handler(ngx_stream_session_t *s)
{
    ngx_connection_t     *c;
    ngx_pool_cleanup_t   *cln;
    ngx_stream_hb_ctx_t  *ctx;

    c = s->connection;

    ctx = ngx_pcalloc(c->pool, sizeof(ngx_stream_hb_ctx_t));
    cln = ngx_pool_cleanup_add(c->pool, 0);

    if (ctx == NULL || cln == NULL || ngx_hb_jwt() == NULL) {
        ngx_stream_finalize_session(s, NGX_STREAM_INTERNAL_SERVER_ERROR);
        return;
    }

    ctx->session = s;
    ngx_stream_set_ctx(s, ctx, ngx_stream_hb_module);

    cln->handler = ngx_stream_hb_cleanup;
    cln->data = ctx;

    c->log->action = "serving frames";
    c->read->handler = ngx_stream_hb_event_handler;
    c->write->handler = ngx_stream_hb_event_handler;

    ngx_stream_hb_run(ctx);
}


/* readable, writable, replies have come, too late, or the worker shuts down */

static void
ngx_stream_hb_event_handler(ngx_event_t *ev)
{
    ngx_connection_t      *c;
    ngx_stream_hb_ctx_t   *ctx;
    ngx_stream_session_t  *s;

    c = ev->data;
    s = c->data;

    if (ev->timedout || c->close) {
        ngx_stream_finalize_session(s, NGX_STREAM_OK);
        return;
    }

    ctx = ngx_stream_get_module_ctx(s, ngx_stream_hb_module);

    ngx_stream_hb_run(ctx);
}


static void
ngx_stream_hb_run(ngx_stream_hb_ctx_t *ctx)
{
    ngx_stream_session_t  *s;

    s = ctx->session;

    /*
     * What is written makes room, so that more may be taken; and what was
     * refused is to be written.
     */

    if (ngx_stream_hb_write(ctx) != NGX_OK
        || ngx_stream_hb_read(ctx) != NGX_OK
        || ngx_stream_hb_write(ctx) != NGX_OK)
    {
        ngx_stream_finalize_session(s, NGX_STREAM_OK);
        return;
    }

    ngx_stream_hb_rest(ctx);

    if (s->connection->idle && (ctx->ending || ngx_exiting)
        && ngx_stream_hb_end(ctx) != NGX_AGAIN)
    {
        ngx_stream_finalize_session(s, NGX_STREAM_OK);
        return;
    }

    if (ngx_handle_read_event(s->connection->read, 0) != NGX_OK
        || ngx_handle_write_event(s->connection->write, 0) != NGX_OK)
    {
        ngx_stream_finalize_session(s, NGX_STREAM_INTERNAL_SERVER_ERROR);
        return;
    }

    ngx_stream_hb_timers(ctx);
}


/* take frames until there are no more, or no room for the reply of one */

static ngx_int_t
ngx_stream_hb_read(ngx_stream_hb_ctx_t *ctx)
{
    size_t             left;
    ssize_t            n;
    ngx_connection_t  *c;

    c = ctx->session->connection;

    for ( ;; ) {

        ngx_stream_hb_take(ctx);

        if (ctx->over || (ctx->buffers && !ngx_stream_hb_room(ctx))
            || !c->read->ready)
        {
            return NGX_OK;
        }

        if (ctx->ending) {
            /* read and thrown away: a reset would overtake our last reply */
            ctx->in_start = 0;
            ctx->in_end = 0;
        }

        if (ngx_stream_hb_open(ctx) != NGX_OK) {
            return NGX_ERROR;
        }

        left = ctx->in_end - ctx->in_start;

        if (ctx->in_start > 0) {
            ngx_memmove(ctx->buffers->in, ctx->buffers->in + ctx->in_start,
                        left);
            ctx->in_start = 0;
            ctx->in_end = left;
        }

        n = c->recv(c, ctx->buffers->in + left,
                    NGX_STREAM_HB_IN_BYTES - left);

        if (n == NGX_AGAIN) {
            return NGX_OK;
        }

        if (n == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (n == 0) {
            ctx->ending = 1;
            ctx->over = 1;
            return NGX_OK;
        }

        ctx->in_end += n;
    }
}


static ngx_int_t
ngx_stream_hb_write(ngx_stream_hb_ctx_t *ctx)
{
    ssize_t            n;
    ngx_connection_t  *c;

    c = ctx->session->connection;

    while (ctx->out_start < ctx->out_end) {

        if (!c->write->ready) {
            return NGX_OK;
        }

        n = c->send(c, ctx->buffers->out + ctx->out_start,
                    ctx->out_end - ctx->out_start);

        if (n == NGX_AGAIN) {
            return NGX_OK;
        }

        if (n == NGX_ERROR) {
            return NGX_ERROR;
        }

        ctx->out_start += n;
    }

    ctx->out_start = 0;
    ctx->out_end = 0;

    return NGX_OK;
}


static void
ngx_stream_hb_take(ngx_stream_hb_ctx_t *ctx)
{
    size_t            left;
    uint32_t          length;
    struct hb_frame  *frame;

    while (!ctx->ending) {

        left = ctx->in_end - ctx->in_start;

        if (left < sizeof(struct hb_frame) || !ngx_stream_hb_room(ctx)) {
            return;
        }

        frame = (struct hb_frame *) (ctx->buffers->in + ctx->in_start);
        length = hb_framed_length(frame);

        if (length == 0) {

            /* where the next one begins is not known */

            ctx->ending = 1;
            ngx_stream_hb_refuse(ctx, frame,
                                 frame->version != HB_FRAME_VERSION
                                 ? HB_STATUS_FRAME_VERSION
                                 : HB_STATUS_FRAME_INVALID);
            return;
        }

        if (left < length) {
            return;
        }

        ctx->in_start += length;

        if (frame->operation == HB_FRAMED_HELLO) {
            ngx_stream_hb_hello(ctx, frame);

        } else {
            ngx_stream_hb_ask(ctx, frame);
        }
    }
}


/*
 * The first hello says whose connection this is; further ones renew it.  One
 * that is refused ends it.
 */

static void
ngx_stream_hb_hello(ngx_stream_hb_ctx_t *ctx, struct hb_frame *frame)
{
    size_t                     length;
    int64_t                    left_s;
    const char                *token, *why;
    struct hb_reply            reply;
    struct hb_identity        *identity;
    const struct hb_identity  *found;

    token = hb_framed_token(frame, &length);
    found = NULL;

    if (token != NULL) {
        found = hb_jwt_verify(ngx_hb_jwt(), token, length,
                              (int64_t) ngx_time(), &why);
    }

    if (found == NULL
        || (ctx->identity != NULL && ctx->identity->account != found->account))
    {
        ctx->ending = 1;
        ngx_stream_hb_refuse(ctx, frame, token == NULL
                                         ? HB_STATUS_FRAME_INVALID
                                         : HB_STATUS_UNAUTHORIZED);
        return;
    }

    length = sizeof(struct hb_identity) + found->group_count * sizeof(uint64_t);

    identity = ngx_alloc(length, ctx->session->connection->log);
    if (identity == NULL) {
        ctx->ending = 1;
        return;
    }

    ngx_memcpy(identity, found, length);

    ngx_free(ctx->identity);
    ctx->identity = identity;

    left_s = identity->expires_s - (int64_t) ngx_time();

    hb_framed_reply(&reply, frame, HB_STATUS_OK);
    reply.id = identity->account;
    reply.count = (left_s > UINT32_MAX) ? UINT32_MAX : (uint32_t) left_s;

    ngx_stream_hb_put(ctx, &reply);
}


static void
ngx_stream_hb_ask(ngx_stream_hb_ctx_t *ctx, struct hb_frame *frame)
{
    enum hb_status         status;
    ngx_stream_hb_call_t  *call;

    call = ctx->free;
    call->frame = *frame;

    status = hb_framed_admit(frame, ctx->identity, (int64_t) ngx_time());

    if (status != HB_STATUS_OK) {
        ngx_stream_hb_refuse(ctx, &call->frame, status);
        return;
    }

    call->slot = ngx_hb_send(frame, ngx_stream_hb_reply, call);

    if (call->slot == NULL) {
        ngx_stream_hb_refuse(ctx, &call->frame, HB_STATUS_BUSY);
        return;
    }

    ctx->free = call->next;
    ctx->owed++;
}


/* NULL: it is not known what became of the frame */

static void
ngx_stream_hb_reply(void *data, const struct hb_reply *reply)
{
    ngx_stream_hb_call_t  *call = data;

    ngx_event_t          *wev;
    ngx_stream_hb_ctx_t  *ctx;
    union {
        struct hb_reply   head;
        u_char            bytes[HB_REPLY_BYTES_MAX];
    } own;

    ctx = call->ctx;

    call->slot = NULL;
    call->next = ctx->free;
    ctx->free = call;
    ctx->owed--;

    if (reply == NULL) {
        hb_framed_reply(&own.head, &call->frame, HB_STATUS_UNKNOWN_OUTCOME);

    } else {
        ngx_memcpy(&own, reply, reply->length);
        own.head.correlation = call->frame.correlation;
    }

    ngx_stream_hb_put(ctx, &own.head);

    /* written together with the others of this turn */

    wev = ctx->session->connection->write;
    ngx_post_event(wev, &ngx_posted_events);
}


static void
ngx_stream_hb_refuse(ngx_stream_hb_ctx_t *ctx, const struct hb_frame *frame,
    enum hb_status status)
{
    struct hb_reply  reply;

    hb_framed_reply(&reply, frame, status);
    ngx_stream_hb_put(ctx, &reply);
}


/* there is room: ngx_stream_hb_room() was asked before the frame was taken */

static void
ngx_stream_hb_put(ngx_stream_hb_ctx_t *ctx, const struct hb_reply *reply)
{
    size_t   left;
    u_char  *out;

    out = ctx->buffers->out;

    if (ctx->out_end + reply->length > NGX_STREAM_HB_OUT_BYTES) {
        left = ctx->out_end - ctx->out_start;
        ngx_memmove(out, out + ctx->out_start, left);
        ctx->out_start = 0;
        ctx->out_end = left;
    }

    HB_ASSERT(ctx->out_end + reply->length <= NGX_STREAM_HB_OUT_BYTES);

    ngx_memcpy(out + ctx->out_end, reply, reply->length);
    ctx->out_end += reply->length;
}


/* for one more frame: to remember it, and for its reply beside those owed */

static ngx_uint_t
ngx_stream_hb_room(ngx_stream_hb_ctx_t *ctx)
{
    size_t  used;

    used = ctx->out_end - ctx->out_start + ctx->owed * HB_REPLY_BYTES_MAX;

    return ctx->free != NULL
           && used + HB_REPLY_BYTES_MAX <= NGX_STREAM_HB_OUT_BYTES;
}


static ngx_int_t
ngx_stream_hb_open(ngx_stream_hb_ctx_t *ctx)
{
    ngx_uint_t             i;
    ngx_stream_hb_call_t  *call;

    if (ctx->buffers != NULL) {
        return NGX_OK;
    }

    ctx->buffers = ngx_memalign(64, sizeof(ngx_stream_hb_buffers_t),
                                ctx->session->connection->log);
    if (ctx->buffers == NULL) {
        return NGX_ERROR;
    }

    ctx->free = NULL;

    for (i = 0; i < NGX_STREAM_HB_CALLS; i++) {
        call = &ctx->buffers->calls[i];
        call->ctx = ctx;
        call->slot = NULL;
        call->next = ctx->free;
        ctx->free = call;
    }

    return NGX_OK;
}


/*
 * All is answered and no more is taken.  NGX_AGAIN: the client is told so, and
 * may end the connection before his time is over.
 */

static ngx_int_t
ngx_stream_hb_end(ngx_stream_hb_ctx_t *ctx)
{
    ngx_connection_t  *c;

    c = ctx->session->connection;

    if (ctx->over || !ctx->ending || c->ssl) {
        return NGX_OK;
    }

    if (!ctx->shut && ngx_shutdown_socket(c->fd, NGX_WRITE_SHUTDOWN) == -1) {
        return NGX_OK;
    }

    ctx->shut = 1;

    return NGX_AGAIN;
}


/* an idle connection keeps no buffers, and a worker that ends may close it */

static void
ngx_stream_hb_rest(ngx_stream_hb_ctx_t *ctx)
{
    ngx_connection_t  *c;

    c = ctx->session->connection;

    c->idle = (ctx->owed == 0 && ctx->out_start == ctx->out_end
               && (ctx->ending || ctx->in_start == ctx->in_end));

    if (!c->idle) {
        return;
    }

    ngx_free(ctx->buffers);
    ctx->buffers = NULL;
    ctx->free = NULL;
    ctx->in_start = 0;
    ctx->in_end = 0;
}


static void
ngx_stream_hb_timers(ngx_stream_hb_ctx_t *ctx)
{
    ngx_connection_t          *c;
    ngx_stream_hb_srv_conf_t  *conf;

    c = ctx->session->connection;
    conf = ngx_stream_get_module_srv_conf(ctx->session, ngx_stream_hb_module);

    if (ctx->owed > 0) {
        /* the ring's own time-out sees to it */

        if (c->read->timer_set) {
            ngx_del_timer(c->read);
        }

        ctx->partial = 0;

    } else if (c->idle && ctx->identity != NULL && !ctx->ending) {
        ctx->partial = 0;
        ngx_add_timer(c->read, conf->idle);

    } else if (!ctx->partial) {
        ctx->partial = 1;
        ngx_add_timer(c->read, NGX_STREAM_HB_WITHIN);
    }

    if (ctx->out_start == ctx->out_end) {

        if (c->write->timer_set) {
            ngx_del_timer(c->write);
        }

    } else if (!c->write->timer_set) {
        ngx_add_timer(c->write, NGX_STREAM_HB_WITHIN);
    }
}


/* the connection ends, by whatever way */

static void
ngx_stream_hb_cleanup(void *data)
{
    ngx_stream_hb_ctx_t  *ctx = data;

    ngx_uint_t             i;
    ngx_stream_hb_call_t  *call;

    for (i = 0; ctx->buffers != NULL && i < NGX_STREAM_HB_CALLS; i++) {
        call = &ctx->buffers->calls[i];

        if (call->slot != NULL) {
            ngx_hb_forget(call->slot);
        }
    }

    ngx_free(ctx->buffers);
    ngx_free(ctx->identity);
}


/* configuration */

static void *
ngx_stream_hb_create_srv_conf(ngx_conf_t *cf)
{
    ngx_stream_hb_srv_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_stream_hb_srv_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->idle = NGX_CONF_UNSET_MSEC;

    return conf;
}


static char *
ngx_stream_hb_merge_srv_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_stream_hb_srv_conf_t  *prev = parent;
    ngx_stream_hb_srv_conf_t  *conf = child;

    ngx_conf_merge_msec_value(conf->idle, prev->idle, 600000);

    return NGX_CONF_OK;
}


static char *
ngx_stream_hb_framed(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_stream_core_srv_conf_t  *cscf;

    cscf = ngx_stream_conf_get_module_srv_conf(cf, ngx_stream_core_module);
    cscf->handler = ngx_stream_hb_handler;

    ngx_hb_get_conf(cf->cycle)->used = "hb_framed";

    return NGX_CONF_OK;
}
