/* weight_average.h - a running average of the weights over the steps.
 *
 * It is an exponential one: each step the newest weights get the share
 * 1 - decay. Nothing but the averaged weights has to be kept: the share of step
 * t is a pure function of t.
 * Ownership: the buffers are the caller's. Uses the pool: one caller at a time.
 */
#ifndef ALPACA_TRAIN_OPTIM_WEIGHT_AVERAGE_H
#define ALPACA_TRAIN_OPTIM_WEIGHT_AVERAGE_H

#include <stddef.h>
#include <stdint.h>

struct pool;

struct weight_average {
    uint64_t first; /* the step, counted from 0, after which the average is those very weights */
    double decay;
};

/* The share that the weights after step 0, 1, ... get in the average; 0 before it begins. */
double weight_average_share(const struct weight_average *average, uint64_t step);

/* average[count] += share * (values[count] - average[count]). */
void weight_average_add(float *average, const float *values, size_t count, double share,
                        struct pool *pool);

/* Exchanges a[count] and b[count]. */
void weight_average_swap(float *a, float *b, size_t count, struct pool *pool);

#endif
