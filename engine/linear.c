#include "engine/linear.h"

#include "engine/linear_forms.h"

#include <assert.h>

void linear_scratch_layout(struct linear_scratch *scratch, int widest, struct arena *arena) {
    size_t stride = ((size_t)widest + LINEAR_ALIGNMENT - 1) & ~(size_t)(LINEAR_ALIGNMENT - 1);
    scratch->rows = arena_take(arena, LINEAR_SCRATCH_ROWS * stride, sizeof *scratch->rows);
    scratch->forms = arena_take(arena, LINEAR_SCRATCH_ROWS, sizeof *scratch->forms);
}

void linear_forward(const struct linear *linear, struct pool *pool,
                    const struct linear_scratch *scratch, const float *x, size_t rows, float *y,
                    bool relu) {
    switch (linear->numeric) {
    case NUMERIC_F32: linear_f32_forward(linear, pool, scratch, x, rows, y, relu); break;
    case NUMERIC_BF16:
    case NUMERIC_INT8: assert(false); break; /* no model is prepared in these forms yet */
    }
}
