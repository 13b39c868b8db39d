/* service.h - what every request shares: the options, the engine, the state.
 *
 * Ownership: main owns it, and it outlives every request. Safety: read-only
 * once the HTTP server runs, except `stopping` and the metrics, which are atomic.
 */
#ifndef ALPACA_SERVER_SERVICE_H
#define ALPACA_SERVER_SERVICE_H

#include "engine/engine.h"
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
    time_t started;
    atomic_bool stopping; /* no new stories; /ready says so */
};

/* Whether a request for a story would be taken now; the reason why not is in *err. */
enum status service_has_room(struct service *service, struct error *err);
/* The same, and the engine has made a step, or had nothing to do, within the last second. */
enum status service_ready(struct service *service, struct error *err);

#endif
