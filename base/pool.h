/* pool.h - the compute threads: one task at a time, split among all workers.
 *
 * pool_run() cuts a task into one slice per worker and returns when all have
 * finished. The caller is one of the workers, so a pool of n uses n - 1 extra
 * threads. Which thread runs a slice is left open: whoever is free first takes
 * it, so that a thread which does not get its core holds nobody up.
 * Waiting spins for tens of microseconds (a decode step has many short tasks)
 * and then sleeps, so that a pool never burns a core that others need.
 *
 * Ownership: whoever creates a pool destroys it; tasks borrow their context.
 * Thread-safety: pool_run() may be called from one thread at a time, the pool's
 * user; tasks must not call it. Everything the caller wrote before pool_run()
 * is visible to the tasks, and everything they wrote is visible after it.
 */
#ifndef ALPACA_BASE_POOL_H
#define ALPACA_BASE_POOL_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;

/* Called once for each `worker` from 0 to workers - 1, on any thread. */
typedef void pool_task(void *context, int worker, int workers);

/* `threads` workers in all; 0 for cpu_count(). */
enum status pool_create(struct pool **pool, int threads, struct error *err);
void pool_destroy(struct pool *pool); /* NULL is allowed */
int pool_workers(const struct pool *pool);
void pool_run(struct pool *pool, pool_task *task, void *context);

/* Time that pool_run() has waited for other threads to finish their slices. Measured only
 * once the caller has asked for it, by passing a counter to add to; NULL ends it. */
void pool_time_waiting(struct pool *pool, uint64_t *waited_ns);

/* Inside a task that pool_run() runs: another part [*begin, *end) of `total` items, `grain` of them
 * at most, until none is left and it returns false. A worker goes through its own slice, then
 * through what is left of those of its neighbors: a thread that loses its core for a moment
 * leaves the rest of its slice to others. All calls within a run name the same total and grain. */
bool pool_take(struct pool *pool, size_t total, size_t grain, int worker, size_t *begin,
               size_t *end);

/* Worker w's half-open part [*begin, *end) of `total` items, in steps of `grain`. */
void pool_slice(size_t total, size_t grain, int worker, int workers, size_t *begin, size_t *end);

#endif
