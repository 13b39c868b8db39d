/* muon.h - the Muon update for the matrices inside the layers.
 *
 *     momentum = mu * momentum + gradient
 *     update   = orthogonalize(gradient + mu * momentum)          (Nesterov)
 *     p        = p * (1 - rate * decay) - rate * sqrt(max(1, rows / columns)) * update
 *
 * Source: Jordan et al., "Muon: An optimizer for hidden layers in neural
 * networks", 2024; see orthogonalize.h.
 * The matrices are dealt out to the pool's workers; each is computed by one. Several processes
 * that have the same gradients may divide them further: each orthogonalizes its own part's, which
 * is nearly all of the work, and tells the others their parameters.
 * Ownership: all memory is the caller's. Uses the pool: one caller at a time.
 */
#ifndef ALPACA_TRAIN_OPTIM_MUON_H
#define ALPACA_TRAIN_OPTIM_MUON_H

#include "model/model.h"

struct pool;

struct muon_options {
    const struct model_config *config;
    float rate, momentum, weight_decay, gradient_scale;
    enum dtype dtype; /* of the products: F32, or BF16 where bf16_available() */
    const size_t *bounds; /* of muon_bounds(); NULL: this process updates all matrices */
    int part;
};

/* Cuts the parameters into parts whose matrices are about as much work: part p has those from
 * bounds[p] on and before bounds[p + 1], both counted in floats; bounds[parts + 1]. */
void muon_bounds(const struct model_config *config, int parts, size_t *bounds);

/* Whether Muon, not Adam, updates this tensor. */
bool muon_applies(const struct tensor_info *info);
/* Floats of scratch that muon_step() needs with a pool of `workers`. */
size_t muon_scratch_floats(const struct model_config *config, int workers);

/* Updates the part's matrices in parameters[model_buffer_floats], and all momentum, in place;
 * gradients and momentum have the parameters' layout. */
void muon_step(const struct muon_options *options, struct pool *pool, float *parameters,
               const float *gradients, float *momentum, float *scratch);

#endif
