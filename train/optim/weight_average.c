#include "train/optim/weight_average.h"

#include "base/pool.h"

#include <string.h>

double weight_average_share(const struct weight_average *average, uint64_t step) {
    if (step < average->first)
        return 0;
    /* A young average is a plain mean, so that its first weights do not linger. */
    double mean = 1.0 / (double)(step - average->first + 1);
    return mean > 1 - average->decay ? mean : 1 - average->decay;
}

struct task {
    float *a, *b;
    const float *values;
    size_t count;
    float share;
};

static void add_worker(void *context, int worker, int workers) {
    const struct task *t = context;
    size_t begin, end;
    pool_slice(t->count, 16, worker, workers, &begin, &end);
    if (t->share >= 1) { /* exactly, not up to rounding */
        memcpy(t->a + begin, t->values + begin, (end - begin) * sizeof(float));
        return;
    }
    for (size_t i = begin; i < end; i++)
        t->a[i] += t->share * (t->values[i] - t->a[i]);
}

void weight_average_add(float *average, const float *values, size_t count, double share,
                        struct pool *pool) {
    struct task task = {.a = average, .values = values, .count = count, .share = (float)share};
    pool_run(pool, add_worker, &task);
}

static void swap_worker(void *context, int worker, int workers) {
    const struct task *t = context;
    size_t begin, end;
    pool_slice(t->count, 16, worker, workers, &begin, &end);
    for (size_t i = begin; i < end; i++) {
        float kept = t->a[i];
        t->a[i] = t->b[i];
        t->b[i] = kept;
    }
}

void weight_average_swap(float *a, float *b, size_t count, struct pool *pool) {
    struct task task = {.a = a, .b = b, .count = count};
    pool_run(pool, swap_worker, &task);
}
