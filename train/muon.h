/* muon.h - the Muon update for the matrices inside the layers.
 *
 *     momentum = mu * momentum + gradient
 *     update   = orthogonalise(gradient + mu * momentum)          (Nesterov)
 *     p        = p * (1 - rate * decay) - rate * sqrt(max(1, rows / columns)) * update
 *
 * Orthogonalise: five Newton-Schulz iterations X <- aX + (bA + cA^2)X with
 * A = X X^T and (a, b, c) = (3.4445, -4.7750, 2.0315), after dividing X by its
 * norm. Source: Jordan et al., "Muon: An optimizer for hidden layers in neural
 * networks", 2024.
 * The matrices are dealt out to the pool's workers; each is computed by one.
 */
#ifndef ALPACA_TRAIN_MUON_H
#define ALPACA_TRAIN_MUON_H

#include "engine/model.h"

struct pool;

struct muon_options {
    float rate, momentum, weight_decay, gradient_scale;
};

/* Whether Muon, not Adam, updates this tensor. */
bool muon_applies(const struct tensor_info *info);
/* Floats of scratch that muon_step() needs with a pool of `workers`. */
size_t muon_scratch_floats(const struct model_config *config, int workers);

void muon_step(const struct muon_options *options, struct pool *pool,
               const struct model_config *config, float *parameters, const float *gradients,
               float *momentum, float *scratch);

/* matrix[rows, columns] -> roughly its nearest orthogonal matrix, in place.
 * scratch holds muon_matrix_scratch_floats(). */
size_t muon_matrix_scratch_floats(size_t rows, size_t columns);
void muon_orthogonalise(float *matrix, size_t rows, size_t columns, float *scratch);

#endif
