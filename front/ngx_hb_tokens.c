/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Money tokens for the event streams of their users.  Control tells each
 * worker every token that was asked for, one message each; a worker that holds
 * a stream of the user writes it there and forgets it.  Nothing is kept here.
 *
 * When control hangs up the worker connects again and again; meanwhile asks
 * wait in the dataplane.  If a worker dies, tokens it was told are lost with
 * it, and their users ask again.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "base/unix_socket.h"
#include "front/ngx_hb_events.h"
#include "front/ngx_hb_tokens.h"
#include "shm/push.h"


#define NGX_HB_TOKENS_REATTACH      500     /* ms */
#define NGX_HB_TOKENS_MAX           256     /* taken in one turn */


typedef struct {
    ngx_str_t                  *socket;
    ngx_log_t                  *log;
    ngx_connection_t           *link;       /* NULL: none */
    ngx_event_t                 reattach;
    ngx_connection_t            dumb;
    unsigned                    complained:1;
} ngx_hb_tokens_worker_t;


static void ngx_hb_tokens_attach(void);
static void ngx_hb_tokens_unlink(const char *why);
static void ngx_hb_tokens_link_handler(ngx_event_t *ev);
static void ngx_hb_tokens_reattach_handler(ngx_event_t *ev);
static ngx_int_t ngx_hb_tokens_receive(ngx_socket_t fd);


/* one per worker; socket NULL: not configured */

static ngx_hb_tokens_worker_t  ngx_hb_tokens;


ngx_int_t
ngx_hb_tokens_init(ngx_cycle_t *cycle, ngx_str_t *socket)
{
    ngx_memzero(&ngx_hb_tokens, sizeof(ngx_hb_tokens_worker_t));

    if (socket->len == 0) {
        return NGX_OK;
    }

    ngx_hb_tokens.socket = socket;
    ngx_hb_tokens.log = cycle->log;

    /* debug logging of events looks at a connection's descriptor */

    ngx_hb_tokens.dumb.fd = (ngx_socket_t) -1;

    ngx_hb_tokens.reattach.handler = ngx_hb_tokens_reattach_handler;
    ngx_hb_tokens.reattach.data = &ngx_hb_tokens.dumb;
    ngx_hb_tokens.reattach.log = cycle->log;
    ngx_hb_tokens.reattach.cancelable = 1;

    ngx_hb_tokens_attach();

    return NGX_OK;
}


void
ngx_hb_tokens_exit(void)
{
    if (ngx_hb_tokens.link != NULL) {
        ngx_close_connection(ngx_hb_tokens.link);
        ngx_hb_tokens.link = NULL;
    }
}


static void
ngx_hb_tokens_attach(void)
{
    int                fd;
    ngx_connection_t  *c;

    fd = hb_unix_connect((char *) ngx_hb_tokens.socket->data,
                         SOCK_SEQPACKET|SOCK_NONBLOCK);

    if (fd < 0) {
        ngx_hb_tokens_unlink(strerror(-fd));
        return;
    }

    c = ngx_get_connection(fd, ngx_hb_tokens.log);

    if (c == NULL) {
        (void) close(fd);
        ngx_hb_tokens_unlink("out of connections");
        return;
    }

    c->log = ngx_hb_tokens.log;
    c->read->log = ngx_hb_tokens.log;
    c->write->log = ngx_hb_tokens.log;
    c->read->handler = ngx_hb_tokens_link_handler;
    ngx_hb_tokens.link = c;

    if (ngx_add_event(c->read, NGX_READ_EVENT, NGX_CLEAR_EVENT) != NGX_OK) {
        ngx_hb_tokens_unlink("it cannot be watched");
        return;
    }

    ngx_hb_tokens.complained = 0;

    ngx_log_error(NGX_LOG_NOTICE, ngx_hb_tokens.log, 0,
                  "money tokens come from control");
}


static void
ngx_hb_tokens_unlink(const char *why)
{
    if (!ngx_hb_tokens.complained) {
        ngx_log_error(NGX_LOG_ERR, ngx_hb_tokens.log, 0,
                      "no money tokens from control, trying again every %d ms: "
                      "%s", NGX_HB_TOKENS_REATTACH, why);
        ngx_hb_tokens.complained = 1;
    }

    ngx_hb_tokens_exit();

    if (!ngx_exiting) {
        ngx_add_timer(&ngx_hb_tokens.reattach, NGX_HB_TOKENS_REATTACH);
    }
}


static void
ngx_hb_tokens_link_handler(ngx_event_t *ev)
{
    ngx_int_t          rc;
    ngx_uint_t         i;
    ngx_connection_t  *c;

    c = ev->data;

    /* worker_shutdown_timeout calls every connection's handler */

    if (c->close) {
        return;
    }

    for (i = 0; i < NGX_HB_TOKENS_MAX; i++) {

        rc = ngx_hb_tokens_receive(c->fd);

        if (rc == NGX_AGAIN) {
            return;
        }

        if (rc == NGX_ERROR) {
            ngx_hb_tokens_unlink("it hung up");
            return;
        }
    }

    /* edge triggered: there may be more */

    ngx_post_event(ev, &ngx_posted_next_events);
}


static ngx_int_t
ngx_hb_tokens_receive(ngx_socket_t fd)
{
    ssize_t         n;
    struct hb_push  push;

    n = recv(fd, &push, sizeof(struct hb_push), 0);

    if (n == -1) {
        return (ngx_errno == NGX_EAGAIN || ngx_errno == NGX_EINTR)
               ? NGX_AGAIN : NGX_ERROR;
    }

    if (n <= (ssize_t) HB_PUSH_HEAD_BYTES || push.magic != HB_PUSH_MAGIC
        || push.version != HB_PUSH_VERSION)
    {
        return NGX_ERROR;
    }

    ngx_hb_events_tell_user(push.user, "token", push.text,
                            n - HB_PUSH_HEAD_BYTES);

    return NGX_OK;
}


static void
ngx_hb_tokens_reattach_handler(ngx_event_t *ev)
{
    if (!ngx_exiting) {
        ngx_hb_tokens_attach();
    }
}
