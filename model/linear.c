#include "model/linear.h"

#include "model/kernels/int8.h"
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

void linear_scratch_layout(struct linear_scratch *scratch, int widest, struct arena *arena) {
    scratch->rows = arena_take(arena, LINEAR_SCRATCH_ROWS * linear_row_bytes(widest), 1);
    scratch->quantizations = arena_take(arena, LINEAR_SCRATCH_ROWS, sizeof *scratch->quantizations);
}

void linear_forward(struct pool *pool, const struct linear_scratch *scratch,
                    struct linear_product product) {
    switch (product.linear->dtype) {
    case DTYPE_F32:
        linear_f32_forward(pool, &product);
        break;
    case DTYPE_BF16:
        linear_bf16_forward(pool, &product);
        break;
    case DTYPE_INT8:
        linear_int8_forward(pool, scratch, &product);
        break;
    }
}
