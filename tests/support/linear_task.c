#include "tests/support/linear_task.h"

#include "base/pool.h"

static void walk(void *product, struct pool *pool, int worker) {
    linear_prepare(pool, worker, product);
    linear_multiply(pool, worker, product);
}

void linear_task(struct pool *pool, struct linear_product product) {
    pool_walk(pool, walk, &product);
}
