/* schedule.h - how the learning rate goes over a run. Pure functions.
 *
 * Linear warm-up from 0, then cosine annealing to `final` times the peak
 * (Loshchilov & Hutter, "SGDR", 2016, without restarts).
 */
#ifndef ALPACA_TRAIN_SCHEDULE_H
#define ALPACA_TRAIN_SCHEDULE_H

#include <stdint.h>

struct schedule {
    uint64_t steps;  /* of the whole run */
    double warmup;   /* steps when 1 or more, else a fraction of all steps */
    double final;    /* share of the peak that is left at the end */
};

/* Factor on the peak learning rate for step 0, 1, ... steps - 1; above 0 for every step. */
double schedule_factor(const struct schedule *schedule, uint64_t step);

#endif
