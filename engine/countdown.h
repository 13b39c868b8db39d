/* countdown.h - waits for requests to end, where many are under way and nobody reads them yet.
 *
 * Give `countdown_on_output` and the countdown to each request as its on_output and context.
 * Ownership: the caller's; it outlives the requests that have it. Thread-safe once initialized.
 */
#ifndef ALPACA_ENGINE_COUNTDOWN_H
#define ALPACA_ENGINE_COUNTDOWN_H

#include "engine/request.h"

#include <pthread.h>

struct countdown {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int ended; /* requests */
};

void countdown_init(struct countdown *countdown);
void countdown_destroy(struct countdown *countdown);
/* Counts a request when it has ended, and wakes who waits only then. */
void countdown_on_output(void *countdown, enum finish_reason finish, uint64_t gap_ns);
/* Returns once `count` requests have ended since countdown_init(); at once for 0 or less. */
void countdown_await(struct countdown *countdown, int count);

#endif
