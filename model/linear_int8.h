/* linear_int8.h - weight matrices in the form that the integer kernels read.
 *
 * Each output row is scaled by its own largest weight to -127 .. 127 and rounded
 * to the nearest; the bytes lie in the kernels' order (kernels/int8.h).
 * Ownership: the arena's. One thread fills a matrix; then any number may read it.
 */
#ifndef ALPACA_MODEL_LINEAR_INT8_H
#define ALPACA_MODEL_LINEAR_INT8_H

#include "base/arena.h"
#include "model/kernels/int8.h"

/* Takes a matrix's memory for in x out weights; nothing is filled in yet. */
void int8_matrix_layout(struct int8_matrix *matrix, int in, int out, struct arena *arena);
/* Quantizes weight[out, in] and copies bias[out] into a laid-out matrix. */
void int8_matrix_fill(const struct int8_matrix *matrix, const float *weight, const float *bias);

/* The same for rows [first, first + count), whose values are weight[count, in] and bias[count]. */
void int8_matrix_fill_rows(const struct int8_matrix *matrix, size_t first, size_t count,
                           const float *weight, const float *bias);

#endif
