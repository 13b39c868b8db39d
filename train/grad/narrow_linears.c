#include "train/grad/narrow_linears.h"

#include "model/linear_bf16.h"
#include "train/grad/int8_set.h"

enum status narrow_linears_create(struct narrow_linears *narrow, struct model *model,
                                  enum dtype dtype, bool gradients, struct pool *pool,
                                  struct error *err) {
    struct linear *linears[BF16_MAX_LINEARS];
    *narrow = (struct narrow_linears){0};
    if (dtype == DTYPE_F32)
        return STATUS_OK;
    int count = bf16_model_linears(model, linears);
    enum status status = STATUS_OK;
    if (dtype == DTYPE_INT8) /* the head is the last */
        status = int8_set_create(&narrow->int8, linears, count - 1, gradients, pool, err);
    if (status == STATUS_OK) /* also what attention's products run in */
        status = bf16_set_create(&narrow->bf16, linears, count, gradients, pool, err);
    if (status != STATUS_OK)
        narrow_linears_destroy(narrow);
    return status;
}

void narrow_linears_refresh(struct narrow_linears *narrow, struct pool *pool) {
    if (narrow->int8)
        int8_set_refresh(narrow->int8, pool);
    if (narrow->bf16)
        bf16_set_refresh(narrow->bf16, pool);
}

void narrow_linears_destroy(struct narrow_linears *narrow) {
    bf16_set_destroy(narrow->bf16);
    int8_set_destroy(narrow->int8);
    *narrow = (struct narrow_linears){0};
}
