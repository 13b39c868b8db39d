#include "train/grad/linear_backward.h"

#include "base/pool.h"
#include "model/blas.h"
#include "model/kernels/kernels.h"
#include "model/linear_bf16.h"
#include "train/grad/int8_set.h"

struct task {
    const struct linear *linear;
    const float *x, *dy; /* [rows, in], [rows, out] */
    size_t rows;
    float *weight_grad, *bias_grad, *dx;
    bool add;
};

/* ---- fp32 ----------------------------------------------------------------- */

/* A worker's outputs [begin, end): their rows of the weight gradient, their biases. */
static void f32_parameters(const struct task *t, size_t begin, size_t end) {
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
    const struct task *t = context;
    size_t in = (size_t)t->linear->in, out = (size_t)t->linear->out, begin, end;
    pool_slice(t->rows, 16, worker, workers, &begin, &end);
    if (begin < end)
        blas_gemm(false, false, end - begin, in, out, 1, t->dy + begin * out, out,
                  t->linear->weight, in, t->add ? 1 : 0, t->dx + begin * in, in);
    pool_slice(out, 16, worker, workers, &begin, &end);
    f32_parameters(t, begin, end);
}

/* ---- bf16, with the gradient of the inputs in bf16 or int8 ----------------- */

static uint32_t *room_of(const struct task *t, int worker) {
    const struct bf16_workspace *w = t->linear->bf16->workspace;
    return w->workers + (size_t)worker * w->worker_words;
}

/* dx of a worker's rows, and its share of packing x for the second pass. */
static void bf16_inputs(void *context, int worker, int workers) {
    const struct task *t = context;
    const struct bf16_matrix *m = t->linear->bf16;
    size_t in = (size_t)t->linear->in, out = (size_t)t->linear->out, begin, end;
    struct bf16_finish finish = {.add = t->add};
    pool_slice(t->rows, BF16_TILE_ROWS, worker, workers, &begin, &end);
    if (t->linear->dtype == DTYPE_INT8)
        int8_input_gradient(t->linear, worker, t->dy, begin, end, t->dx, t->add);
    else
        bf16_multiply_rows(t->dx, in, in, t->dy, out, begin, end, m->backward,
                           room_of(t, worker), &finish);
    pool_slice(t->rows, 2, worker, workers, &begin, &end);
    bf16_kernels_get()->pack_columns(m->workspace->chunk + begin / 2 * BF16_TILE_COLUMNS,
                                     BF16_TILE_COLUMNS, (t->rows + 1) / 2, t->x + begin * in, in,
                                     end - begin, in, NULL);
}

/* A worker's outputs: their rows of the weight gradient, their biases. */
static void bf16_parameters(void *context, int worker, int workers) {
    const struct task *t = context;
    size_t in = (size_t)t->linear->in, out = (size_t)t->linear->out, begin, end;
    size_t block = bf16_block_rows(t->rows);
    uint32_t *room = room_of(t, worker);
    struct bf16_finish finish = {.add = true};
    pool_slice(out, BF16_TILE_ROWS, worker, workers, &begin, &end);
    for (size_t o = begin; o < end; o += block) {
        size_t count = end - o < block ? end - o : block;
        bf16_kernels_get()->pack_columns(room, BF16_TILE_ROWS, (t->rows + 1) / 2, t->dy + o, out,
                                         t->rows, count, t->bias_grad + o);
        bf16_multiply(t->weight_grad + o * in, in, count, in, room,
                      t->linear->bf16->workspace->chunk, (t->rows + 1) / 2, t->rows, &finish);
    }
}

static void bf16_backward(const struct task *whole, struct pool *pool) {
    size_t in = (size_t)whole->linear->in, out = (size_t)whole->linear->out;
    for (size_t row = 0; row < whole->rows; row += BF16_CHUNK_ROWS) {
        struct task part = *whole;
        part.x += row * in;
        part.dy += row * out;
        part.dx += row * in;
        part.rows = whole->rows - row < BF16_CHUNK_ROWS ? whole->rows - row : BF16_CHUNK_ROWS;
        pool_run(pool, bf16_inputs, &part);
        pool_run(pool, bf16_parameters, &part);
    }
}

void linear_backward(const struct linear *linear, struct pool *pool, const float *x,
                     const float *dy, size_t rows, float *weight_grad, float *bias_grad,
                     float *dx, bool add) {
    struct task task = {linear, x, dy, rows, weight_grad, bias_grad, dx, add};
    switch (linear->dtype) {
    case DTYPE_F32:
        pool_run(pool, f32_worker, &task);
        break;
    case DTYPE_BF16:
    case DTYPE_INT8:
        bf16_backward(&task, pool);
        break;
    }
}
