/* The worker pool: slices that tile, tasks that run exactly once, sleep and wake. */
#include "base/pool.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static struct pool *create(int threads) {
    struct pool *pool;
    assert_int_equal(pool_create(&pool, threads, NULL), STATUS_OK);
    return pool;
}

static void test_slices_tile_the_total(void **state) {
    (void)state;
    static const size_t totals[] = {0, 1, 5, 16, 17, 100, 1000, 12345};
    static const size_t grains[] = {1, 3, 16, 64, 100000};
    for (size_t t = 0; t < sizeof totals / sizeof *totals; t++) {
        for (size_t g = 0; g < sizeof grains / sizeof *grains; g++) {
            for (int workers = 1; workers <= 9; workers++) {
                size_t expected = 0, begin, end;
                for (int w = 0; w < workers; w++, expected = end) {
                    pool_slice(totals[t], grains[g], w, workers, &begin, &end);
                    assert_true(begin == expected && begin <= end);
                    assert_true(end == totals[t] || end % grains[g] == 0);
                    /* nobody has a whole grain more than the fair share */
                    assert_true(end - begin < totals[t] / (size_t)workers + 2 * grains[g]);
                }
                assert_int_equal(expected, totals[t]);
            }
        }
    }
}

enum { MAX_WORKERS = 16 };

struct tally {
    int calls[MAX_WORKERS]; /* each worker touches its own */
    int workers;
    long long sums[MAX_WORKERS];
    const int *values;
    size_t count;
};

static void count_call(void *context, int worker, int workers) {
    struct tally *tally = context;
    tally->calls[worker]++;
    if (worker == 0)
        tally->workers = workers;
}

static void test_every_worker_runs_once(void **state) {
    (void)state;
    static const int sizes[] = {1, 2, 3, 8, MAX_WORKERS};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct pool *pool = create(sizes[i]);
        assert_int_equal(pool_workers(pool), sizes[i]);
        struct tally tally = {.workers = 0};
        enum { RUNS = 200 };
        for (int run = 1; run <= RUNS; run++) {
            pool_run(pool, count_call, &tally);
            for (int w = 0; w < MAX_WORKERS; w++) /* all have finished when it returns */
                assert_int_equal(tally.calls[w], w < sizes[i] ? run : 0);
        }
        assert_int_equal(tally.workers, sizes[i]);
        pool_destroy(pool);
    }
}

static void sum_slice(void *context, int worker, int workers) {
    struct tally *tally = context;
    size_t begin, end;
    pool_slice(tally->count, 4, worker, workers, &begin, &end);
    tally->sums[worker] = 0;
    for (size_t i = begin; i < end; i++)
        tally->sums[worker] += tally->values[i];
}

/* What the caller wrote is seen by the tasks, and what they wrote by the caller. */
static void test_memory_is_visible_both_ways(void **state) {
    (void)state;
    enum { COUNT = 1001, ROUNDS = 300 };
    static int values[COUNT];
    struct pool *pool = create(3);
    for (int round = 1; round <= ROUNDS; round++) {
        struct tally tally = {.values = values, .count = COUNT};
        for (int i = 0; i < COUNT; i++)
            values[i] = round * i;
        pool_run(pool, sum_slice, &tally);
        long long sum = 0;
        for (int w = 0; w < 3; w++)
            sum += tally.sums[w];
        assert_int_equal(sum, (long long)round * COUNT * (COUNT - 1) / 2);
    }
    pool_destroy(pool);
}

/* Pauses long enough for the workers to stop spinning, so both ways of waiting are used. */
static void nap(void) {
    nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
}

static void uneven(void *context, int worker, int workers) {
    struct tally *tally = context;
    if (worker == workers - 1)
        nap(); /* the caller has to wait for the slowest */
    tally->calls[worker]++;
}

static void test_sleeping_workers_wake(void **state) {
    (void)state;
    struct pool *pool = create(4);
    struct tally tally = {.workers = 0};
    for (int run = 1; run <= 20; run++) {
        nap();
        pool_run(pool, uneven, &tally);
        for (int w = 0; w < 4; w++)
            assert_int_equal(tally.calls[w], run);
    }
    pool_destroy(pool);
}

/* ---- parts of slices ------------------------------------------------------- */

enum { MAX_ITEMS = 1000 };

struct parts {
    size_t total, grain;
    atomic_int taken[MAX_ITEMS]; /* how often each item was */
    atomic_bool malformed;
};

static void take_all(void *context, struct pool *pool, int worker) {
    struct parts *parts = context;
    size_t begin, end;
    while (pool_take(pool, worker, parts->total, parts->grain, &begin, &end)) {
        if (begin >= end || end > parts->total || end - begin > parts->grain)
            atomic_store(&parts->malformed, true);
        for (size_t i = begin; i < end; i++)
            atomic_fetch_add(&parts->taken[i], 1);
    }
}

static void test_parts_take_every_item_once(void **state) {
    (void)state;
    static const size_t totals[] = {0, 1, 7, 64, MAX_ITEMS};
    static const size_t grains[] = {1, 3, 8, 5000};
    static const int sizes[] = {1, 2, 3, 9};
    static struct parts parts;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct pool *pool = create(sizes[i]);
        for (size_t t = 0; t < 20; t++) {
            parts.total = totals[t % 5];
            parts.grain = grains[t / 5];
            for (int run = 0; run < 20; run++) {
                memset(parts.taken, 0, sizeof parts.taken);
                pool_walk(pool, take_all, &parts);
                for (size_t item = 0; item < MAX_ITEMS; item++)
                    assert_int_equal(parts.taken[item], item < parts.total);
            }
        }
        assert_false(parts.malformed);
        pool_destroy(pool);
    }
}

enum { STAGES = 60, STAGE_ITEMS = 300 };

struct chain {
    int rows[STAGES + 1][STAGE_ITEMS];
    bool late; /* the last worker enters when others have gone through many stages */
};

/* Each stage adds one to what the one before it wrote, every item from another place; there are
 * empty stages between, and stages with fewer parts than workers. */
static void add_up(void *context, struct pool *pool, int worker) {
    struct chain *chain = context;
    if (chain->late && worker == pool_workers(pool) - 1)
        nap();
    for (int stage = 0; stage < STAGES; stage++) {
        size_t begin, end, total = stage % 3 ? STAGE_ITEMS : 0, grain = stage % 2 ? 7 : 200;
        while (pool_take(pool, worker, total, grain, &begin, &end))
            for (size_t i = begin; i < end; i++)
                chain->rows[stage + 1][i] = chain->rows[stage][STAGE_ITEMS - 1 - i] + 1;
        while (total == 0 && pool_take(pool, worker, 1, 1, &begin, &end))
            memcpy(chain->rows[stage + 1], chain->rows[stage], sizeof chain->rows[stage]);
    }
}

/* Every item of a row has this value in the end. There is a barrier behind each stage of add_up(),
 * and one at the end of the walk, which is that of a last stage too. */
static void assert_adds_up(pool_stages *stages, int row, int value) {
    static const int sizes[] = {1, 2, 5};
    static struct chain chain;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct pool *pool = create(sizes[i]);
        for (int run = 0; run < 30; run++) {
            memset(chain.rows, 0, sizeof chain.rows);
            chain.late = run % 3 == 0;
            uint64_t before = pool_barriers(pool);
            pool_walk(pool, stages, &chain);
            for (int item = 0; item < STAGE_ITEMS; item++)
                assert_int_equal(chain.rows[row][item], value);
            assert_int_equal(pool_barriers(pool) - before, STAGES + STAGES / 3 + 1);
        }
        pool_destroy(pool);
    }
}

static void test_a_stage_begins_when_the_one_before_it_is_done(void **state) {
    (void)state;
    assert_adds_up(add_up, STAGES, STAGES - STAGES / 3);
}

/* Adds up, and then once more in a last stage, where the parts at the end may take long. */
static void add_up_and_leave(void *context, struct pool *pool, int worker) {
    struct chain *chain = context;
    size_t begin, end;
    add_up(context, pool, worker);
    while (pool_take_last(pool, worker, STAGE_ITEMS, 7, &begin, &end)) {
        if (chain->late && end == STAGE_ITEMS)
            nap();
        for (size_t i = begin; i < end; i++)
            chain->rows[0][i] = chain->rows[STAGES][i] + 1;
    }
}

static void test_a_walk_ends_with_its_last_stage(void **state) {
    (void)state;
    assert_adds_up(add_up_and_leave, 0, STAGES - STAGES / 3 + 1);
}

struct stall {
    atomic_bool began, others_done;
    size_t first_took, others_took;
};

enum { STALL_ITEMS = 64 };

/* Worker 0 loses its core, so to speak, in the middle of its first part. */
static void stall_in_a_part(void *context, struct pool *pool, int worker) {
    struct stall *stall = context;
    size_t begin, end;
    if (worker == 0) {
        while (pool_take(pool, worker, STALL_ITEMS, 1, &begin, &end)) {
            stall->first_took += end - begin;
            atomic_store(&stall->began, true);
            while (!atomic_load(&stall->others_done))
                sched_yield();
        }
        return;
    }
    while (!atomic_load(&stall->began))
        sched_yield();
    while (pool_take(pool, worker, STALL_ITEMS, 1, &begin, &end)) {
        stall->others_took += end - begin;
        if (stall->others_took == STALL_ITEMS - 1)
            atomic_store(&stall->others_done, true);
    }
}

static void test_others_take_the_parts_of_a_worker_without_a_core(void **state) {
    (void)state;
    struct pool *pool = create(2);
    struct stall stall = {.first_took = 0};
    pool_walk(pool, stall_in_a_part, &stall);
    assert_int_equal(stall.first_took, 1);
    assert_int_equal(stall.others_took, STALL_ITEMS - 1);
    pool_destroy(pool);
}

static void test_pools_come_and_go(void **state) {
    (void)state;
    struct tally tally = {.workers = 0};
    for (int i = 0; i < 50; i++) {
        struct pool *pool = create(1 + i % 5);
        if (i % 2)
            pool_run(pool, count_call, &tally);
        pool_destroy(pool); /* also one that never ran anything */
    }
    assert_int_equal(tally.calls[0], 25);
    struct pool *pool = create(0); /* as many as the process may use */
    assert_true(pool_workers(pool) >= 1);
    pool_destroy(pool);
    pool_destroy(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slices_tile_the_total),
        cmocka_unit_test(test_every_worker_runs_once),
        cmocka_unit_test(test_memory_is_visible_both_ways),
        cmocka_unit_test(test_sleeping_workers_wake),
        cmocka_unit_test(test_parts_take_every_item_once),
        cmocka_unit_test(test_a_stage_begins_when_the_one_before_it_is_done),
        cmocka_unit_test(test_a_walk_ends_with_its_last_stage),
        cmocka_unit_test(test_others_take_the_parts_of_a_worker_without_a_core),
        cmocka_unit_test(test_pools_come_and_go),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
