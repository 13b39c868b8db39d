#include "model/linear.h"

#include "base/pool.h"
#include "model/kernels/int8.h"
#include "model/kernels/kernels.h"
#include "model/linear_dtypes.h"

#include <string.h>

static const char *const dtype_names[] = {
    [DTYPE_F32] = "f32", [DTYPE_BF16] = "bf16", [DTYPE_INT8] = "int8"};

bool dtype_parse(const char *name, enum dtype *dtype) {
    for (size_t i = 0; i < sizeof dtype_names / sizeof *dtype_names; i++) {
        if (strcmp(name, dtype_names[i]) == 0) {
            *dtype = (enum dtype)i;
            return true;
        }
    }
    return false;
}

const char *dtype_name(enum dtype dtype) {
    return dtype_names[dtype];
}

size_t linear_row_bytes(int in) {
    return ((size_t)in + LINEAR_ALIGNMENT - 1) & ~(size_t)(LINEAR_ALIGNMENT - 1);
}

void linear_scratch_layout(struct linear_scratch *scratch, int widest, int workers,
                           struct arena *arena) {
    size_t own = (size_t)workers * LINEAR_FEW_ROWS, row_bytes = linear_row_bytes(widest);
    scratch->widest = widest;
    scratch->rows = arena_take(arena, LINEAR_SCRATCH_ROWS * row_bytes, 1);
    scratch->quantizations = arena_take(arena, LINEAR_SCRATCH_ROWS, sizeof *scratch->quantizations);
    scratch->own_rows = NULL;
    scratch->own_quantizations = NULL;
    if (workers == 0)
        return;
    scratch->own_rows = arena_take(arena, own * row_bytes, 1);
    scratch->own_quantizations = arena_take(arena, own, sizeof *scratch->own_quantizations);
}

/* ---- x ---------------------------------------------------------------------- */

static bool is_made_by_each(const struct linear_product *product) {
    return product->linear->dtype == DTYPE_INT8 && product->rows <= LINEAR_FEW_ROWS &&
           product->scratch->own_rows;
}

bool linear_prepares(const struct linear *linear, size_t rows) {
    return linear->dtype == DTYPE_INT8 && rows > LINEAR_FEW_ROWS && rows <= LINEAR_SCRATCH_ROWS;
}

void linear_quantize(const struct linear_scratch *scratch, size_t row, const float *x, int in) {
    size_t row_bytes = linear_row_bytes(in);
    kernels_get()->quantize_row(scratch->rows + row * row_bytes, row_bytes,
                                &scratch->quantizations[row], x, (size_t)in);
}

enum { PREPARE_PARTS = 4 }; /* of a worker's slice */

void linear_prepare(struct pool *pool, int worker, const struct linear_product *p) {
    const struct linear_source *source = &p->source;
    bool quantizes = linear_prepares(p->linear, p->rows) && !p->quantized;
    if (is_made_by_each(p) || (!quantizes && !source->make))
        return;
    size_t in = (size_t)p->linear->in, begin, end;
    size_t grain = 1 + (p->rows - 1) / ((size_t)pool_workers(pool) * PREPARE_PARTS);
    while (pool_take(pool, worker, p->rows, grain, &begin, &end))
        for (size_t r = begin; r < end; r++) {
            if (source->make)
                source->make(source->context, r, p->x + r * in);
            if (quantizes)
                linear_quantize(p->scratch, r, p->x + r * in, p->linear->in);
        }
}

/* ---- y ---------------------------------------------------------------------- */

const float *linear_multiply(struct pool *pool, int worker, const struct linear_product *product) {
    switch (product->linear->dtype) {
    case DTYPE_F32:
        linear_f32_multiply(pool, worker, product);
        break;
    case DTYPE_BF16:
        linear_bf16_multiply(pool, worker, product);
        break;
    case DTYPE_INT8:
        if (is_made_by_each(product))
            return linear_int8_multiply_few(pool, worker, product);
        linear_int8_multiply(pool, worker, product);
        break;
    }
    return product->x;
}
