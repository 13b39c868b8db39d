/* pool.h - the compute threads: one task at a time, split among all workers.
 *
 * A task is a walk through stages. Every thread walks through the same stages, and in each of them
 * takes parts of its work until all are done, by whomever: a thread that does not get its core
 * holds the others up by no more than the part it is in the middle of, and finds the stages that
 * went by without it empty. Only at the end of a walk the caller waits for every thread that began
 * it. Between two stages there is one barrier, and it counts parts, not threads. The caller is one
 * of the workers, so a pool of n uses n - 1 extra threads. Waiting spins for tens of microseconds
 * (a decode step has many short stages) and then sleeps, so that a pool never burns a core that
 * others need.
 *
 * Ownership: whoever creates a pool destroys it; tasks borrow their context.
 * Thread-safety: pool_run() and pool_walk() may be called from one thread at a time, the pool's
 * user; tasks must not call them. Everything the caller wrote before is visible to the tasks,
 * everything done in a stage is visible in the next, and after the task.
 */
#ifndef ALPACA_BASE_POOL_H
#define ALPACA_BASE_POOL_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pool;

/* `threads` workers in all; 0 for cpu_count(). */
enum status pool_create(struct pool **pool, int threads, struct error *err);
void pool_destroy(struct pool *pool); /* NULL is allowed */
int pool_workers(const struct pool *pool);

/* A task of one stage with one slice per worker: called once for each `worker` from 0 to
 * workers - 1, on any thread. */
typedef void pool_task(void *context, int worker, int workers);
void pool_run(struct pool *pool, pool_task *task, void *context);

/* A task of many stages: called by every thread that has a core, each with another `worker`; for
 * worker 0 always, and on the caller's thread. Returns when all have left it. */
typedef void pool_stages(void *context, struct pool *pool, int worker);
void pool_walk(struct pool *pool, pool_stages *stages, void *context);

/* A stage of a walk is a loop over this: another part [*begin, *end) of `total` items, `grain` of
 * them at most. False when all parts have been done. A worker goes through its own slice, the same
 * in every walk, and then helps others, who may have lost their core. All workers go through the
 * same stages; outside of a part, which may be long after the stage is over, they read nothing that
 * a stage writes. Parts of a stage are fewer than POOL_MAX_PARTS. */
bool pool_take(struct pool *pool, int worker, size_t total, size_t grain, size_t *begin,
               size_t *end);
enum { POOL_MAX_PARTS = 1 << 24 };
/* The same for a stage that a walk ends with. Whoever finds no part left to take goes on, that is
 * out of the walk, while others are still busy: the caller waits for them there anyway. */
bool pool_take_last(struct pool *pool, int worker, size_t total, size_t grain, size_t *begin,
                    size_t *end);
/* A stage with one slice per worker. */
void pool_stage(struct pool *pool, int worker, pool_task *task, void *context);

/* How often the pool's user has waited for all others so far: at the end of each task, and of each
 * of its stages but a last one. */
uint64_t pool_barriers(const struct pool *pool);
/* Time that the caller has waited for other threads to finish their parts or to leave. Measured
 * only once the caller has asked for it, by passing a counter to add to; NULL ends it. */
void pool_time_waiting(struct pool *pool, uint64_t *waited_ns);

/* Worker w's half-open part [*begin, *end) of `total` items, in steps of `grain`. */
void pool_slice(size_t total, size_t grain, int worker, int workers, size_t *begin, size_t *end);

#endif
