/* narrow_linears.h - a model's linear layers in the dtype form that training
 * runs them in, its own model as well as a teacher.
 *
 * F32 leaves them as they are. BF16 is a BF16 set (model/linear_bf16.h) over all
 * of them. INT8 is an INT8 set (train/grad/int8_set.h) over those of the layers; the
 * heads stay in BF16, since most of a softmax's gradient is so small beside its
 * largest value that 8 bits would make it 0.
 * Ownership: owns the packed copies; while it lives the linears stay where they
 * are and run in that form. Thread-safety: uses the pool, one caller at a time.
 */
#ifndef ALPACA_TRAIN_GRAD_NARROW_LINEARS_H
#define ALPACA_TRAIN_GRAD_NARROW_LINEARS_H

#include "base/status.h"
#include "model/model.h"

struct bf16_set;
struct int8_set;
struct pool;

struct narrow_linears { /* zeroed: F32 */
    struct int8_set *int8;
    struct bf16_set *bf16;
};

/* dtype: F32, or where bf16_available() BF16 or INT8. `gradients`: for backward
 * too. */
enum status narrow_linears_create(struct narrow_linears *narrow, struct model *model,
                                  enum dtype dtype, bool gradients, struct pool *pool,
                                  struct error *err);
/* To be called whenever the weights have changed. */
void narrow_linears_refresh(struct narrow_linears *narrow, struct pool *pool);
void narrow_linears_destroy(struct narrow_linears *narrow);

#endif
