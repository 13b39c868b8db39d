#include "base/pool.h"

#include "base/cpu.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

/* Locking rule: `generation`, `remaining` and `stopping` change under `lock`
 * when somebody may sleep on them; the spinning readers only load. The task is
 * written before `generation` is released and read after it is acquired. */
struct pool {
    int workers;
    int started; /* threads to join */
    pthread_t *threads;
    struct worker {
        struct pool *pool;
        int index;
    } *arguments;

    pool_task *task;
    void *context;

    atomic_uint generation; /* grows by one for every task */
    atomic_int remaining;   /* workers still on the current task */
    atomic_bool stopping;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* generation or stopping changed */
    pthread_cond_t done; /* remaining reached 0 */
};

enum { SPINS = 2000 }; /* a few microseconds */

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool has_news(struct pool *pool, unsigned seen) {
    return atomic_load_explicit(&pool->generation, memory_order_acquire) != seen ||
           atomic_load_explicit(&pool->stopping, memory_order_acquire);
}

static void *worker_main(void *argument) {
    struct worker *self = argument;
    struct pool *pool = self->pool;
    unsigned seen = 0;
    for (;;) {
        for (int i = 0; i < SPINS && !has_news(pool, seen); i++)
            relax();
        if (!has_news(pool, seen)) {
            pthread_mutex_lock(&pool->lock);
            while (!has_news(pool, seen))
                pthread_cond_wait(&pool->wake, &pool->lock);
            pthread_mutex_unlock(&pool->lock);
        }
        if (atomic_load_explicit(&pool->stopping, memory_order_acquire))
            return NULL;
        seen++;
        pool->task(pool->context, self->index, pool->workers);
        if (atomic_fetch_sub_explicit(&pool->remaining, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->done);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

void pool_run(struct pool *pool, pool_task *task, void *context) {
    if (pool->workers == 1) {
        task(context, 0, 1);
        return;
    }
    pool->task = task;
    pool->context = context;
    atomic_store_explicit(&pool->remaining, pool->workers - 1, memory_order_relaxed);
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);

    task(context, 0, pool->workers);

    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&pool->remaining, memory_order_acquire) == 0)
            return;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load_explicit(&pool->remaining, memory_order_acquire) != 0)
        pthread_cond_wait(&pool->done, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}

enum status pool_create(struct pool **out, int threads, struct error *err) {
    *out = NULL;
    struct pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the worker pool");
    pool->workers = threads > 0 ? threads : cpu_count();
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->threads = calloc((size_t)pool->workers, sizeof *pool->threads);
    pool->arguments = calloc((size_t)pool->workers, sizeof *pool->arguments);
    if (!pool->threads || !pool->arguments) {
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
    free(pool);
}

int pool_workers(const struct pool *pool) {
    return pool->workers;
}

void pool_slice(size_t total, size_t grain, int worker, int workers, size_t *begin, size_t *end) {
    assert(grain > 0);
    size_t grains = (total + grain - 1) / grain;
    size_t first = grains * (size_t)worker / (size_t)workers * grain;
    size_t last = grains * ((size_t)worker + 1) / (size_t)workers * grain;
    *begin = first < total ? first : total;
    *end = last < total ? last : total;
}
