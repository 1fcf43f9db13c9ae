/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The HTTP front: verifies users, hands their requests to the dataplane as
 * frames and answers with its replies.  Routes, JSON and tokens are in the
 * plain C files beside this one; here is only what nginx must see.
 *
 * Each worker is one client of the dataplane, attached in init_process.  A
 * request that waits holds a slot; the frame's correlation is the slot's index
 * and generation, so a reply that comes after its request has gone is ignored.
 * Two descriptors of the client are in epoll: the eventfd that tells of
 * replies, and the attach socket, whose hang-up tells that the dataplane died.
 * Then every waiting request is answered "unknown outcome" and the worker
 * attaches again.
 *
 * If a worker dies, the dataplane sees the hang-up and frees its rings; what
 * was decided for its users stays decided and is told to them when they ask
 * again with the same sequence.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "front/gateway.h"
#include "front/jwt.h"
#include "front/keys.h"
#include "front/ngx_http_hb_module.h"
#include "shm/client.h"


#define NGX_HTTP_HB_SLOTS           16384
#define NGX_HTTP_HB_REPLIES_MAX     256     /* taken in one turn */
#define NGX_HTTP_HB_REATTACH        100     /* ms */
#define NGX_HTTP_HB_TIMEOUT         2000    /* ms */


typedef struct {
    ngx_str_t                      socket;
    ngx_int_t                      node;
    ngx_msec_t                     timeout;
    struct hb_jwt_keys            *keys;
    ngx_uint_t                     used;
} ngx_http_hb_main_conf_t;


typedef struct {
    ngx_flag_t                     require_user;
    ngx_str_t                  gone;           /* named location, "": none */
} ngx_http_hb_loc_conf_t;


/* a request that waits for its reply; free when request is NULL */

typedef struct {
    ngx_queue_t                    queue;
    ngx_http_request_t            *request;
    ngx_msec_t                     deadline;
    uint32_t                       generation;
} ngx_http_hb_slot_t;


typedef struct {
    struct hb_call                 call;
    ngx_http_hb_slot_t            *slot;
} ngx_http_hb_ctx_t;


typedef struct {
    ngx_http_hb_main_conf_t       *conf;
    ngx_log_t                     *log;

    struct hb_jwt                 *jwt;
    struct hb_client              *client;
    ngx_connection_t              *wake;
    ngx_connection_t              *hangup;

    ngx_event_t                    settle;
    ngx_event_t                    expire;
    ngx_event_t                    reattach;
    ngx_connection_t               dumb;

    ngx_queue_t                    free;
    ngx_queue_t                    waiting;     /* oldest first */
    ngx_http_hb_slot_t            *slots;

    struct hb_answer               answer;
    unsigned                       complained:1;
} ngx_http_hb_worker_t;


static ngx_int_t ngx_http_hb_access_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_hb_handler(ngx_http_request_t *r);
static void ngx_http_hb_body_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_hb_start(ngx_http_request_t *r,
    ngx_http_hb_ctx_t *ctx);
static ngx_int_t ngx_http_hb_submit(ngx_http_request_t *r,
    ngx_http_hb_ctx_t *ctx, struct hb_frame *frame);
static ngx_int_t ngx_http_hb_body(ngx_http_request_t *r, struct hb_text *body);
static ngx_int_t ngx_http_hb_answer(ngx_http_request_t *r);
static ngx_int_t ngx_http_hb_add_header(ngx_http_request_t *r, ngx_str_t *key,
    ngx_str_t *value);
static void ngx_http_hb_cleanup(void *data);
static void ngx_http_hb_release(ngx_http_hb_slot_t *slot);
static void ngx_http_hb_finish(ngx_http_hb_slot_t *slot);
static ngx_uint_t ngx_http_hb_gone(ngx_http_hb_slot_t *slot,
    const struct hb_reply *reply);

static void ngx_http_hb_reply(void *context, const struct hb_reply *reply);
static void ngx_http_hb_wake_handler(ngx_event_t *ev);
static void ngx_http_hb_hangup_handler(ngx_event_t *ev);
static void ngx_http_hb_settle_handler(ngx_event_t *ev);
static void ngx_http_hb_expire_handler(ngx_event_t *ev);
static void ngx_http_hb_reattach_handler(ngx_event_t *ev);
static void ngx_http_hb_attach(void);
static void ngx_http_hb_detach(const char *why);
static ngx_connection_t *ngx_http_hb_watch(ngx_socket_t fd,
    ngx_event_handler_pt handler);
static void ngx_http_hb_unwatch(ngx_connection_t *c);

static ngx_int_t ngx_http_hb_user_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_hb_group_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_hb_add_variables(ngx_conf_t *cf);
static ngx_int_t ngx_http_hb_init(ngx_conf_t *cf);
static void *ngx_http_hb_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_hb_init_main_conf(ngx_conf_t *cf, void *conf);
static void *ngx_http_hb_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_hb_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_http_hb_front(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_hb_socket(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_hb_jwt_keys(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static void ngx_http_hb_keys_cleanup(void *data);
static ngx_int_t ngx_http_hb_init_process(ngx_cycle_t *cycle);
static void ngx_http_hb_exit_process(ngx_cycle_t *cycle);


static ngx_conf_num_bounds_t  ngx_http_hb_node_bounds = {
    ngx_conf_check_num_bounds, 0, HB_NODE_MAX
};


static ngx_command_t  ngx_http_hb_commands[] = {

    { ngx_string("hb_socket"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_hb_socket,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("hb_jwt_keys"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_hb_jwt_keys,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("hb_node"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hb_main_conf_t, node),
      &ngx_http_hb_node_bounds },

    { ngx_string("hb_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_hb_main_conf_t, timeout),
      NULL },

    { ngx_string("hb_front"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_hb_front,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("hb_require_user"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_hb_loc_conf_t, require_user),
      NULL },

    { ngx_string("hb_gone"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_hb_loc_conf_t, gone),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_hb_module_ctx = {
    ngx_http_hb_add_variables,             /* preconfiguration */
    ngx_http_hb_init,                      /* postconfiguration */

    ngx_http_hb_create_main_conf,          /* create main configuration */
    ngx_http_hb_init_main_conf,            /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_hb_create_loc_conf,           /* create location configuration */
    ngx_http_hb_merge_loc_conf             /* merge location configuration */
};


ngx_module_t  ngx_http_hb_module = {
    NGX_MODULE_V1,
    &ngx_http_hb_module_ctx,               /* module context */
    ngx_http_hb_commands,                  /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_hb_init_process,              /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_hb_exit_process,              /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_str_t  ngx_http_hb_user_name = ngx_string("hb_user");
static ngx_str_t  ngx_http_hb_group_name = ngx_string("hb_group");

/* one per worker, made in init_process; NULL in other processes */

static ngx_http_hb_worker_t  *ngx_http_hb_worker;


/* access phase: who asks */

static ngx_int_t
ngx_http_hb_access_handler(ngx_http_request_t *r)
{
    ngx_int_t                  rc;
    const char                *why;
    ngx_http_hb_loc_conf_t    *hlcf;

    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hb_module);

    if (!hlcf->require_user) {
        return NGX_DECLINED;
    }

    if (ngx_http_hb_identity(r, &why) != NULL) {
        return NGX_OK;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    ngx_http_finalize_request(r, ngx_http_hb_unauthorized(r, why));

    return NGX_DONE;
}


/* content phase */

static ngx_int_t
ngx_http_hb_handler(ngx_http_request_t *r)
{
    ngx_int_t               rc;
    enum hb_method          method;
    struct hb_text          path;
    ngx_http_hb_ctx_t      *ctx;
    ngx_http_hb_worker_t   *worker;

    worker = ngx_http_hb_worker;

    if (worker == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_hb_ctx_t));
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_http_set_ctx(r, ctx, ngx_http_hb_module);

    method = (r->method == NGX_HTTP_GET) ? HB_METHOD_GET
             : (r->method == NGX_HTTP_POST) ? HB_METHOD_POST : HB_METHOD_OTHER;
    path.at = (const char *) r->uri.data;
    path.length = r->uri.len;

    if (hb_gateway_route(&ctx->call, &worker->answer, method, path) == 0) {

        if (ctx->call.route != HB_ROUTE_HEALTH) {
            r->request_body_in_single_buf = 1;

            rc = ngx_http_read_client_request_body(r,
                                                   ngx_http_hb_body_handler);

            return (rc >= NGX_HTTP_SPECIAL_RESPONSE) ? rc : NGX_DONE;
        }

        hb_gateway_health(&worker->answer, worker->client != NULL);
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_hb_answer(r);
}


static void
ngx_http_hb_body_handler(ngx_http_request_t *r)
{
    ngx_int_t           rc;
    ngx_http_hb_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hb_module);

    rc = ngx_http_hb_start(r, ctx);

    if (rc != NGX_AGAIN) {
        ngx_http_finalize_request(r, rc);
    }
}


/* NGX_AGAIN: the request waits for its reply */

static ngx_int_t
ngx_http_hb_start(ngx_http_request_t *r, ngx_http_hb_ctx_t *ctx)
{
    ngx_int_t                   rc;
    const char                 *why;
    struct hb_text              args, body;
    union hb_any_frame          frame;
    ngx_http_hb_worker_t       *worker;
    const struct hb_identity   *identity;

    worker = ngx_http_hb_worker;

    rc = ngx_http_hb_body(r, &body);

    if (rc != NGX_OK) {
        return rc;
    }

    identity = ngx_http_hb_identity(r, &why);

    if (identity == NULL) {
        return ngx_http_hb_unauthorized(r, why);
    }

    args.at = (const char *) r->args.data;
    args.length = r->args.len;

    if (hb_gateway_frame(&ctx->call, &frame, &worker->answer, identity, args,
                         body, (uint32_t) ngx_time())
        != 0)
    {
        return ngx_http_hb_answer(r);
    }

    if (worker->client == NULL) {
        hb_gateway_health(&worker->answer, 0);
        return ngx_http_hb_answer(r);
    }

    return ngx_http_hb_submit(r, ctx, &frame.head);
}


static ngx_int_t
ngx_http_hb_submit(ngx_http_request_t *r, ngx_http_hb_ctx_t *ctx,
    struct hb_frame *frame)
{
    ngx_queue_t            *q;
    ngx_http_cleanup_t     *cln;
    ngx_http_hb_slot_t     *slot;
    ngx_http_hb_worker_t   *worker;

    worker = ngx_http_hb_worker;

    if (ngx_queue_empty(&worker->free)) {
        goto busy;
    }

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    q = ngx_queue_head(&worker->free);
    slot = ngx_queue_data(q, ngx_http_hb_slot_t, queue);

    frame->correlation = (uint64_t) slot->generation << 32
                         | (uint64_t) (slot - worker->slots);

    if (hb_client_send(worker->client, frame) != 0) {
        goto busy;
    }

    ngx_queue_remove(q);
    ngx_queue_insert_tail(&worker->waiting, q);

    slot->request = r;
    slot->deadline = ngx_current_msec + worker->conf->timeout;
    ctx->slot = slot;

    cln->handler = ngx_http_hb_cleanup;
    cln->data = ctx;

    /*
     * One timer for all: they wait equally long, so the oldest is first.
     * Not cancelable, so that a worker that shuts down lives until they end.
     */

    worker->expire.cancelable = 0;

    if (!worker->expire.timer_set) {
        ngx_add_timer(&worker->expire, worker->conf->timeout);
    }

    ngx_post_event(&worker->settle, &ngx_posted_events);

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    return NGX_AGAIN;

busy:

    hb_gateway_status(&worker->answer, HB_STATUS_BUSY);

    return ngx_http_hb_answer(r);
}


/* the body in one piece; client_max_body_size has bounded it */

static ngx_int_t
ngx_http_hb_body(ngx_http_request_t *r, struct hb_text *body)
{
    u_char       *p;
    size_t        size;
    ngx_chain_t  *cl, *in;

    body->at = NULL;
    body->length = 0;

    if (r->request_body == NULL || r->request_body->bufs == NULL) {
        return NGX_OK;
    }

    if (r->request_body->temp_file) {
        return NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
    }

    in = r->request_body->bufs;

    if (in->next == NULL) {
        body->at = (const char *) in->buf->pos;
        body->length = in->buf->last - in->buf->pos;
        return NGX_OK;
    }

    size = 0;

    for (cl = in; cl; cl = cl->next) {
        size += cl->buf->last - cl->buf->pos;
    }

    p = ngx_pnalloc(r->pool, size + 1);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body->at = (const char *) p;
    body->length = size;

    for (cl = in; cl; cl = cl->next) {
        p = ngx_cpymem(p, cl->buf->pos, cl->buf->last - cl->buf->pos);
    }

    return NGX_OK;
}


/* valid until the next call in this worker */

const struct hb_identity *
ngx_http_hb_identity(ngx_http_request_t *r, const char **why)
{
    u_char            *p, *last;
    ngx_table_elt_t   *h;

    if (ngx_http_hb_worker == NULL) {
        *why = "there is no worker";
        return NULL;
    }

    h = r->headers_in.authorization;

    if (h == NULL) {
        *why = "the header Authorization: Bearer TOKEN is missing";
        return NULL;
    }

    if (h->value.len < sizeof("Bearer ") - 1
        || ngx_strncasecmp(h->value.data, (u_char *) "Bearer ",
                           sizeof("Bearer ") - 1)
           != 0)
    {
        *why = "the header Authorization is not of the kind Bearer";
        return NULL;
    }

    p = h->value.data + sizeof("Bearer ") - 1;
    last = h->value.data + h->value.len;

    return hb_jwt_verify(ngx_http_hb_worker->jwt, (const char *) p, last - p,
                         (int64_t) ngx_time(), why);
}


/* send what is in the worker's answer */

static ngx_int_t
ngx_http_hb_answer(ngx_http_request_t *r)
{
    u_char             *p;
    ngx_buf_t          *b;
    ngx_int_t           rc;
    ngx_chain_t         out;
    struct hb_answer   *answer;

    static ngx_str_t    retry_after = ngx_string("Retry-After");
    static ngx_str_t    one = ngx_string("1");

    answer = &ngx_http_hb_worker->answer;

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    p = ngx_pnalloc(r->pool, answer->length);
    if (p == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->pos = p;
    b->last = ngx_cpymem(p, answer->text, answer->length);
    b->memory = 1;
    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    r->headers_out.status = answer->http;
    r->headers_out.content_length_n = answer->length;
    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;

    if (answer->http == NGX_HTTP_SERVICE_UNAVAILABLE
        && ngx_http_hb_add_header(r, &retry_after, &one) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


ngx_uint_t
ngx_http_hb_node(void)
{
    return ngx_http_hb_worker->conf->node;
}


ngx_int_t
ngx_http_hb_refuse(ngx_http_request_t *r, ngx_uint_t http, const char *status,
    const char *message)
{
    hb_gateway_error(&ngx_http_hb_worker->answer, (int) http, status, message);

    return ngx_http_hb_answer(r);
}


ngx_int_t
ngx_http_hb_unauthorized(ngx_http_request_t *r, const char *why)
{
    static ngx_str_t  authenticate = ngx_string("WWW-Authenticate");
    static ngx_str_t  bearer = ngx_string("Bearer");

    if (ngx_http_hb_worker == NULL
        || ngx_http_hb_add_header(r, &authenticate, &bearer) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    hb_gateway_error(&ngx_http_hb_worker->answer, NGX_HTTP_UNAUTHORIZED,
                     "unauthorized", why);

    return ngx_http_hb_answer(r);
}


static ngx_int_t
ngx_http_hb_add_header(ngx_http_request_t *r, ngx_str_t *key, ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    h->key = *key;
    h->value = *value;

    return NGX_OK;
}


/* slots */

static void
ngx_http_hb_cleanup(void *data)
{
    ngx_http_hb_ctx_t  *ctx = data;

    /* the client has gone before its reply */

    if (ctx->slot != NULL) {
        ngx_http_hb_release(ctx->slot);
        ctx->slot = NULL;
    }
}


static void
ngx_http_hb_release(ngx_http_hb_slot_t *slot)
{
    ngx_http_hb_worker_t  *worker;

    worker = ngx_http_hb_worker;

    slot->request = NULL;
    slot->generation++;

    ngx_queue_remove(&slot->queue);
    ngx_queue_insert_tail(&worker->free, &slot->queue);

    worker->expire.cancelable = ngx_queue_empty(&worker->waiting);
}


/* end the slot's request with what is in the worker's answer */

static void
ngx_http_hb_finish(ngx_http_hb_slot_t *slot)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;
    ngx_http_hb_ctx_t   *ctx;

    r = slot->request;
    c = r->connection;
    ctx = ngx_http_get_module_ctx(r, ngx_http_hb_module);

    ctx->slot = NULL;
    ngx_http_hb_release(slot);

    ngx_http_finalize_request(r, ngx_http_hb_answer(r));

    ngx_http_run_posted_requests(c);
}


/*
 * A packet that the dataplane has forgotten: the named location of hb_gone
 * answers in its place.  The request goes there as it came.
 */

static ngx_uint_t
ngx_http_hb_gone(ngx_http_hb_slot_t *slot, const struct hb_reply *reply)
{
    ngx_connection_t        *c;
    ngx_http_request_t      *r;
    ngx_http_hb_ctx_t       *ctx;
    ngx_http_hb_loc_conf_t  *hlcf;

    r = slot->request;
    c = r->connection;
    ctx = ngx_http_get_module_ctx(r, ngx_http_hb_module);
    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hb_module);

    if (reply->status != HB_STATUS_PACKET_GONE
        || ctx->call.route != HB_ROUTE_PACKET_DETAIL
        || hlcf->gone.len == 0)
    {
        return 0;
    }

    ctx->slot = NULL;
    ngx_http_hb_release(slot);

    (void) ngx_http_named_location(r, &hlcf->gone);
    ngx_http_finalize_request(r, NGX_DONE);

    ngx_http_run_posted_requests(c);

    return 1;
}


/* the dataplane */

static void
ngx_http_hb_reply(void *context, const struct hb_reply *reply)
{
    ngx_http_hb_ctx_t     *ctx;
    ngx_http_hb_slot_t    *slot;
    ngx_http_hb_worker_t  *worker = context;

    if ((uint32_t) reply->correlation >= NGX_HTTP_HB_SLOTS) {
        return;
    }

    slot = &worker->slots[(uint32_t) reply->correlation];

    if (slot->request == NULL
        || slot->generation != (uint32_t) (reply->correlation >> 32))
    {
        return;
    }

    if (ngx_http_hb_gone(slot, reply)) {
        return;
    }

    ctx = ngx_http_get_module_ctx(slot->request, ngx_http_hb_module);

    hb_gateway_reply(&worker->answer, &ctx->call,
                     (uint32_t) worker->conf->node, reply);

    ngx_http_hb_finish(slot);
}


static void
ngx_http_hb_wake_handler(ngx_event_t *ev)
{
    ngx_http_hb_worker_t  *worker;

    worker = ngx_http_hb_worker;

    hb_client_awake(worker->client);

    if (hb_client_poll(worker->client, ngx_http_hb_reply, worker,
                       NGX_HTTP_HB_REPLIES_MAX)
        < 0)
    {
        ngx_http_hb_detach("its replies are damaged");
        return;
    }

    ngx_post_event(&worker->settle, &ngx_posted_events);
}


static void
ngx_http_hb_hangup_handler(ngx_event_t *ev)
{
    int                    n;
    ngx_connection_t      *c;
    ngx_http_hb_worker_t  *worker;

    c = ev->data;
    worker = ngx_http_hb_worker;

    /* worker_shutdown_timeout calls every connection's handler */

    if (c->close) {
        return;
    }

    /* replies that were published before are as good as ever */

    do {
        n = hb_client_poll(worker->client, ngx_http_hb_reply, worker,
                           NGX_HTTP_HB_REPLIES_MAX);
    } while (n > 0);

    ngx_http_hb_detach("it hung up");
}


/*
 * Once per turn of the event loop, after everything else: publish what was
 * sent, then announce sleep.  The announcement stays while the worker may
 * block, so the dataplane rings the eventfd for every reply from here on.
 */

static void
ngx_http_hb_settle_handler(ngx_event_t *ev)
{
    ngx_http_hb_worker_t  *worker;

    worker = ngx_http_hb_worker;

    if (worker->client == NULL) {
        return;
    }

    hb_client_flush(worker->client);

    if (hb_client_sleep(worker->client)) {
        return;
    }

    hb_client_awake(worker->client);

    if (hb_client_poll(worker->client, ngx_http_hb_reply, worker,
                       NGX_HTTP_HB_REPLIES_MAX)
        < 0)
    {
        ngx_http_hb_detach("its replies are damaged");
        return;
    }

    ngx_post_event(ev, &ngx_posted_next_events);
}


static void
ngx_http_hb_expire_handler(ngx_event_t *ev)
{
    ngx_queue_t           *q;
    ngx_msec_int_t         left;
    ngx_http_hb_slot_t    *slot;
    ngx_http_hb_worker_t  *worker;

    worker = ngx_http_hb_worker;

    while (!ngx_queue_empty(&worker->waiting)) {

        q = ngx_queue_head(&worker->waiting);
        slot = ngx_queue_data(q, ngx_http_hb_slot_t, queue);

        left = (ngx_msec_int_t) (slot->deadline - ngx_current_msec);

        if (left > 0) {
            ngx_add_timer(ev, (ngx_msec_t) left);
            return;
        }

        hb_gateway_status(&worker->answer, HB_STATUS_UNKNOWN_OUTCOME);
        ngx_http_hb_finish(slot);
    }
}


static void
ngx_http_hb_reattach_handler(ngx_event_t *ev)
{
    if (!ngx_exiting) {
        ngx_http_hb_attach();
    }
}


static void
ngx_http_hb_attach(void)
{
    int                    rc;
    char                   name[32], error[160];
    ngx_http_hb_worker_t  *worker;

    worker = ngx_http_hb_worker;

    ngx_snprintf((u_char *) name, sizeof(name), "nginx %P%Z", ngx_pid);

    rc = hb_client_open(&worker->client, (char *) worker->conf->socket.data,
                        name, 0, 0, error);

    if (rc != 0) {
        if (!worker->complained) {
            ngx_log_error(NGX_LOG_ERR, worker->log, -rc,
                          "cannot attach to the dataplane, trying again "
                          "every %d ms: %s", NGX_HTTP_HB_REATTACH, error);
            worker->complained = 1;
        }

        ngx_add_timer(&worker->reattach, NGX_HTTP_HB_REATTACH);
        return;
    }

    worker->wake = ngx_http_hb_watch(hb_client_wake_fd(worker->client),
                                     ngx_http_hb_wake_handler);
    worker->hangup = ngx_http_hb_watch(hb_client_socket_fd(worker->client),
                                       ngx_http_hb_hangup_handler);

    if (worker->wake == NULL || worker->hangup == NULL) {
        ngx_http_hb_detach("out of connections");
        return;
    }

    worker->complained = 0;

    ngx_log_error(NGX_LOG_NOTICE, worker->log, 0,
                  "attached to the dataplane");

    ngx_post_event(&worker->settle, &ngx_posted_events);
}


static void
ngx_http_hb_detach(const char *why)
{
    ngx_queue_t           *q;
    ngx_http_hb_slot_t    *slot;
    ngx_http_hb_worker_t  *worker;

    worker = ngx_http_hb_worker;

    ngx_log_error(NGX_LOG_ERR, worker->log, 0,
                  "detached from the dataplane: %s", why);

    ngx_http_hb_unwatch(worker->wake);
    ngx_http_hb_unwatch(worker->hangup);
    worker->wake = NULL;
    worker->hangup = NULL;

    hb_client_close(worker->client);
    worker->client = NULL;

    while (!ngx_queue_empty(&worker->waiting)) {

        q = ngx_queue_head(&worker->waiting);
        slot = ngx_queue_data(q, ngx_http_hb_slot_t, queue);

        hb_gateway_status(&worker->answer, HB_STATUS_UNKNOWN_OUTCOME);
        ngx_http_hb_finish(slot);
    }

    ngx_add_timer(&worker->reattach, NGX_HTTP_HB_REATTACH);
}


/* put a descriptor of the client into epoll; it stays the client's */

static ngx_connection_t *
ngx_http_hb_watch(ngx_socket_t fd, ngx_event_handler_pt handler)
{
    ngx_connection_t      *c;
    ngx_http_hb_worker_t  *worker;

    worker = ngx_http_hb_worker;

    c = ngx_get_connection(fd, worker->log);
    if (c == NULL) {
        return NULL;
    }

    c->shared = 1;
    c->log = worker->log;
    c->read->log = worker->log;
    c->write->log = worker->log;
    c->read->handler = handler;

    if (ngx_add_event(c->read, NGX_READ_EVENT, NGX_CLEAR_EVENT) != NGX_OK) {
        ngx_free_connection(c);
        c->fd = (ngx_socket_t) -1;
        return NULL;
    }

    return c;
}


static void
ngx_http_hb_unwatch(ngx_connection_t *c)
{
    if (c == NULL) {
        return;
    }

    /* not closed yet, and perhaps known elsewhere: it must leave epoll */

    if (c->read->active) {
        ngx_del_event(c->read, NGX_READ_EVENT, 0);
    }

    ngx_close_connection(c);
}


/* configuration */

static ngx_int_t
ngx_http_hb_user_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    const char                *why;
    const struct hb_identity  *identity;

    identity = ngx_http_hb_identity(r, &why);

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    if (identity == NULL) {
        v->len = 0;
        v->data = (u_char *) "";
        return NGX_OK;
    }

    v->data = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_sprintf(v->data, "%uL", identity->account) - v->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_hb_group_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    uint64_t                   group;
    const char                *why;
    struct hb_text             args;
    const struct hb_identity  *identity;

    args.at = (const char *) r->args.data;
    args.length = r->args.len;

    identity = ngx_http_hb_identity(r, &why);
    group = (identity == NULL) ? 0 : hb_gateway_group(identity, args);

    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;

    if (group == 0) {
        v->len = 0;
        v->data = (u_char *) "";
        return NGX_OK;
    }

    v->data = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    if (v->data == NULL) {
        return NGX_ERROR;
    }

    v->len = ngx_sprintf(v->data, "%uL", group) - v->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_hb_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var;

    var = ngx_http_add_variable(cf, &ngx_http_hb_user_name, 0);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_http_hb_user_variable;

    var = ngx_http_add_variable(cf, &ngx_http_hb_group_name, 0);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_http_hb_group_variable;

    return NGX_OK;
}


static ngx_int_t
ngx_http_hb_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_hb_main_conf_t    *hmcf;
    ngx_http_core_main_conf_t  *cmcf;

    hmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_hb_module);

    if (hmcf->used && (hmcf->socket.len == 0 || hmcf->keys == NULL)) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"hb_front\" needs \"hb_socket\" and \"hb_jwt_keys\"");
        return NGX_ERROR;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_hb_access_handler;

    return NGX_OK;
}


static void *
ngx_http_hb_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_hb_main_conf_t  *conf;

    /*
     * set by ngx_pcalloc():
     *
     *     conf->socket = { 0, NULL };
     *     conf->keys = NULL;
     *     conf->used = 0;
     */

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_hb_main_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->node = NGX_CONF_UNSET;
    conf->timeout = NGX_CONF_UNSET_MSEC;

    return conf;
}


static char *
ngx_http_hb_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_hb_main_conf_t  *hmcf = conf;

    ngx_conf_init_value(hmcf->node, 1);
    ngx_conf_init_msec_value(hmcf->timeout, NGX_HTTP_HB_TIMEOUT);

    if (hmcf->timeout == 0) {
        return "\"hb_timeout\" must not be 0";
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_hb_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_hb_loc_conf_t  *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_hb_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->require_user = NGX_CONF_UNSET;

    return conf;
}


static char *
ngx_http_hb_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_hb_loc_conf_t   *prev = parent;
    ngx_http_hb_loc_conf_t   *conf = child;
    ngx_http_hb_main_conf_t  *hmcf;

    ngx_conf_merge_value(conf->require_user, prev->require_user, 0);
    ngx_conf_merge_str_value(conf->gone, prev->gone, "");

    if (conf->require_user) {
        hmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_hb_module);
        hmcf->used = 1;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_hb_front(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_hb_main_conf_t   *hmcf;
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_hb_handler;

    hmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_hb_module);
    hmcf->used = 1;

    return NGX_CONF_OK;
}


static char *
ngx_http_hb_socket(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_hb_main_conf_t  *hmcf = conf;

    ngx_str_t           *value;
    struct sockaddr_un   address;

    if (hmcf->socket.len != 0) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0 || value[1].len >= sizeof(address.sun_path)) {
        return "must be a path of at most 107 characters";
    }

    hmcf->socket = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_http_hb_jwt_keys(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_hb_main_conf_t  *hmcf = conf;

    char                 error[HB_JWT_KEYS_ERROR_BYTES];
    ngx_str_t           *value;
    ngx_pool_cleanup_t  *cln;

    if (hmcf->keys != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    cln = ngx_pool_cleanup_add(cf->cycle->pool, sizeof(struct hb_jwt_keys));
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(cln->data, sizeof(struct hb_jwt_keys));
    cln->handler = ngx_http_hb_keys_cleanup;
    hmcf->keys = cln->data;

    /* a file that is missing or open to others is refused by name */

    if (hb_jwt_keys_load(hmcf->keys, (char *) value[1].data, error) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s", error);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static void
ngx_http_hb_keys_cleanup(void *data)
{
    hb_jwt_keys_clear(data);
}


/* processes */

static ngx_int_t
ngx_http_hb_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                i;
    ngx_http_hb_worker_t     *worker;
    ngx_http_hb_main_conf_t  *hmcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    hmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_hb_module);

    if (hmcf == NULL || hmcf->socket.len == 0 || hmcf->keys == NULL) {
        return NGX_OK;
    }

    worker = ngx_pcalloc(cycle->pool, sizeof(ngx_http_hb_worker_t));
    if (worker == NULL) {
        return NGX_ERROR;
    }

    worker->slots = ngx_pcalloc(cycle->pool,
                                NGX_HTTP_HB_SLOTS * sizeof(ngx_http_hb_slot_t));
    if (worker->slots == NULL) {
        return NGX_ERROR;
    }

    if (hb_jwt_open(&worker->jwt, hmcf->keys) != 0) {
        return NGX_ERROR;
    }

    worker->conf = hmcf;
    worker->log = cycle->log;

    ngx_queue_init(&worker->free);
    ngx_queue_init(&worker->waiting);

    for (i = 0; i < NGX_HTTP_HB_SLOTS; i++) {
        ngx_queue_insert_tail(&worker->free, &worker->slots[i].queue);
    }

    /* debug logging of events looks at a connection's descriptor */

    worker->dumb.fd = (ngx_socket_t) -1;

    worker->settle.handler = ngx_http_hb_settle_handler;
    worker->settle.data = &worker->dumb;
    worker->settle.log = cycle->log;

    worker->expire.handler = ngx_http_hb_expire_handler;
    worker->expire.data = &worker->dumb;
    worker->expire.log = cycle->log;

    worker->reattach.handler = ngx_http_hb_reattach_handler;
    worker->reattach.data = &worker->dumb;
    worker->reattach.log = cycle->log;
    worker->reattach.cancelable = 1;

    ngx_http_hb_worker = worker;

    ngx_http_hb_attach();

    return NGX_OK;
}


static void
ngx_http_hb_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_hb_worker_t  *worker;

    worker = ngx_http_hb_worker;

    if (worker == NULL) {
        return;
    }

    if (worker->client != NULL) {
        ngx_http_hb_unwatch(worker->wake);
        ngx_http_hb_unwatch(worker->hangup);
        hb_client_close(worker->client);
        worker->client = NULL;
    }

    hb_jwt_close(worker->jwt);
    worker->jwt = NULL;
}
