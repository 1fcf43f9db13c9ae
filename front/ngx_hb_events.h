/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What others may tell the event streams of this worker.  Everything here
 * belongs to the worker's event loop.
 */


#ifndef _NGX_HB_EVENTS_H_INCLUDED_
#define _NGX_HB_EVENTS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/*
 * An event without id for all streams of one user: it is told once and not
 * again to those who come back.  The data is one line of at most
 * NGX_HB_EVENTS_DATA_MAX bytes.
 */

#define NGX_HB_EVENTS_DATA_MAX  512

void ngx_hb_events_tell_user(uint64_t user, const char *event,
    const char *data, size_t length);


#endif /* _NGX_HB_EVENTS_H_INCLUDED_ */
