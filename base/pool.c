#include "base/pool.h"

#include "base/clock.h"
#include "base/cpu.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A task has one slice per worker. Whoever is there first claims a slice: its worker, or a
 * thread that has finished its own. So a worker that the system keeps from running, because
 * another process wants its core, costs nobody more than the slice it is in the middle of.
 *
 * Locking rule: `run` and `stopping` change, and `sleepers` and `caller_sleeps` count, in one
 * order that all threads agree on (sequentially consistent): a thread says that it will sleep,
 * looks once more and only then sleeps; the other side changes what it looks at and then asks
 * whether anybody sleeps. `lock` is held between the last look and the sleep. Task and context
 * are written before `run` grows; who claims a slice of a run knows that the run is not over,
 * so they are still its own. */
struct pool {
    int workers;
    int started; /* threads to join */
    pthread_t *threads;
    struct worker {
        struct pool *pool;
        int index;
    } *arguments;

    uint64_t *waited_ns; /* the caller's; NULL: nobody wants to know */

    pool_task *task;
    void *context;
    struct claim {
        _Alignas(64) atomic_uint run; /* the last run whose slice was claimed */
        _Atomic uint64_t taken;       /* pool_take(): its run, above the parts taken in it */
    } *claims; /* [workers] */

    _Alignas(64) atomic_uint run; /* grows by one for every task */
    atomic_bool stopping;
    _Alignas(64) atomic_int unfinished; /* slices of the current run */
    atomic_int sleepers;
    atomic_bool caller_sleeps;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* run or stopping changed */
    pthread_cond_t done; /* unfinished reached 0 */
};

enum { SPINS = 2000 }; /* tens of microseconds */

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* False also for a thread that comes so late that its run is over and others have been. */
static bool claim(struct pool *pool, int slice, unsigned run) {
    atomic_uint *last = &pool->claims[slice].run;
    unsigned seen = atomic_load_explicit(last, memory_order_relaxed);
    return (int)(run - seen) > 0 && atomic_compare_exchange_strong(last, &seen, run);
}

/* Runs every slice that nobody has claimed, `first` first. Returns how many. */
static int run_slices(struct pool *pool, int first, unsigned run) {
    int count = 0;
    for (int i = 0; i < pool->workers; i++) {
        int slice = (first + i) % pool->workers;
        if (!claim(pool, slice, run))
            continue;
        pool->task(pool->context, slice, pool->workers);
        count++;
    }
    return count;
}

static bool has_work(struct pool *pool, unsigned seen) {
    return atomic_load(&pool->run) != seen || atomic_load(&pool->stopping);
}

static void await_work(struct pool *pool, unsigned seen) {
    for (int i = 0; i < SPINS; i++) {
        if (has_work(pool, seen))
            return;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    while (!has_work(pool, seen))
        pthread_cond_wait(&pool->wake, &pool->lock);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

static void *worker_main(void *argument) {
    struct worker *self = argument;
    struct pool *pool = self->pool;
    unsigned seen = 0;
    for (;;) {
        await_work(pool, seen);
        if (atomic_load(&pool->stopping))
            return NULL;
        seen = atomic_load(&pool->run);
        int count = run_slices(pool, self->index, seen);
        if (count > 0 && atomic_fetch_sub(&pool->unfinished, count) == count &&
            atomic_load(&pool->caller_sleeps)) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

static void await_end(struct pool *pool) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load(&pool->unfinished) == 0)
            return;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->caller_sleeps, true);
    while (atomic_load(&pool->unfinished) != 0)
        pthread_cond_wait(&pool->done, &pool->lock);
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->lock);
}

void pool_run(struct pool *pool, pool_task *task, void *context) {
    if (pool->workers == 1) {
        atomic_fetch_add(&pool->run, 1);
        task(context, 0, 1);
        return;
    }
    pool->task = task;
    pool->context = context;
    atomic_store(&pool->unfinished, pool->workers);
    unsigned run = atomic_fetch_add(&pool->run, 1) + 1;
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
    atomic_fetch_sub(&pool->unfinished, run_slices(pool, 0, run));
    if (!pool->waited_ns) {
        await_end(pool);
        return;
    }
    uint64_t since_ns = clock_now_ns();
    await_end(pool);
    *pool->waited_ns += clock_now_ns() - since_ns;
}

void pool_time_waiting(struct pool *pool, uint64_t *waited_ns) {
    pool->waited_ns = waited_ns;
}

enum status pool_create(struct pool **out, int threads, struct error *err) {
    *out = NULL;
    struct pool *pool = aligned_alloc(64, sizeof *pool);
    if (!pool)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the worker pool");
    memset(pool, 0, sizeof *pool);
    pool->workers = threads > 0 ? threads : cpu_count();
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->threads = calloc((size_t)pool->workers, sizeof *pool->threads);
    pool->arguments = calloc((size_t)pool->workers, sizeof *pool->arguments);
    pool->claims = aligned_alloc(64, (size_t)pool->workers * sizeof *pool->claims);
    if (pool->claims)
        memset(pool->claims, 0, (size_t)pool->workers * sizeof *pool->claims);
    if (!pool->threads || !pool->arguments || !pool->claims) {
        pool_destroy(pool);
        return error_set(err, STATUS_NO_MEMORY, "no memory for the worker pool");
    }
    for (int i = 1; i < pool->workers; i++) {
        pool->arguments[i] = (struct worker){.pool = pool, .index = i};
        if (pthread_create(&pool->threads[i], NULL, worker_main, &pool->arguments[i]) != 0) {
            pool_destroy(pool);
            return error_set(err, STATUS_NO_MEMORY, "cannot start worker thread %d", i);
        }
        pool->started = i;
    }
    *out = pool;
    return STATUS_OK;
}

void pool_destroy(struct pool *pool) {
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stopping, true);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 1; i <= pool->started; i++)
        pthread_join(pool->threads[i], NULL);
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->wake);
    pthread_cond_destroy(&pool->done);
    free(pool->threads);
    free(pool->arguments);
    free(pool->claims);
    free(pool);
}

int pool_workers(const struct pool *pool) {
    return pool->workers;
}

/* Takes the next of `parts` parts of a worker's slice; false when there is none. */
static bool take_part(struct pool *pool, int worker, uint32_t parts, uint32_t *part) {
    _Atomic uint64_t *taken = &pool->claims[worker].taken;
    uint64_t run = atomic_load_explicit(&pool->run, memory_order_relaxed);
    uint64_t seen = atomic_load_explicit(taken, memory_order_relaxed), next;
    do {
        *part = seen >> 32 == run ? (uint32_t)seen : 0;
        if (*part >= parts)
            return false;
        next = run << 32 | (*part + 1);
    } while (!atomic_compare_exchange_weak_explicit(taken, &seen, next, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

/* Looking at everybody's slice would cost many workers more than they gain. */
enum { NEIGHBORS = 4 };

bool pool_take(struct pool *pool, size_t total, size_t grain, int worker, size_t *begin,
               size_t *end) {
    for (int i = 0; i < pool->workers && i < NEIGHBORS; i++) {
        int owner = (worker + i) % pool->workers;
        size_t first, last;
        uint32_t part;
        pool_slice(total, grain, owner, pool->workers, &first, &last);
        if (!take_part(pool, owner, (uint32_t)((last - first + grain - 1) / grain), &part))
            continue;
        *begin = first + part * grain;
        *end = *begin + grain < last ? *begin + grain : last;
        return true;
    }
    return false;
}

void pool_slice(size_t total, size_t grain, int worker, int workers, size_t *begin, size_t *end) {
    assert(grain > 0);
    size_t grains = (total + grain - 1) / grain;
    size_t first = grains * (size_t)worker / (size_t)workers * grain;
    size_t last = grains * ((size_t)worker + 1) / (size_t)workers * grain;
    *begin = first < total ? first : total;
    *end = last < total ? last : total;
}
