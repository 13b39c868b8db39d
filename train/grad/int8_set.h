/* int8_set.h - linear layers in INT8 for training: the outputs, and the gradients
 * of the inputs, are products of 8-bit integers; the gradients of the weights
 * stay in BF16 (Wortsman et al., "Stable and low-precision training for
 * large-scale vision-language models", 2023, where this is SwitchBack). Those
 * sum over many rows of different size, so 8 bits would lose the small ones.
 *
 * Weights are fp32 and are quantized again by int8_set_refresh() whenever they
 * changed: each row of W by its largest for outputs, each column for gradients.
 * Ownership: a set owns the integer copies and the room to multiply them in;
 * while it lives, those linears run in INT8 and stay where they are. A BF16 set
 * (model/linear_bf16.h) over the same linears has to be created after it and
 * destroyed before it.
 * Thread-safety: everything uses the pool, so one caller at a time.
 */
#ifndef ALPACA_TRAIN_GRAD_INT8_SET_H
#define ALPACA_TRAIN_GRAD_INT8_SET_H

#include "base/status.h"
#include "model/kernels/int8.h"
#include "model/linear.h"

struct int8_set;

/* W's columns as an integer matrix's rows, and room to multiply in. */
struct int8_gradient {
    struct int8_matrix matrix; /* in and out exchanged, without a bias */
    const struct int8_room *rooms; /* [workers] */
};

/* `gradients`: also the form that int8_input_gradient() needs. */
enum status int8_set_create(struct int8_set **set, struct linear *const *linears, int count,
                            bool gradients, struct pool *pool, struct error *err);
void int8_set_refresh(struct int8_set *set, struct pool *pool);
void int8_set_destroy(struct int8_set *set); /* NULL is allowed */

/* dx[begin .. end) = dy W, or added to dx, for the calling worker. */
void int8_input_gradient(const struct linear *linear, int worker, const float *dy, size_t begin,
                         size_t end, float *dx, bool add);

#endif
