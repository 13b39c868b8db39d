#include "model/linear.h"

#include "model/kernels/int8.h"
#include "model/linear_dtypes.h"
#include <string.h>

static const char *const numeric_names[] = {
    [DTYPE_F32] = "f32", [DTYPE_BF16] = "bf16", [DTYPE_INT8] = "int8"};

bool dtype_parse(const char *name, enum dtype *dtype) {
    for (size_t i = 0; i < sizeof numeric_names / sizeof *numeric_names; i++) {
        if (strcmp(name, numeric_names[i]) == 0) {
            *dtype = (enum dtype)i;
            return true;
        }
    }
    return false;
}

const char *dtype_name(enum dtype dtype) {
    return numeric_names[dtype];
}

size_t linear_row_bytes(int in) {
    return ((size_t)in + LINEAR_ALIGNMENT - 1) & ~(size_t)(LINEAR_ALIGNMENT - 1);
}

void linear_scratch_layout(struct linear_scratch *scratch, int widest, struct arena *arena) {
    scratch->rows = arena_take(arena, LINEAR_SCRATCH_ROWS * linear_row_bytes(widest), 1);
    scratch->quantizations = arena_take(arena, LINEAR_SCRATCH_ROWS, sizeof *scratch->quantizations);
}

void linear_forward(const struct linear *linear, struct pool *pool,
                    const struct linear_scratch *scratch, const float *x, size_t rows, float *y,
                    bool relu) {
    switch (linear->dtype) {
    case DTYPE_F32:
        linear_f32_forward(linear, pool, scratch, x, rows, y, relu);
        break;
    case DTYPE_BF16:
        linear_bf16_forward(linear, pool, scratch, x, rows, y, relu);
        break;
    case DTYPE_INT8:
        linear_int8_forward(linear, pool, scratch, x, rows, y, relu);
        break;
    }
}
