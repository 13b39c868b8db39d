/* schedule.h - how the learning rate changes over a run. Pure functions: thread-safe.
 *
 * The rate warms up linearly from 0, then follows one of these down to `final`
 * times the peak:
 *   cosine     cosine annealing (Loshchilov & Hutter, "SGDR", 2016, no restarts)
 *   linear     a straight line
 */
#ifndef ALPACA_TRAIN_OPTIM_SCHEDULE_H
#define ALPACA_TRAIN_OPTIM_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

enum schedule_shape { SCHEDULE_COSINE, SCHEDULE_LINEAR };

struct schedule {
    enum schedule_shape shape;
    uint64_t steps; /* of the whole run */
    double warmup;  /* steps when 1 or more, else a fraction of all steps */
    double final;   /* share of the peak that is left at the end; 1: the rate stays */
};

/* "cosine", "linear"; false for another name. */
bool schedule_shape_parse(const char *name, enum schedule_shape *shape);

/* Factor on the peak learning rate for step 0, 1, ... steps - 1; above 0 for every step. */
double schedule_factor(const struct schedule *schedule, uint64_t step);

#endif
