/* wakeups.h - passes news on in rounds.
 *
 * A step of the engine has a token for every story, and each of them wants a
 * connection woken. One by one, as they come, these wakes would take a good
 * part of the machine from the engine. The herald collects them and calls all
 * at once, then rests: 4 ms, or with many to call a third of a millisecond
 * for each of them, up to 10 ms, so that the cost of rounds stays a small share.
 * When the last round was longer ago than that, it calls at once. What came for
 * a stream in between is then sent as one piece.
 *
 * Safety: all functions but create and destroy may be called from any thread.
 * Calls come from the herald's thread, or wakeups_flush()'s, under the herald's
 * lock: they must be quick and must not call the herald, and who calls it may
 * hold no lock that they take.
 */
#ifndef ALPACA_SERVER_HTTP_WAKEUPS_H
#define ALPACA_SERVER_HTTP_WAKEUPS_H

#include "base/status.h"

#include <stdbool.h>

enum { HERALD_REST_MS = 4, HERALD_MOST_REST_MS = 10 };

struct wakeups;

/* Memory of whoever has news; zeroed but for the first two before its first wakeups_add(). */
struct wakeup {
    void (*call)(void *context);
    void *context;
    struct wakeup *previous, *next; /* the herald's own */
    bool listed;
};

enum status wakeups_create(struct wakeups **herald, struct error *err);
/* Nothing may be listed any more. NULL is allowed. */
void wakeups_destroy(struct wakeups *herald);
/* Calls the entry in the next round: once, however often it is added until then. */
void wakeups_add(struct wakeups *herald, struct wakeup *entry);
/* After this the entry's call is not running and will not come. */
void wakeups_remove(struct wakeups *herald, struct wakeup *entry);
/* A round now. */
void wakeups_flush(struct wakeups *herald);

#endif
