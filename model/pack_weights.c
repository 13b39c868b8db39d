#include "model/pack_weights.h"

#include "base/pool.h"
#include "model/kernels/kernels.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- INT8, one matrix ----------------------------------------------------- */

void int8_matrix_layout(struct int8_matrix *matrix, int in, int out, struct arena *arena) {
    assert(in <= INT8_MAX_IN);
    *matrix = (struct int8_matrix){.in = (size_t)in, .out = (size_t)out};
    matrix->groups = (matrix->in + INT8_GROUP - 1) / INT8_GROUP;
    size_t panels = int8_panels(matrix);
    matrix->bytes = arena_take(arena, panels * matrix->groups, INT8_GROUP_BYTES);
    matrix->scales = arena_take(arena, panels * INT8_PANEL, sizeof *matrix->scales);
    matrix->sums = arena_take(arena, panels * INT8_PANEL, sizeof *matrix->sums);
    matrix->bias = arena_take(arena, panels * INT8_PANEL, sizeof *matrix->bias);
}

static void pack_int8_row(const struct int8_matrix *m, size_t row, const float *weight,
                          float bias) {
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

void int8_matrix_pack(const struct int8_matrix *matrix, const float *weight, const float *bias) {
    for (size_t row = 0; row < matrix->out; row++)
        pack_int8_row(matrix, row, weight + row * matrix->in, bias[row]);
}

_Static_assert((int)TRAINING_INT8_ROWS <= (int)LINEAR_SCRATCH_ROWS, "a block has its scratch");

/* ---- memory of a model in training ---------------------------------------- */

struct packed_weights {
    struct model *model;
    bool gradients;
    int count, workers;
    size_t widest_in, widest_out;
    struct linear *linears[MODEL_MAX_LINEARS];
    struct packed_matrix matrices[MODEL_MAX_LINEARS];
    struct training_workspace workspace;
    float *columns; /* [workers, INT8_PANEL, widest output] of a matrix, transposed */
    struct arena arena;
};

static void layout_matrix(struct packed_matrix *m, const struct linear *l, bool gradients,
                          struct arena *arena) {
    size_t in = (size_t)l->in, out = (size_t)l->out;
    if (l->dtype == DTYPE_INT8) {
        int8_matrix_layout(&m->int8, l->in, l->out, arena);
        if (gradients)
            int8_matrix_layout(&m->int8_backward, l->out, l->in, arena);
        return;
    }
    m->bf16 = arena_take(arena, bf16_packed_words(out, BF16_TILE_COLUMNS, in), sizeof *m->bf16);
    if (gradients)
        m->bf16_backward = arena_take(arena, bf16_packed_words(in, BF16_TILE_COLUMNS, out),
                                      sizeof *m->bf16_backward);
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

static void layout(void *context, struct arena *arena) {
    struct packed_weights *w = context;
    struct training_workspace *space = &w->workspace;
    size_t workers = (size_t)w->workers;
    for (int i = 0; i < w->count; i++) {
        w->matrices[i].workspace = space;
        layout_matrix(&w->matrices[i], w->linears[i], w->gradients, arena);
    }
    size_t deepest = larger(larger(w->widest_in, w->widest_out), TRAINING_CHUNK_ROWS);
    space->block_words = (bf16_block_words(deepest) + 15) / 16 * 16;
    space->blocks = arena_take(arena, workers * space->block_words, sizeof *space->blocks);
    if (!w->gradients)
        return;
    space->chunk = arena_take(
        arena, bf16_packed_words(w->widest_in, BF16_TILE_COLUMNS, TRAINING_CHUNK_ROWS),
        sizeof *space->chunk);
    space->product_floats = TRAINING_INT8_ROWS * w->widest_in;
    space->products = arena_take(arena, workers * space->product_floats, sizeof(float));
    w->columns = arena_take(arena, workers * INT8_PANEL * w->widest_out, sizeof(float));
    space->int8 = arena_take(arena, workers, sizeof *space->int8);
    for (size_t i = 0; i < workers; i++) {
        struct linear_scratch scratch;
        linear_scratch_layout(&scratch, (int)w->widest_out, 0, arena);
        if (space->int8)
            space->int8[i] = scratch;
    }
}

enum status packed_weights_create(struct packed_weights **out, struct model *model,
                                  enum dtype dtype, bool gradients, struct pool *pool,
                                  struct error *err) {
    *out = NULL;
    if (dtype == DTYPE_F32)
        return STATUS_OK;
    if (!bf16_available())
        return error_set_field(err, STATUS_UNSUPPORTED, "numeric",
                               "this CPU has no BF16 products (avx512_bf16)");
    struct packed_weights *w = calloc(1, sizeof *w);
    if (!w)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the packed weights");
    w->model = model;
    w->gradients = gradients;
    w->workers = pool_workers(pool);
    w->count = model_linears(model, w->linears);
    for (int i = 0; i < w->count; i++) {
        struct linear *l = w->linears[i];
        l->dtype = l == &model->head ? DTYPE_BF16 : dtype;
        l->packed = &w->matrices[i];
        w->widest_in = larger(w->widest_in, (size_t)l->in);
        w->widest_out = larger(w->widest_out, (size_t)l->out);
    }
    model->attention_dtype = DTYPE_BF16;
    enum status status = arena_build(&w->arena, layout, w, err);
    if (status != STATUS_OK) {
        packed_weights_destroy(w);
        return status;
    }
    packed_weights_refresh(w, pool);
    *out = w;
    return STATUS_OK;
}

void packed_weights_destroy(struct packed_weights *w) {
    if (!w)
        return;
    for (int i = 0; i < w->count; i++) {
        w->linears[i]->dtype = DTYPE_F32;
        w->linears[i]->packed = NULL;
    }
    w->model->attention_dtype = DTYPE_F32;
    arena_destroy(&w->arena);
    free(w);
}

/* ---- packing it ----------------------------------------------------------- */

/* A panel for y: rows [first, first + count) of W. */
static void pack_rows(const struct linear *l, const struct packed_matrix *m, size_t first,
                      size_t count) {
    size_t in = (size_t)l->in;
    if (l->dtype == DTYPE_BF16)
        bf16_kernels_get()->pack_rows(m->bf16 + first * ((in + 1) / 2), BF16_TILE_COLUMNS,
                                      l->weight + first * in, in, count, in, 1.0f);
    else
        for (size_t row = first; row < first + count; row++)
            pack_int8_row(&m->int8, row, l->weight + row * in, l->bias[row]);
}

/* A panel for dx: columns [first, first + count) of W. `columns` is a worker's [count, out]. */
static void pack_columns(const struct linear *l, const struct packed_matrix *m, size_t first,
                         size_t count, float *columns) {
    size_t in = (size_t)l->in, out = (size_t)l->out;
    if (l->dtype == DTYPE_BF16) {
        bf16_kernels_get()->pack_columns(m->bf16_backward + first * ((out + 1) / 2),
                                         BF16_TILE_COLUMNS, (out + 1) / 2, l->weight + first, in,
                                         out, count, NULL);
        return;
    }
    for (size_t o = 0; o < out; o++)
        for (size_t c = 0; c < count; c++)
            columns[c * out + o] = l->weight[o * in + first + c];
    for (size_t c = 0; c < count; c++)
        pack_int8_row(&m->int8_backward, first + c, columns + c * out, 0.0f);
}

/* Panel by panel in turn, so that matrices of any size spread over the workers. */
static void refresh_worker(void *context, int worker, int workers) {
    const struct packed_weights *w = context;
    float *columns = NULL;
    if (w->gradients)
        columns = w->columns + (size_t)worker * INT8_PANEL * w->widest_out;
    size_t item = 0;
    for (int i = 0; i < w->count; i++) {
        const struct linear *l = w->linears[i];
        const struct packed_matrix *m = &w->matrices[i];
        size_t in = (size_t)l->in, out = (size_t)l->out;
        size_t panel = l->dtype == DTYPE_INT8 ? INT8_PANEL : BF16_TILE_COLUMNS;
        for (size_t o = 0; o < out; o += panel, item++)
            if (item % (size_t)workers == (size_t)worker)
                pack_rows(l, m, o, out - o < panel ? out - o : panel);
        for (size_t c = 0; w->gradients && c < in; c += panel, item++)
            if (item % (size_t)workers == (size_t)worker)
                pack_columns(l, m, c, in - c < panel ? in - c : panel, columns);
    }
}

void packed_weights_refresh(struct packed_weights *w, struct pool *pool) {
    if (w)
        pool_run(pool, refresh_worker, w);
}
