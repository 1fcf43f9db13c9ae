/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Money tokens for the event streams of their users: the worker's connection
 * to control (shm/push.h).
 */


#ifndef _NGX_HB_TOKENS_H_INCLUDED_
#define _NGX_HB_TOKENS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


/* the socket's path must live as long as the cycle; once per worker */

ngx_int_t ngx_hb_tokens_init(ngx_cycle_t *cycle, ngx_str_t *socket);
void ngx_hb_tokens_exit(void);


#endif /* _NGX_HB_TOKENS_H_INCLUDED_ */
