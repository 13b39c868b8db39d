#include "base/pool.h"

#include "base/clock.h"
#include "base/cpu.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A worker's place. Its parts of a stage are taken from `taken`, mostly by itself, and reported in
 * `done`, which the others watch: each has a cache line of its own, so that whoever waits does not
 * slow down who works. Both are a stage's number above a count of parts, and only grow. */
struct place {
    _Alignas(64) _Atomic uint64_t taken;
    /* The worker's own. */
    uint64_t stage;     /* the last that it began or, between stages, has seen the end of */
    int owner;          /* whose parts it has taken and not reported ... */
    uint32_t holding;   /* ... and how many */
    bool in_stage;
    _Alignas(64) _Atomic uint64_t done;
    atomic_bool inside; /* a walk */
};

/* Locking rule: what threads wait for (`run`, `stopping`, `done`, `inside`) and who says to be
 * sleeping (`idle`, `waiting`) change in one order that all threads agree on (sequentially
 * consistent): a thread says that it will sleep, looks once more and only then sleeps; the other
 * side changes what it looks at and then asks whether anybody sleeps. `lock` is held between the
 * last look and the sleep.
 * `run` is odd while there is a task. Walk, context and stage are written before; a thread that has
 * said that it is inside and then sees the same run knows that the caller waits for it. */
struct pool {
    int workers;
    int started; /* threads to join */
    pthread_t *threads;
    struct worker {
        struct pool *pool;
        int index;
    } *arguments;
    struct place *places; /* [workers] */

    uint64_t *waited_ns; /* the caller's; NULL: nobody wants to know */
    uint64_t barriers;

    pool_stages *walk;
    void *context;
    uint64_t stage; /* the last before this task's */

    _Alignas(64) _Atomic uint64_t run;
    atomic_bool stopping;
    _Alignas(64) atomic_int idle; /* threads that sleep until there is a task */
    atomic_int waiting;           /* threads that sleep inside one */
    pthread_mutex_t lock;
    pthread_cond_t wake;     /* run or stopping changed */
    pthread_cond_t progress; /* parts were done, or a thread has left */
};

enum {
    SPINS = 2000,     /* tens of microseconds */
    HELP_AFTER = 16,  /* spins; looking at what others have left slows them down */
};

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void say_progress(struct pool *pool) {
    if (atomic_load(&pool->waiting) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->progress);
        pthread_mutex_unlock(&pool->lock);
    }
}

/* ---- a stage ------------------------------------------------------------------- */

/* The first parts % workers of the slices have one part more than the others. */
struct parts {
    size_t total, grain; /* items */
    size_t each, more;   /* parts */
};

static struct parts parts_of(const struct pool *pool, size_t total, size_t grain) {
    size_t workers = (size_t)pool->workers, count = (total + grain - 1) / grain;
    assert(count < POOL_MAX_PARTS);
    return (struct parts){total, grain, count / workers, count % workers};
}

static size_t parts_in(const struct parts *parts, int slice) {
    return parts->each + ((size_t)slice < parts->more);
}

static size_t parts_before(const struct parts *parts, int slice) {
    size_t more = (size_t)slice < parts->more ? (size_t)slice : parts->more;
    return (size_t)slice * parts->each + more;
}

static uint64_t stage_word(uint64_t stage, size_t count) {
    return stage * POOL_MAX_PARTS + count;
}

/* Takes a part of the slice for `place`; false when there is none, or the stage is long over. */
static bool take_part(struct pool *pool, struct place *place, const struct parts *parts, int slice,
                      size_t *part) {
    _Atomic uint64_t *taken = &pool->places[slice].taken;
    uint64_t begin = stage_word(place->stage, 0);
    uint64_t end = stage_word(place->stage, parts_in(parts, slice));
    uint64_t seen = atomic_load_explicit(taken, memory_order_relaxed), now;
    do {
        now = seen > begin ? seen : begin;
        if (now >= end)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(taken, &seen, now + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    *part = parts_before(parts, slice) + (size_t)(now - begin);
    place->owner = slice;
    place->holding++;
    return true;
}

/* Says that the parts which it has taken are done. */
static void report(struct pool *pool, struct place *place) {
    if (place->holding == 0)
        return;
    _Atomic uint64_t *done = &pool->places[place->owner].done;
    uint64_t begin = stage_word(place->stage, 0), seen = atomic_load(done), now;
    do
        now = (seen > begin ? seen : begin) + place->holding;
    while (!atomic_compare_exchange_weak(done, &seen, now));
    place->holding = 0;
    say_progress(pool);
}

/* Looks at all slices before it answers, so that it waits for their cache lines together. */
static bool is_over(const struct pool *pool, const struct place *place, const struct parts *parts) {
    int slices = parts->each > 0 ? pool->workers : (int)parts->more;
    bool over = true;
    for (int i = 0; i < slices; i++)
        over &= atomic_load(&pool->places[i].done) >= stage_word(place->stage, parts_in(parts, i));
    return over;
}

static bool help(struct pool *pool, int worker, const struct parts *parts, size_t *part) {
    for (int i = 1; i < pool->workers; i++)
        if (take_part(pool, &pool->places[worker], parts, (worker + i) % pool->workers, part))
            return true;
    return false;
}

static void sleep_until_over(struct pool *pool, const struct place *place,
                             const struct parts *parts) {
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->waiting, 1);
    while (!is_over(pool, place, parts))
        pthread_cond_wait(&pool->progress, &pool->lock);
    atomic_fetch_sub(&pool->waiting, 1);
    pthread_mutex_unlock(&pool->lock);
}

/* Waits for the end of the stage, and returns false then; or true with a part to help with. */
static bool await_end(struct pool *pool, int worker, const struct parts *parts, size_t *part) {
    const struct place *place = &pool->places[worker];
    for (int i = 1; i <= SPINS; i++) {
        if (is_over(pool, place, parts))
            return false;
        if (i % HELP_AFTER == 0 && help(pool, worker, parts, part))
            return true;
        relax();
    }
    sleep_until_over(pool, place, parts);
    return false;
}

static bool take_or_wait(struct pool *pool, int worker, const struct parts *parts, size_t *part) {
    struct place *place = &pool->places[worker];
    if (place->holding == 0 || place->owner == worker)
        if (take_part(pool, place, parts, worker, part))
            return true;
    report(pool, place);
    if (worker > 0 || !pool->waited_ns)
        return await_end(pool, worker, parts, part);
    uint64_t since_ns = clock_now_ns();
    bool more = await_end(pool, worker, parts, part);
    *pool->waited_ns += clock_now_ns() - since_ns;
    return more;
}

/* `last`: what others are in the middle of is left to them. */
static bool take(struct pool *pool, int worker, bool last, const struct parts *parts,
                 size_t *begin, size_t *end) {
    struct place *place = &pool->places[worker];
    size_t part;
    if (!place->in_stage)
        place->stage++;
    if (last || pool->workers == 1)
        place->in_stage = take_part(pool, place, parts, worker, &part) ||
                          help(pool, worker, parts, &part);
    else
        place->in_stage = take_or_wait(pool, worker, parts, &part);
    if (!place->in_stage) {
        place->holding = 0;
        if (worker == 0 && !last)
            pool->barriers++;
        return false;
    }
    *begin = part * parts->grain;
    *end = parts->total - *begin < parts->grain ? parts->total : *begin + parts->grain;
    return true;
}

bool pool_take(struct pool *pool, int worker, size_t total, size_t grain, size_t *begin,
               size_t *end) {
    struct parts parts = parts_of(pool, total, grain);
    return take(pool, worker, false, &parts, begin, end);
}

bool pool_take_last(struct pool *pool, int worker, size_t total, size_t grain, size_t *begin,
                    size_t *end) {
    struct parts parts = parts_of(pool, total, grain);
    return take(pool, worker, true, &parts, begin, end);
}

void pool_stage(struct pool *pool, int worker, pool_task *task, void *context) {
    size_t begin, end;
    while (pool_take(pool, worker, (size_t)pool->workers, 1, &begin, &end))
        task(context, (int)begin, pool->workers);
}

/* ---- tasks --------------------------------------------------------------------- */

static bool has_work(struct pool *pool, uint64_t seen) {
    uint64_t run = atomic_load(&pool->run);
    return (run % 2 == 1 && run != seen) || atomic_load(&pool->stopping);
}

static void await_work(struct pool *pool, uint64_t seen) {
    for (int i = 0; i < SPINS; i++) {
        if (has_work(pool, seen))
            return;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->idle, 1);
    while (!has_work(pool, seen))
        pthread_cond_wait(&pool->wake, &pool->lock);
    atomic_fetch_sub(&pool->idle, 1);
    pthread_mutex_unlock(&pool->lock);
}

static void *worker_main(void *argument) {
    struct worker *self = argument;
    struct pool *pool = self->pool;
    struct place *place = &pool->places[self->index];
    uint64_t seen = 0;
    for (;;) {
        await_work(pool, seen);
        if (atomic_load(&pool->stopping))
            return NULL;
        seen = atomic_load(&pool->run);
        atomic_store(&place->inside, true);
        if (seen % 2 == 1 && atomic_load(&pool->run) == seen) {
            place->stage = pool->stage;
            pool->walk(pool->context, pool, self->index);
        }
        atomic_store(&place->inside, false);
        say_progress(pool);
    }
}

static bool all_have_left(const struct pool *pool) {
    bool left = true;
    for (int i = 1; i < pool->workers; i++)
        left &= !atomic_load(&pool->places[i].inside);
    return left;
}

static void await_leaving(struct pool *pool) {
    for (int i = 0; i < SPINS; i++) {
        if (all_have_left(pool))
            return;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->waiting, 1);
    while (!all_have_left(pool))
        pthread_cond_wait(&pool->progress, &pool->lock);
    atomic_fetch_sub(&pool->waiting, 1);
    pthread_mutex_unlock(&pool->lock);
}

void pool_walk(struct pool *pool, pool_stages *stages, void *context) {
    pool->barriers++; /* at its end */
    if (pool->workers == 1) {
        stages(context, pool, 0);
        return;
    }
    pool->walk = stages;
    pool->context = context;
    pool->stage = pool->places[0].stage;
    atomic_fetch_add(&pool->run, 1);
    if (atomic_load(&pool->idle) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->wake);
        pthread_mutex_unlock(&pool->lock);
    }
    stages(context, pool, 0);
    atomic_fetch_add(&pool->run, 1);
    uint64_t since_ns = pool->waited_ns ? clock_now_ns() : 0;
    await_leaving(pool);
    if (pool->waited_ns)
        *pool->waited_ns += clock_now_ns() - since_ns;
}

struct single {
    pool_task *task;
    void *context;
};

static void walk_single(void *context, struct pool *pool, int worker) {
    const struct single *single = context;
    size_t begin, end;
    while (pool_take_last(pool, worker, (size_t)pool->workers, 1, &begin, &end))
        single->task(single->context, (int)begin, pool->workers);
}

void pool_run(struct pool *pool, pool_task *task, void *context) {
    struct single single = {task, context};
    pool_walk(pool, walk_single, &single);
}

uint64_t pool_barriers(const struct pool *pool) {
    return pool->barriers;
}

void pool_time_waiting(struct pool *pool, uint64_t *waited_ns) {
    pool->waited_ns = waited_ns;
}

/* ---- the pool ------------------------------------------------------------------ */

enum status pool_create(struct pool **out, int threads, struct error *err) {
    *out = NULL;
    struct pool *pool = aligned_alloc(64, sizeof *pool);
    if (!pool)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the worker pool");
    memset(pool, 0, sizeof *pool);
    pool->workers = threads > 0 ? threads : cpu_count();
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->progress, NULL);
    pool->threads = calloc((size_t)pool->workers, sizeof *pool->threads);
    pool->arguments = calloc((size_t)pool->workers, sizeof *pool->arguments);
    pool->places = aligned_alloc(64, (size_t)pool->workers * sizeof *pool->places);
    if (pool->places)
        memset(pool->places, 0, (size_t)pool->workers * sizeof *pool->places);
    if (!pool->threads || !pool->arguments || !pool->places) {
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
    pthread_cond_destroy(&pool->progress);
    free(pool->threads);
    free(pool->arguments);
    free(pool->places);
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
