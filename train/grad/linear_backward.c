#include "train/grad/linear_backward.h"

#include "base/pool.h"
#include "model/blas.h"
#include "model/kernels/kernels.h"
#include "model/pack_weights.h"

/* ---- fp32 ----------------------------------------------------------------- */

/* A worker's outputs [begin, end): their rows of the weight gradient, their biases. */
static void f32_parameters(const struct linear_gradient *t, size_t begin, size_t end) {
    size_t in = (size_t)t->linear->in, out = (size_t)t->linear->out;
    if (begin == end)
        return;
    blas_gemm(true, false, end - begin, in, t->rows, 1, t->dy + begin, out, t->x, in, 1,
              t->weight_grad + begin * in, in);
    const struct kernels *k = kernels_get();
    for (size_t r = 0; r < t->rows; r++)
        k->add(t->bias_grad + begin, t->dy + r * out + begin, end - begin);
}

static void f32_worker(void *context, int worker, int workers) {
    const struct linear_gradient *t = context;
    size_t in = (size_t)t->linear->in, out = (size_t)t->linear->out, begin, end;
    pool_slice(t->rows, 16, worker, workers, &begin, &end);
    if (begin < end)
        blas_gemm(false, false, end - begin, in, out, 1, t->dy + begin * out, out,
                  t->linear->weight, in, t->add ? 1 : 0, t->dx + begin * in, in);
    pool_slice(out, 16, worker, workers, &begin, &end);
    f32_parameters(t, begin, end);
}

/* ---- BF16, with the gradient of the inputs in BF16 or INT8 ----------------- */

static uint32_t *block_of(const struct linear_gradient *t, int worker) {
    const struct training_workspace *space = t->linear->packed->workspace;
    return space->blocks + (size_t)worker * space->block_words;
}

/* dx of rows [begin, end) as dy W in INT8, TRAINING_INT8_ROWS at a time. */
static void int8_inputs(const struct linear_gradient *t, int worker, size_t begin, size_t end) {
    const struct kernels *k = kernels_get();
    const struct int8_matrix *m = &t->linear->packed->int8_backward;
    const struct training_workspace *space = t->linear->packed->workspace;
    const struct linear_scratch *scratch = &space->int8[worker];
    float *products = space->products + (size_t)worker * space->product_floats;
    size_t row_bytes = linear_row_bytes(t->linear->out);
    for (size_t row = begin; row < end; row += TRAINING_INT8_ROWS) {
        size_t rows = end - row < TRAINING_INT8_ROWS ? end - row : TRAINING_INT8_ROWS;
        const float *dy = t->dy + row * m->in;
        float *dx = t->dx + row * m->out;
        for (size_t r = 0; r < rows; r++)
            k->quantize_row(scratch->rows + r * row_bytes, row_bytes, &scratch->quantizations[r],
                            dy + r * m->in, m->in);
        int8_kernels_get()->linear(m, scratch->rows, row_bytes, scratch->quantizations, rows, 0,
                                   int8_panels(m), t->add ? products : dx, m->out, false,
                                   (struct fetch_list){0});
        if (t->add)
            k->add(dx, products, rows * m->out);
    }
}

/* dx of a worker's rows, and its part of packing x for the second pass. */
static void bf16_inputs(void *context, int worker, int workers) {
    const struct linear_gradient *t = context;
    const struct packed_matrix *m = t->linear->packed;
    size_t in = (size_t)t->linear->in, out = (size_t)t->linear->out, begin, end;
    struct bf16_finish finish = {.add = t->add};
    pool_slice(t->rows, BF16_TILE_ROWS, worker, workers, &begin, &end);
    if (t->linear->dtype == DTYPE_INT8)
        int8_inputs(t, worker, begin, end);
    else
        bf16_multiply_rows(t->dx, in, in, t->dy, out, begin, end, m->bf16_backward,
                           block_of(t, worker), &finish);
    pool_slice(t->rows, 2, worker, workers, &begin, &end);
    bf16_kernels_get()->pack_columns(m->workspace->chunk + begin / 2 * BF16_TILE_COLUMNS,
                                     BF16_TILE_COLUMNS, (t->rows + 1) / 2, t->x + begin * in, in,
                                     end - begin, in, NULL);
}

/* A worker's outputs: their rows of the weight gradient, their biases. */
static void bf16_parameters(void *context, int worker, int workers) {
    const struct linear_gradient *t = context;
    size_t in = (size_t)t->linear->in, out = (size_t)t->linear->out, begin, end;
    size_t most = bf16_block_rows(t->rows);
    uint32_t *block = block_of(t, worker);
    struct bf16_finish finish = {.add = true};
    pool_slice(out, BF16_TILE_ROWS, worker, workers, &begin, &end);
    for (size_t o = begin; o < end; o += most) {
        size_t count = end - o < most ? end - o : most;
        bf16_kernels_get()->pack_columns(block, BF16_TILE_ROWS, (t->rows + 1) / 2, t->dy + o, out,
                                         t->rows, count, t->bias_grad + o);
        bf16_multiply(t->weight_grad + o * in, in, count, in, block,
                      t->linear->packed->workspace->chunk, (t->rows + 1) / 2, t->rows, &finish);
    }
}

static void bf16_backward(const struct linear_gradient *whole, struct pool *pool) {
    size_t in = (size_t)whole->linear->in, out = (size_t)whole->linear->out;
    for (size_t row = 0; row < whole->rows; row += TRAINING_CHUNK_ROWS) {
        struct linear_gradient part = *whole;
        part.x += row * in;
        part.dy += row * out;
        part.dx += row * in;
        size_t left = whole->rows - row;
        part.rows = left < TRAINING_CHUNK_ROWS ? left : TRAINING_CHUNK_ROWS;
        pool_run(pool, bf16_inputs, &part);
        pool_run(pool, bf16_parameters, &part);
    }
}

void linear_backward(struct pool *pool, struct linear_gradient gradient) {
    switch (gradient.linear->dtype) {
    case DTYPE_F32:
        pool_run(pool, f32_worker, &gradient);
        break;
    case DTYPE_BF16:
    case DTYPE_INT8:
        bf16_backward(&gradient, pool);
        break;
    }
}
