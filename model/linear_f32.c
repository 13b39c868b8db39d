#include "model/linear_dtypes.h"

#include "base/pool.h"
#include "model/blas.h"
#include "model/kernels/kernels.h"

enum {
    ROW_BLOCK = 512,   /* rows per product, so that bias and ReLU find y still in cache */
    COLUMN_GRAIN = 16, /* one vector register of outputs */
};

static void finish_rows(const struct linear_product *p, float *y, size_t rows, size_t begin,
                        size_t end) {
    const struct kernels *k = kernels_get();
    for (size_t r = 0; r < rows; r++)
        k->add_bias(y + r * (size_t)p->linear->out + begin, p->linear->bias + begin, end - begin,
                    p->relu);
}

/* Many rows: each worker takes its own rows, all outputs. */
static void by_rows(void *context, int worker, int workers) {
    const struct linear_product *p = context;
    size_t in = (size_t)p->linear->in, out = (size_t)p->linear->out, begin, end;
    pool_slice(p->rows, 16, worker, workers, &begin, &end);
    for (size_t r = begin; r < end; r += ROW_BLOCK) {
        size_t count = end - r < ROW_BLOCK ? end - r : ROW_BLOCK;
        blas_gemm(false, true, count, out, in, 1, p->x + r * in, in, p->linear->weight, in, 0,
                  p->y + r * out, out);
        finish_rows(p, p->y + r * out, count, 0, out);
    }
}

/* Few rows: the weights are the bulk, so each worker takes its own outputs. */
static void by_columns(void *context, int worker, int workers) {
    const struct linear_product *p = context;
    size_t in = (size_t)p->linear->in, out = (size_t)p->linear->out, begin, end;
    pool_slice(out, COLUMN_GRAIN, worker, workers, &begin, &end);
    if (begin == end)
        return;
    blas_gemm(false, true, p->rows, end - begin, in, 1, p->x, in, p->linear->weight + begin * in,
              in, 0, p->y + begin, out);
    finish_rows(p, p->y, p->rows, begin, end);
}

void linear_f32_multiply(struct pool *pool, int worker, const struct linear_product *product) {
    struct linear_product p = *product;
    size_t many = (size_t)pool_workers(pool) * 64;
    pool_stage(pool, worker, p.rows >= many ? by_rows : by_columns, &p);
}
