#include "model/linear_int8.h"

#include "base/pool.h"
#include "model/kernels/kernels.h"
#include "model/linear_dtypes.h"

#include <assert.h>
#include <string.h>

/* ---- weights ---------------------------------------------------------------- */

static size_t panel_count(const struct int8_matrix *matrix) {
    return (matrix->out + INT8_PANEL - 1) / INT8_PANEL;
}

void int8_matrix_layout(struct int8_matrix *matrix, int in, int out, struct arena *arena) {
    assert(in <= INT8_MAX_IN);
    *matrix = (struct int8_matrix){.in = (size_t)in, .out = (size_t)out};
    matrix->groups = (matrix->in + INT8_GROUP - 1) / INT8_GROUP;
    size_t panels = panel_count(matrix);
    matrix->bytes = arena_take(arena, panels * matrix->groups, INT8_GROUP_BYTES);
    matrix->scales = arena_take(arena, panels * INT8_PANEL, sizeof *matrix->scales);
    matrix->sums = arena_take(arena, panels * INT8_PANEL, sizeof *matrix->sums);
    matrix->bias = arena_take(arena, panels * INT8_PANEL, sizeof *matrix->bias);
}

static void fill_row(const struct int8_matrix *m, size_t row, const float *weight, float bias) {
    int8_t bytes[INT8_MAX_IN];
    m->scales[row] =
        kernels_get()->quantize_signed(bytes, (m->in + 15) & ~(size_t)15, weight, m->in);
    int8_t *to = m->bytes + row / INT8_PANEL * m->groups * INT8_GROUP_BYTES +
                 row % INT8_PANEL * INT8_GROUP;
    for (size_t g = 0; g < m->groups; g++)
        memcpy(to + g * INT8_GROUP_BYTES, bytes + g * INT8_GROUP, INT8_GROUP);
    int32_t sum = 0;
    for (size_t i = 0; i < m->in; i++)
        sum += bytes[i];
    m->sums[row] = sum;
    m->bias[row] = bias;
}

void int8_matrix_fill_rows(const struct int8_matrix *m, size_t first, size_t count,
                           const float *weight, const float *bias) {
    for (size_t i = 0; i < count; i++)
        fill_row(m, first + i, weight + i * m->in, bias[i]);
}

void int8_matrix_fill(const struct int8_matrix *m, const float *weight, const float *bias) {
    int8_matrix_fill_rows(m, 0, m->out, weight, bias);
}

/* ---- the product -------------------------------------------------------------- */

struct task {
    const struct int8_matrix *matrix;
    const struct linear_scratch *scratch;
    const float *x;
    size_t rows, row_bytes;
    float *y;
    bool relu;
};

static void quantize(void *context, int worker, int workers) {
    const struct task *t = context;
    const struct kernels *k = kernels_get();
    size_t begin, end;
    pool_slice(t->rows, 1, worker, workers, &begin, &end);
    for (size_t r = begin; r < end; r++)
        k->quantize_row(t->scratch->rows + r * t->row_bytes, t->row_bytes,
                        &t->scratch->quantizations[r], t->x + r * t->matrix->in, t->matrix->in);
}

static void multiply(void *context, int worker, int workers) {
    const struct task *t = context;
    size_t begin, end;
    pool_slice(panel_count(t->matrix), 2, worker, workers, &begin, &end);
    if (begin < end)
        int8_kernels_get()->linear(t->matrix, t->scratch->rows, t->row_bytes,
                                   t->scratch->quantizations, t->rows, begin, end, t->y,
                                   t->matrix->out, t->relu);
}

enum { ALONE = 4096 }; /* fewer activations are quantized sooner than another worker wakes */

void linear_int8_forward(const struct linear *linear, struct pool *pool,
                         const struct linear_scratch *scratch, const float *x, size_t rows,
                         float *y, bool relu) {
    struct task task = {.matrix = linear->int8,
                        .scratch = scratch,
                        .row_bytes = linear_row_bytes(linear->in),
                        .relu = relu};
    for (size_t row = 0; row < rows; row += LINEAR_SCRATCH_ROWS) {
        task.x = x + row * (size_t)linear->in;
        task.y = y + row * (size_t)linear->out;
        task.rows = rows - row < LINEAR_SCRATCH_ROWS ? rows - row : LINEAR_SCRATCH_ROWS;
        if (task.rows * (size_t)linear->in <= ALONE)
            quantize(&task, 0, 1);
        else
            pool_run(pool, quantize, &task);
        pool_run(pool, multiply, &task);
    }
}
