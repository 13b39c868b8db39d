#include "base/pool.h"
#include "model/linear_dtypes.h"
#include "model/pack_weights.h"

static void forward_worker(void *context, int worker, int workers) {
    const struct linear_product *p = context;
    const struct linear *l = p->linear;
    const struct training_workspace *space = l->packed->workspace;
    struct bf16_finish finish = {false, l->bias, p->relu};
    size_t begin, end;
    pool_slice(p->rows, BF16_TILE_ROWS, worker, workers, &begin, &end);
    bf16_multiply_rows(p->y, (size_t)l->out, (size_t)l->out, p->x, (size_t)l->in, begin, end,
                       l->packed->bf16, space->blocks + (size_t)worker * space->block_words,
                       &finish);
}

void linear_bf16_multiply(struct pool *pool, int worker, const struct linear_product *product) {
    struct linear_product p = *product;
    pool_stage(pool, worker, forward_worker, &p);
}
