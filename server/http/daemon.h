/* daemon.h - the HTTP server: connections, requests, answers, streams.
 *
 * Only server/http/ uses libmicrohttpd. The library's threads parse requests
 * and write answers. A request that waits for its story is suspended and takes
 * no time of theirs until the scheduler has new tokens for it.
 *
 * Ownership: main owns the server, which borrows the service. Not thread-safe:
 * one thread starts and stops the server.
 */
#ifndef ALPACA_SERVER_HTTP_DAEMON_H
#define ALPACA_SERVER_HTTP_DAEMON_H

#include "base/status.h"
#include "server/service.h"

struct http_server;

/* Starts to listen and to serve. The error of an address that cannot be used names it. */
enum status http_start(struct http_server **server, struct service *service, struct error *err);
const char *http_url(const struct http_server *server); /* "http://127.0.0.1:8080" */
/* Waits up to wait_ms milliseconds until all begun answers are sent, then closes everything. The
 * scheduler must have been stopped before, so that no request waits for a story any more. */
void http_stop(struct http_server *server, int wait_ms);

#endif
