/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The HTTP front: verifies users, hands their requests to the dataplane as
 * frames and answers with its replies.  Routes, JSON and tokens are in the
 * plain C files beside this one, the ring to the dataplane in ngx_hb_ring.c;
 * here is only what nginx must see of HTTP.
 *
 * If a worker dies, what was decided for its users stays decided and is told
 * to them when they ask again with the same sequence.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "front/gateway.h"
#include "front/ngx_hb_ring.h"


typedef struct {
    ngx_flag_t                     require_user;
    ngx_str_t                      gone;    /* named location, "": none */
} ngx_http_hb_loc_conf_t;


typedef struct {
    struct hb_call                 call;
    ngx_hb_slot_t                 *slot;    /* while the request waits */
} ngx_http_hb_ctx_t;


static ngx_int_t ngx_http_hb_access_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_hb_handler(ngx_http_request_t *r);
static void ngx_http_hb_body_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_hb_start(ngx_http_request_t *r,
    ngx_http_hb_ctx_t *ctx);
static ngx_int_t ngx_http_hb_submit(ngx_http_request_t *r,
    ngx_http_hb_ctx_t *ctx, struct hb_frame *frame);
static ngx_int_t ngx_http_hb_body(ngx_http_request_t *r, struct hb_text *body);
static const struct hb_identity *ngx_http_hb_identity(ngx_http_request_t *r,
    const char **why);
static ngx_int_t ngx_http_hb_answer(ngx_http_request_t *r);
static ngx_int_t ngx_http_hb_unauthorized(ngx_http_request_t *r,
    const char *why);
static ngx_int_t ngx_http_hb_add_header(ngx_http_request_t *r, ngx_str_t *key,
    ngx_str_t *value);
static void ngx_http_hb_cleanup(void *data);
static void ngx_http_hb_reply(void *data, const struct hb_reply *reply);
static ngx_uint_t ngx_http_hb_gone(ngx_http_request_t *r,
    const struct hb_reply *reply);

static ngx_int_t ngx_http_hb_user_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_hb_group_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_hb_add_variables(ngx_conf_t *cf);
static ngx_int_t ngx_http_hb_init(ngx_conf_t *cf);
static void *ngx_http_hb_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_hb_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static char *ngx_http_hb_front(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_http_hb_commands[] = {

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

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

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
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static ngx_str_t  ngx_http_hb_user_name = ngx_string("hb_user");
static ngx_str_t  ngx_http_hb_group_name = ngx_string("hb_group");

/* one answer is written at a time, in one turn of the event loop */

static struct hb_answer  ngx_http_hb_text;


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

    if (ngx_hb_jwt() == NULL) {
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

    if (hb_gateway_route(&ctx->call, &ngx_http_hb_text, method, path) == 0) {

        if (ctx->call.route != HB_ROUTE_HEALTH) {
            r->request_body_in_single_buf = 1;

            rc = ngx_http_read_client_request_body(r,
                                                   ngx_http_hb_body_handler);

            return (rc >= NGX_HTTP_SPECIAL_RESPONSE) ? rc : NGX_DONE;
        }

        hb_gateway_health(&ngx_http_hb_text, ngx_hb_attached());
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
    const struct hb_identity   *identity;

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

    if (hb_gateway_frame(&ctx->call, &frame, &ngx_http_hb_text, identity, args,
                         body, (uint32_t) ngx_time())
        != 0)
    {
        return ngx_http_hb_answer(r);
    }

    if (!ngx_hb_attached()) {
        hb_gateway_health(&ngx_http_hb_text, 0);
        return ngx_http_hb_answer(r);
    }

    return ngx_http_hb_submit(r, ctx, &frame.head);
}


static ngx_int_t
ngx_http_hb_submit(ngx_http_request_t *r, ngx_http_hb_ctx_t *ctx,
    struct hb_frame *frame)
{
    ngx_http_cleanup_t  *cln;

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->slot = ngx_hb_send(frame, ngx_http_hb_reply, r);

    if (ctx->slot == NULL) {
        hb_gateway_status(&ngx_http_hb_text, HB_STATUS_BUSY);
        return ngx_http_hb_answer(r);
    }

    cln->handler = ngx_http_hb_cleanup;
    cln->data = ctx;

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

    return NGX_AGAIN;
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

static const struct hb_identity *
ngx_http_hb_identity(ngx_http_request_t *r, const char **why)
{
    u_char            *p, *last;
    ngx_table_elt_t   *h;

    if (ngx_hb_jwt() == NULL) {
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

    return hb_jwt_verify(ngx_hb_jwt(), (const char *) p, last - p,
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

    answer = &ngx_http_hb_text;

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


static ngx_int_t
ngx_http_hb_unauthorized(ngx_http_request_t *r, const char *why)
{
    static ngx_str_t  authenticate = ngx_string("WWW-Authenticate");
    static ngx_str_t  bearer = ngx_string("Bearer");

    if (ngx_hb_jwt() == NULL
        || ngx_http_hb_add_header(r, &authenticate, &bearer) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    hb_gateway_error(&ngx_http_hb_text, NGX_HTTP_UNAUTHORIZED,
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


/* waiting */

static void
ngx_http_hb_cleanup(void *data)
{
    ngx_http_hb_ctx_t  *ctx = data;

    /* the client has gone before its reply */

    if (ctx->slot != NULL) {
        ngx_hb_forget(ctx->slot);
        ctx->slot = NULL;
    }
}


static void
ngx_http_hb_reply(void *data, const struct hb_reply *reply)
{
    ngx_http_request_t  *r = data;

    ngx_connection_t   *c;
    ngx_http_hb_ctx_t  *ctx;

    c = r->connection;
    ctx = ngx_http_get_module_ctx(r, ngx_http_hb_module);
    ctx->slot = NULL;

    if (reply == NULL) {
        hb_gateway_status(&ngx_http_hb_text, HB_STATUS_UNKNOWN_OUTCOME);
        ngx_http_finalize_request(r, ngx_http_hb_answer(r));

    } else if (!ngx_http_hb_gone(r, reply)) {
        hb_gateway_reply(&ngx_http_hb_text, &ctx->call, ngx_hb_node(), reply);
        ngx_http_finalize_request(r, ngx_http_hb_answer(r));
    }

    ngx_http_run_posted_requests(c);
}


/*
 * A packet that the dataplane has forgotten: the named location of hb_gone
 * answers in its place.  The request goes there as it came.
 */

static ngx_uint_t
ngx_http_hb_gone(ngx_http_request_t *r, const struct hb_reply *reply)
{
    ngx_http_hb_ctx_t       *ctx;
    ngx_http_hb_loc_conf_t  *hlcf;

    ctx = ngx_http_get_module_ctx(r, ngx_http_hb_module);
    hlcf = ngx_http_get_module_loc_conf(r, ngx_http_hb_module);

    if (reply->status != HB_STATUS_PACKET_GONE
        || ctx->call.route != HB_ROUTE_PACKET_DETAIL
        || hlcf->gone.len == 0)
    {
        return 0;
    }

    (void) ngx_http_named_location(r, &hlcf->gone);
    ngx_http_finalize_request(r, NGX_DONE);

    return 1;
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
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_hb_access_handler;

    return NGX_OK;
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
    ngx_http_hb_loc_conf_t  *prev = parent;
    ngx_http_hb_loc_conf_t  *conf = child;

    ngx_conf_merge_value(conf->require_user, prev->require_user, 0);
    ngx_conf_merge_str_value(conf->gone, prev->gone, "");

    if (conf->require_user) {
        ngx_hb_get_conf(cf->cycle)->used = "hb_require_user";
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_hb_front(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_hb_handler;

    ngx_hb_get_conf(cf->cycle)->used = "hb_front";

    return NGX_CONF_OK;
}
