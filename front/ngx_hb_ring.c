/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The worker's part in the dataplane.  Each worker is one client, attached in
 * init_process, for all that its HTTP and framed TCP clients ask.  A request
 * that waits holds a slot; the frame's correlation is the slot's index and
 * generation, so a reply that comes after its request has gone is ignored.
 * Two descriptors of the client are in epoll: the eventfd that tells of
 * replies, and the attach socket, whose hang-up tells that the dataplane died.
 * Then every waiting request hears that its outcome is not known, and the
 * worker attaches again.
 *
 * If a worker dies, the dataplane sees the hang-up and frees its rings; what
 * was decided for its users stays decided and is told to them when they ask
 * again with the same sequence.
 */


#include "front/ngx_hb_ring.h"
#include "shm/node.h"


#define NGX_HB_SLOTS                16384
#define NGX_HB_REPLIES_MAX          256     /* taken in one turn */
#define NGX_HB_REATTACH             100     /* ms */
#define NGX_HB_TIMEOUT              2000    /* ms */


typedef struct {
    ngx_hb_conf_t                 *conf;
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
    ngx_hb_slot_t                 *slots;

    unsigned                       complained:1;
} ngx_hb_worker_t;


static void ngx_hb_release(ngx_hb_slot_t *slot);
static void ngx_hb_finish(ngx_hb_slot_t *slot, const struct hb_reply *reply);
static void ngx_hb_reply(void *context, const struct hb_reply *reply);
static ngx_int_t ngx_hb_take(void);
static void ngx_hb_wake_handler(ngx_event_t *ev);
static void ngx_hb_hangup_handler(ngx_event_t *ev);
static void ngx_hb_settle_handler(ngx_event_t *ev);
static void ngx_hb_expire_handler(ngx_event_t *ev);
static void ngx_hb_reattach_handler(ngx_event_t *ev);
static void ngx_hb_attach(void);
static void ngx_hb_detach(const char *why);
static ngx_connection_t *ngx_hb_watch(ngx_socket_t fd,
    ngx_event_handler_pt handler);
static void ngx_hb_unwatch(ngx_connection_t *c);

static void *ngx_hb_create_conf(ngx_cycle_t *cycle);
static char *ngx_hb_init_conf(ngx_cycle_t *cycle, void *conf);
static char *ngx_hb_socket(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *ngx_hb_jwt_keys(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static void ngx_hb_keys_cleanup(void *data);
static ngx_int_t ngx_hb_init_process(ngx_cycle_t *cycle);
static void ngx_hb_exit_process(ngx_cycle_t *cycle);


static ngx_conf_num_bounds_t  ngx_hb_node_bounds = {
    ngx_conf_check_num_bounds, 0, HB_NODE_MAX
};


static ngx_command_t  ngx_hb_commands[] = {

    { ngx_string("hb_socket"),
      NGX_MAIN_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_hb_socket,
      0,
      0,
      NULL },

    { ngx_string("hb_jwt_keys"),
      NGX_MAIN_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_hb_jwt_keys,
      0,
      0,
      NULL },

    { ngx_string("hb_node"),
      NGX_MAIN_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      0,
      offsetof(ngx_hb_conf_t, node),
      &ngx_hb_node_bounds },

    { ngx_string("hb_timeout"),
      NGX_MAIN_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      0,
      offsetof(ngx_hb_conf_t, timeout),
      NULL },

      ngx_null_command
};


static ngx_core_module_t  ngx_hb_module_ctx = {
    ngx_string("hongbao"),
    ngx_hb_create_conf,
    ngx_hb_init_conf
};


ngx_module_t  ngx_hb_module = {
    NGX_MODULE_V1,
    &ngx_hb_module_ctx,                    /* module context */
    ngx_hb_commands,                       /* module directives */
    NGX_CORE_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_hb_init_process,                   /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_hb_exit_process,                   /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* one per worker, made in init_process; NULL in other processes */

static ngx_hb_worker_t  *ngx_hb_worker;


ngx_hb_slot_t *
ngx_hb_send(struct hb_frame *frame, ngx_hb_reply_pt handler, void *data)
{
    ngx_queue_t      *q;
    ngx_hb_slot_t    *slot;
    ngx_hb_worker_t  *worker;

    worker = ngx_hb_worker;

    if (worker == NULL || worker->client == NULL
        || ngx_queue_empty(&worker->free))
    {
        return NULL;
    }

    q = ngx_queue_head(&worker->free);
    slot = ngx_queue_data(q, ngx_hb_slot_t, queue);

    frame->correlation = (uint64_t) slot->generation << 32
                         | (uint64_t) (slot - worker->slots);

    if (hb_client_send(worker->client, frame) != 0) {
        return NULL;
    }

    ngx_queue_remove(q);
    ngx_queue_insert_tail(&worker->waiting, q);

    slot->handler = handler;
    slot->data = data;
    slot->deadline = ngx_current_msec + worker->conf->timeout;

    /*
     * One timer for all: they wait equally long, so the oldest is first.
     * Not cancelable, so that a worker that shuts down lives until they end.
     */

    worker->expire.cancelable = 0;

    if (!worker->expire.timer_set) {
        ngx_add_timer(&worker->expire, worker->conf->timeout);
    }

    ngx_post_event(&worker->settle, &ngx_posted_events);

    return slot;
}


void
ngx_hb_forget(ngx_hb_slot_t *slot)
{
    ngx_hb_release(slot);
}


ngx_uint_t
ngx_hb_attached(void)
{
    return ngx_hb_worker != NULL && ngx_hb_worker->client != NULL;
}


uint32_t
ngx_hb_degrade_level(void)
{
    const struct hb_node     *node;
    const struct hb_segment  *segment;

    if (ngx_hb_worker == NULL || ngx_hb_worker->client == NULL) {
        return HB_DEGRADE_NORMAL;
    }

    segment = hb_client_node_segment(ngx_hb_worker->client);
    node = (const void *) (segment->base + HB_SEGMENT_GUARD_BYTES);

    return atomic_load_explicit(&node->degrade_level, memory_order_relaxed);
}


uint32_t
ngx_hb_node(void)
{
    return (uint32_t) ngx_hb_worker->conf->node;
}


struct hb_jwt *
ngx_hb_jwt(void)
{
    return (ngx_hb_worker == NULL) ? NULL : ngx_hb_worker->jwt;
}


/* slots */

static void
ngx_hb_release(ngx_hb_slot_t *slot)
{
    ngx_hb_worker_t  *worker;

    worker = ngx_hb_worker;

    slot->handler = NULL;
    slot->generation++;

    ngx_queue_remove(&slot->queue);
    ngx_queue_insert_tail(&worker->free, &slot->queue);

    worker->expire.cancelable = ngx_queue_empty(&worker->waiting);
}


static void
ngx_hb_finish(ngx_hb_slot_t *slot, const struct hb_reply *reply)
{
    void             *data;
    ngx_hb_reply_pt   handler;

    handler = slot->handler;
    data = slot->data;

    ngx_hb_release(slot);

    handler(data, reply);
}


/* the dataplane */

static void
ngx_hb_reply(void *context, const struct hb_reply *reply)
{
    ngx_hb_slot_t    *slot;
    ngx_hb_worker_t  *worker = context;

    if ((uint32_t) reply->correlation >= NGX_HB_SLOTS) {
        return;
    }

    slot = &worker->slots[(uint32_t) reply->correlation];

    if (slot->handler == NULL
        || slot->generation != (uint32_t) (reply->correlation >> 32))
    {
        return;
    }

    ngx_hb_finish(slot, reply);
}


/* replies that are there; NGX_ERROR: they are damaged, and we are detached */

static ngx_int_t
ngx_hb_take(void)
{
    ngx_hb_worker_t  *worker;

    worker = ngx_hb_worker;

    hb_client_awake(worker->client);

    if (hb_client_poll(worker->client, ngx_hb_reply, worker,
                       NGX_HB_REPLIES_MAX)
        < 0)
    {
        ngx_hb_detach("its replies are damaged");
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_hb_wake_handler(ngx_event_t *ev)
{
    if (ngx_hb_take() == NGX_OK) {
        ngx_post_event(&ngx_hb_worker->settle, &ngx_posted_events);
    }
}


static void
ngx_hb_hangup_handler(ngx_event_t *ev)
{
    int                n;
    ngx_connection_t  *c;
    ngx_hb_worker_t   *worker;

    c = ev->data;
    worker = ngx_hb_worker;

    /* worker_shutdown_timeout calls every connection's handler */

    if (c->close) {
        return;
    }

    /* replies that were published before are as good as ever */

    do {
        n = hb_client_poll(worker->client, ngx_hb_reply, worker,
                           NGX_HB_REPLIES_MAX);
    } while (n > 0);

    ngx_hb_detach("it hung up");
}


/*
 * Once per turn of the event loop, after everything else: publish what was
 * sent, then announce sleep.  The announcement stays while the worker may
 * block, so the dataplane rings the eventfd for every reply from here on.
 */

static void
ngx_hb_settle_handler(ngx_event_t *ev)
{
    ngx_hb_worker_t  *worker;

    worker = ngx_hb_worker;

    if (worker->client == NULL) {
        return;
    }

    hb_client_flush(worker->client);

    if (hb_client_sleep(worker->client)) {
        return;
    }

    if (ngx_hb_take() == NGX_OK) {
        ngx_post_event(ev, &ngx_posted_next_events);
    }
}


static void
ngx_hb_expire_handler(ngx_event_t *ev)
{
    ngx_queue_t      *q;
    ngx_msec_int_t    left;
    ngx_hb_slot_t    *slot;
    ngx_hb_worker_t  *worker;

    worker = ngx_hb_worker;

    while (!ngx_queue_empty(&worker->waiting)) {

        q = ngx_queue_head(&worker->waiting);
        slot = ngx_queue_data(q, ngx_hb_slot_t, queue);

        left = (ngx_msec_int_t) (slot->deadline - ngx_current_msec);

        if (left > 0) {
            ngx_add_timer(ev, (ngx_msec_t) left);
            return;
        }

        ngx_hb_finish(slot, NULL);
    }
}


static void
ngx_hb_reattach_handler(ngx_event_t *ev)
{
    if (!ngx_exiting) {
        ngx_hb_attach();
    }
}


static void
ngx_hb_attach(void)
{
    int               rc;
    char              name[32], error[160];
    ngx_hb_worker_t  *worker;

    worker = ngx_hb_worker;

    ngx_snprintf((u_char *) name, sizeof(name), "nginx %P%Z", ngx_pid);

    rc = hb_client_open(&worker->client, (char *) worker->conf->socket.data,
                        name, 0, 0, error);

    if (rc != 0) {
        if (!worker->complained) {
            ngx_log_error(NGX_LOG_ERR, worker->log, -rc,
                          "cannot attach to the dataplane, trying again "
                          "every %d ms: %s", NGX_HB_REATTACH, error);
            worker->complained = 1;
        }

        ngx_add_timer(&worker->reattach, NGX_HB_REATTACH);
        return;
    }

    worker->wake = ngx_hb_watch(hb_client_wake_fd(worker->client),
                                ngx_hb_wake_handler);
    worker->hangup = ngx_hb_watch(hb_client_socket_fd(worker->client),
                                  ngx_hb_hangup_handler);

    if (worker->wake == NULL || worker->hangup == NULL) {
        ngx_hb_detach("out of connections");
        return;
    }

    worker->complained = 0;

    ngx_log_error(NGX_LOG_NOTICE, worker->log, 0,
                  "attached to the dataplane");

    ngx_post_event(&worker->settle, &ngx_posted_events);
}


static void
ngx_hb_detach(const char *why)
{
    ngx_queue_t      *q;
    ngx_hb_slot_t    *slot;
    ngx_hb_worker_t  *worker;

    worker = ngx_hb_worker;

    ngx_log_error(NGX_LOG_ERR, worker->log, 0,
                  "detached from the dataplane: %s", why);

    ngx_hb_unwatch(worker->wake);
    ngx_hb_unwatch(worker->hangup);
    worker->wake = NULL;
    worker->hangup = NULL;

    hb_client_close(worker->client);
    worker->client = NULL;

    while (!ngx_queue_empty(&worker->waiting)) {

        q = ngx_queue_head(&worker->waiting);
        slot = ngx_queue_data(q, ngx_hb_slot_t, queue);

        ngx_hb_finish(slot, NULL);
    }

    ngx_add_timer(&worker->reattach, NGX_HB_REATTACH);
}


/* put a descriptor of the client into epoll; it stays the client's */

static ngx_connection_t *
ngx_hb_watch(ngx_socket_t fd, ngx_event_handler_pt handler)
{
    ngx_connection_t  *c;
    ngx_hb_worker_t   *worker;

    worker = ngx_hb_worker;

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
ngx_hb_unwatch(ngx_connection_t *c)
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

static void *
ngx_hb_create_conf(ngx_cycle_t *cycle)
{
    ngx_hb_conf_t  *conf;

    /*
     * set by ngx_pcalloc():
     *
     *     conf->socket = { 0, NULL };
     *     conf->keys = NULL;
     *     conf->used = NULL;
     */

    conf = ngx_pcalloc(cycle->pool, sizeof(ngx_hb_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    conf->node = NGX_CONF_UNSET;
    conf->timeout = NGX_CONF_UNSET_MSEC;

    return conf;
}


static char *
ngx_hb_init_conf(ngx_cycle_t *cycle, void *conf)
{
    ngx_hb_conf_t  *hcf = conf;

    ngx_conf_init_value(hcf->node, 1);
    ngx_conf_init_msec_value(hcf->timeout, NGX_HB_TIMEOUT);

    if (hcf->timeout == 0) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"hb_timeout\" must not be 0");
        return NGX_CONF_ERROR;
    }

    if (hcf->used != NULL && (hcf->socket.len == 0 || hcf->keys == NULL)) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"%s\" needs \"hb_socket\" and \"hb_jwt_keys\"",
                      hcf->used);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_hb_socket(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_hb_conf_t  *hcf = conf;

    ngx_str_t           *value;
    struct sockaddr_un   address;

    if (hcf->socket.len != 0) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0 || value[1].len >= sizeof(address.sun_path)) {
        return "must be a path of at most 107 characters";
    }

    hcf->socket = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_hb_jwt_keys(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_hb_conf_t  *hcf = conf;

    char                 error[HB_JWT_KEYS_ERROR_BYTES];
    ngx_str_t           *value;
    ngx_pool_cleanup_t  *cln;

    if (hcf->keys != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    cln = ngx_pool_cleanup_add(cf->cycle->pool, sizeof(struct hb_jwt_keys));
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(cln->data, sizeof(struct hb_jwt_keys));
    cln->handler = ngx_hb_keys_cleanup;
    hcf->keys = cln->data;

    /* a file that is missing or open to others is refused by name */

    if (hb_jwt_keys_load(hcf->keys, (char *) value[1].data, error) != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s", error);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static void
ngx_hb_keys_cleanup(void *data)
{
    hb_jwt_keys_clear(data);
}


/* processes */

static ngx_int_t
ngx_hb_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t        i;
    ngx_hb_conf_t    *hcf;
    ngx_hb_worker_t  *worker;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    hcf = ngx_hb_get_conf(cycle);

    if (hcf == NULL || hcf->socket.len == 0 || hcf->keys == NULL) {
        return NGX_OK;
    }

    worker = ngx_pcalloc(cycle->pool, sizeof(ngx_hb_worker_t));
    if (worker == NULL) {
        return NGX_ERROR;
    }

    worker->slots = ngx_pcalloc(cycle->pool,
                                NGX_HB_SLOTS * sizeof(ngx_hb_slot_t));
    if (worker->slots == NULL) {
        return NGX_ERROR;
    }

    if (hb_jwt_open(&worker->jwt, hcf->keys) != 0) {
        return NGX_ERROR;
    }

    worker->conf = hcf;
    worker->log = cycle->log;

    ngx_queue_init(&worker->free);
    ngx_queue_init(&worker->waiting);

    for (i = 0; i < NGX_HB_SLOTS; i++) {
        ngx_queue_insert_tail(&worker->free, &worker->slots[i].queue);
    }

    /* debug logging of events looks at a connection's descriptor */

    worker->dumb.fd = (ngx_socket_t) -1;

    worker->settle.handler = ngx_hb_settle_handler;
    worker->settle.data = &worker->dumb;
    worker->settle.log = cycle->log;

    worker->expire.handler = ngx_hb_expire_handler;
    worker->expire.data = &worker->dumb;
    worker->expire.log = cycle->log;

    worker->reattach.handler = ngx_hb_reattach_handler;
    worker->reattach.data = &worker->dumb;
    worker->reattach.log = cycle->log;
    worker->reattach.cancelable = 1;

    ngx_hb_worker = worker;

    ngx_hb_attach();

    return NGX_OK;
}


static void
ngx_hb_exit_process(ngx_cycle_t *cycle)
{
    ngx_hb_worker_t  *worker;

    worker = ngx_hb_worker;

    if (worker == NULL) {
        return;
    }

    if (worker->client != NULL) {
        ngx_hb_unwatch(worker->wake);
        ngx_hb_unwatch(worker->hangup);
        hb_client_close(worker->client);
        worker->client = NULL;
    }

    hb_jwt_close(worker->jwt);
    worker->jwt = NULL;
}
