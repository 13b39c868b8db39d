/* orthogonalize.h - a matrix to roughly its nearest orthogonal one.
 *
 * Five Newton-Schulz iterations X <- aX + (bA + cA^2)X with A = X X^T and
 * (a, b, c) = (3.4445, -4.7750, 2.0315), after dividing X by its norm: singular
 * values end between about 0.7 and 1.2, singular vectors stay. Source: Jordan
 * et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
 * who compute it in bfloat16.
 * Ownership: all memory is the caller's. Thread-safe: pure functions; each call runs on the
 * calling thread, in one fixed order.
 */
#ifndef ALPACA_TRAIN_OPTIM_ORTHOGONALIZE_H
#define ALPACA_TRAIN_OPTIM_ORTHOGONALIZE_H

#include "model/linear.h"

#include <stddef.h>

/* Floats of scratch; enough for any matrix that is smaller on both sides too. */
size_t orthogonalize_scratch_floats(size_t rows, size_t columns);

/* matrix[rows, columns], in place; dtype is F32, or BF16 where bf16_available(). */
void orthogonalize(float *matrix, size_t rows, size_t columns, enum dtype dtype, float *scratch);

#endif
