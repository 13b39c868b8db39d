/* daemon.h - the HTTP server: connections, requests, answers, streams.
 *
 * Only server/http/ knows libmicrohttpd. Its threads parse requests and
 * write answers; a request that waits for its story is suspended and costs
 * them nothing until the scheduler has news.
 *
 * Ownership: main owns the server, which borrows the service. Safety: start
 * and stop from one thread.
 */
#ifndef ALPACA_SERVER_HTTP_DAEMON_H
#define ALPACA_SERVER_HTTP_DAEMON_H

#include "base/status.h"
#include "server/service.h"

struct http_server;

/* Listens and serves at once. An address that cannot be had is an error naming it. */
enum status http_start(struct http_server **server, struct service *service, struct error *err);
const char *http_url(const struct http_server *server); /* "http://127.0.0.1:8080" */
/* Waits up to wait_ms for answers under way to be sent, then closes everything. Before this the
 * scheduler must have been stopped, so that no request waits for a story any more. */
void http_stop(struct http_server *server, int wait_ms);

#endif
