#include "base/pool.h"
#include "model/kernels/kernels.h"
#include "model/linear_dtypes.h"
#include "model/pack_weights.h"

struct task {
    struct pool *pool;
    struct linear_product block; /* at most LINEAR_SCRATCH_ROWS rows of the whole */
    const struct linear_scratch *scratch;
    size_t row_bytes;
};

static void quantize(void *context, int worker, int workers) {
    const struct task *t = context;
    const struct kernels *k = kernels_get();
    size_t in = (size_t)t->block.linear->in, begin, end;
    pool_slice(t->block.rows, 1, worker, workers, &begin, &end);
    for (size_t r = begin; r < end; r++)
        k->quantize_row(t->scratch->rows + r * t->row_bytes, t->row_bytes,
                        &t->scratch->quantizations[r], t->block.x + r * in, in);
}

enum {
    PART_PANELS = 8, /* tens of microseconds */
    FEW_ROWS = 8,    /* with fewer rows a worker's whole slice takes no longer */
};

static void multiply(void *context, int worker, int workers) {
    const struct task *t = context;
    const struct int8_matrix *matrix = &t->block.linear->packed->int8;
    size_t panels = int8_panels(matrix), slice = (panels + (size_t)workers - 1) / (size_t)workers;
    size_t grain = t->block.rows < FEW_ROWS ? (slice + 1) & ~(size_t)1 : PART_PANELS, begin, end;
    while (pool_take(t->pool, panels, grain, worker, &begin, &end))
        int8_kernels_get()->linear(matrix, t->scratch->rows, t->row_bytes,
                                   t->scratch->quantizations, t->block.rows, begin, end,
                                   t->block.y, matrix->out, t->block.relu,
                                   fetch_list_share(t->block.wanted, begin, end, panels));
}

enum { ALONE = 16384 }; /* fewer activations are quantized sooner than another worker wakes */

void linear_int8_forward(struct pool *pool, const struct linear_scratch *scratch,
                         const struct linear_product *product) {
    size_t in = (size_t)product->linear->in, out = (size_t)product->linear->out;
    struct task task = {pool, *product, scratch, linear_row_bytes(product->linear->in)};
    for (size_t row = 0; row < product->rows; row += LINEAR_SCRATCH_ROWS) {
        size_t left = product->rows - row;
        task.block.x = product->x + row * in;
        task.block.y = product->y + row * out;
        task.block.rows = left < LINEAR_SCRATCH_ROWS ? left : LINEAR_SCRATCH_ROWS;
        if (task.block.rows * in <= ALONE)
            quantize(&task, 0, 1);
        else
            pool_run(pool, quantize, &task);
        pool_run(pool, multiply, &task);
    }
}
