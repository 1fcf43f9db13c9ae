/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What a worker has once, whatever speaks to its clients: the attachment to
 * the dataplane, the slots of the requests that wait for a reply, the user
 * token verifier, and the configuration of these.  The HTTP and the stream
 * module are its users.  Everything here belongs to the worker's event loop.
 */


#ifndef _NGX_HB_RING_H_INCLUDED_
#define _NGX_HB_RING_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include "base/assert.h"
#include "front/jwt.h"
#include "front/keys.h"
#include "shm/client.h"


typedef struct {
    ngx_str_t                      socket;
    ngx_int_t                      node;
    ngx_msec_t                     timeout;
    struct hb_jwt_keys            *keys;
    const char                    *used;        /* directive that needs both */
} ngx_hb_conf_t;


/*
 * The reply to what was sent, or NULL: the outcome is not known.  Called once
 * per request that was sent and not forgotten; its slot is free already.  The
 * reply is the ring's, valid during the call.
 */

typedef void (*ngx_hb_reply_pt)(void *data, const struct hb_reply *reply);


/* a request that waits for its reply; free when handler is NULL */

typedef struct {
    ngx_queue_t                    queue;
    ngx_hb_reply_pt                handler;
    void                          *data;
    ngx_msec_t                     deadline;
    uint32_t                       generation;
} ngx_hb_slot_t;


/*
 * The frame's correlation is set here; it is visible to the dataplane at the
 * end of this turn of the event loop.  NULL: there is no room, nothing was
 * sent.  The slot is the caller's until its handler is called or until he
 * forgets it: then a reply that comes is ignored.
 */

ngx_hb_slot_t *ngx_hb_send(struct hb_frame *frame, ngx_hb_reply_pt handler,
    void *data);
void ngx_hb_forget(ngx_hb_slot_t *slot);

ngx_uint_t ngx_hb_attached(void);

/* what is off: enum hb_degrade_level, normal while no dataplane is there */

uint32_t ngx_hb_degrade_level(void);

/* the number in order numbers */

uint32_t ngx_hb_node(void);

/* NULL in processes that have no event loop of ours */

struct hb_jwt *ngx_hb_jwt(void);

#define ngx_hb_get_conf(cycle)                                                \
    ((ngx_hb_conf_t *) ngx_get_conf((cycle)->conf_ctx, ngx_hb_module))


extern ngx_module_t  ngx_hb_module;


#endif /* _NGX_HB_RING_H_INCLUDED_ */
