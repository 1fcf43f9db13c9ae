/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the HTTP front lends to other modules of the same shared object.  All
 * of it belongs to the worker and is to be called from its event loop.
 */


#ifndef _NGX_HTTP_HB_MODULE_H_INCLUDED_
#define _NGX_HTTP_HB_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "front/jwt.h"


/* who asks, valid until the next call; NULL and a sentence: it is refused */

const struct hb_identity *ngx_http_hb_identity(ngx_http_request_t *r,
    const char **why);

/* answers that are ready for ngx_http_finalize_request() */

ngx_int_t ngx_http_hb_unauthorized(ngx_http_request_t *r, const char *why);
ngx_int_t ngx_http_hb_refuse(ngx_http_request_t *r, ngx_uint_t http,
    const char *status, const char *message);

#endif /* _NGX_HTTP_HB_MODULE_H_INCLUDED_ */
