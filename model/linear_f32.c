#include "model/linear_dtypes.h"

#include "base/pool.h"
#include "model/blas.h"
#include "model/kernels/kernels.h"

struct task {
    const struct linear *linear;
    const float *x;
    size_t rows;
    float *y;
    bool relu;
};

enum {
    ROW_BLOCK = 512,   /* rows per product, so that bias and ReLU find y still in cache */
    COLUMN_GRAIN = 16, /* one vector register of outputs */
};

static void finish_rows(const struct linear *linear, float *y, size_t rows, size_t begin,
                        size_t end, bool relu) {
    const struct kernels *k = kernels_get();
    for (size_t r = 0; r < rows; r++)
        k->add_bias(y + r * (size_t)linear->out + begin, linear->bias + begin, end - begin, relu);
}

/* Many rows: each worker takes its own rows, all outputs. */
static void by_rows(void *context, int worker, int workers) {
    const struct task *t = context;
    size_t in = (size_t)t->linear->in, out = (size_t)t->linear->out, begin, end;
    pool_slice(t->rows, 16, worker, workers, &begin, &end);
    for (size_t r = begin; r < end; r += ROW_BLOCK) {
        size_t count = end - r < ROW_BLOCK ? end - r : ROW_BLOCK;
        blas_gemm(false, true, count, out, in, 1, t->x + r * in, in, t->linear->weight, in, 0,
                  t->y + r * out, out);
        finish_rows(t->linear, t->y + r * out, count, 0, out, t->relu);
    }
}

/* Few rows: the weights are the bulk, so each worker takes its own outputs. */
static void by_columns(void *context, int worker, int workers) {
    const struct task *t = context;
    size_t in = (size_t)t->linear->in, out = (size_t)t->linear->out, begin, end;
    pool_slice(out, COLUMN_GRAIN, worker, workers, &begin, &end);
    if (begin == end)
        return;
    blas_gemm(false, true, t->rows, end - begin, in, 1, t->x, in, t->linear->weight + begin * in,
              in, 0, t->y + begin, out);
    finish_rows(t->linear, t->y, t->rows, begin, end, t->relu);
}

void linear_f32_forward(const struct linear *linear, struct pool *pool,
                        const struct linear_scratch *scratch, const float *x, size_t rows,
                        float *y, bool relu) {
    (void)scratch;
    struct task task = {linear, x, rows, y, relu};
    size_t many = (size_t)pool_workers(pool) * 64;
    pool_run(pool, rows >= many ? by_rows : by_columns, &task);
}
