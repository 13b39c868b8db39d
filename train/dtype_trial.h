/* dtype_trial.h - which type of numbers a run is fastest in on this machine, found by trying.
 *
 * What a CPU is said to have does not tell: on some, products of bfloat16 take longer than those
 * of fp32. So a model of the run's own sizes, with random weights and few layers, learns from
 * random stories for a moment in each type, in micro-batches of the run's own size.
 * INT8 is not tried, because its gradients are less exact: who trains in it asks for it.
 * Ownership: nothing is kept. Uses the pool: one caller at a time.
 */
#ifndef ALPACA_TRAIN_DTYPE_TRIAL_H
#define ALPACA_TRAIN_DTYPE_TRIAL_H

#include "base/status.h"
#include "model/model.h"

struct pool;

struct dtype_trial {
    const struct model_config *config;
    int micro_rows; /* at least the rows of a story of all positions */
    float dropout;
};

/* Tokens per second of gradients with as many layers as are tried; comparable with each other,
 * not with a run's. */
struct dtype_speeds {
    double f32, bf16; /* bf16 is 0 where the CPU has none */
};

/* To be called by all ranks (train/ranks.h) at once, which share their machines' memory; each
 * measures for itself. */
enum status dtype_trial_run(const struct dtype_trial *trial, struct pool *pool,
                            struct dtype_speeds *speeds, struct error *err);

#endif
