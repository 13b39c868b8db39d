/* service.h - what all requests share: the options, the engine, the keys, the metrics.
 *
 * Ownership: main owns the service, which outlives every request. Thread-safe:
 * it is read-only once the HTTP server runs, except for `stopping` and the
 * metrics, which are atomic.
 */
#ifndef ALPACA_SERVER_SERVICE_H
#define ALPACA_SERVER_SERVICE_H

#include "engine/engine.h"
#include "server/api/web_files.h"
#include "server/keys.h"
#include "server/metrics.h"
#include "server/options.h"

#include <stdatomic.h>
#include <time.h>

struct service {
    struct options options;
    struct engine engine;
    struct keys keys;
    struct metrics metrics;
    struct web_files web;
    time_t started;
    bool loopback_only; /* only this machine can reach the server */
    atomic_bool stopping; /* no new story is begun, and /ready says so */
};

/* STATUS_OK when a request for a story would be taken now; otherwise *err says why not. */
enum status service_has_room(struct service *service, struct error *err);
/* The same, if also the engine has made a step within the last second or has nothing to do. */
enum status service_ready(struct service *service, struct error *err);

#endif
