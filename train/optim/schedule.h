/* schedule.h - how the learning rate and the weight decay go over a run. Pure functions.
 *
 * The rate warms up linearly from 0, then follows one of these down to `final`
 * times the peak:
 *   cosine     cosine annealing (Loshchilov & Hutter, "SGDR", 2016, no restarts)
 *   linear     a straight line
 *   trapezoid  flat, then a straight line over the last `cooldown` of the run
 *              (warm-up, stable, decay: Hu et al., "MiniCPM", 2024)
 */
#ifndef ALPACA_TRAIN_OPTIM_SCHEDULE_H
#define ALPACA_TRAIN_OPTIM_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

enum schedule_shape { SCHEDULE_COSINE, SCHEDULE_LINEAR, SCHEDULE_TRAPEZOID };

struct schedule {
    enum schedule_shape shape;
    uint64_t steps;  /* of the whole run */
    double warmup;   /* steps when 1 or more, else a fraction of all steps */
    double cooldown; /* of a trapezoid: a fraction of all steps */
    double final;    /* share of the peak that is left at the end */
};

/* "cosine", "linear", "trapezoid"; false for another name. */
bool schedule_shape_parse(const char *name, enum schedule_shape *shape);

/* Factor on the peak learning rate for step 0, 1, ... steps - 1; above 0 for every step. */
double schedule_factor(const struct schedule *schedule, uint64_t step);

/* On the straight line from `first` at step 0 to `last` at the last step. */
double schedule_between(const struct schedule *schedule, uint64_t step, double first, double last);

#endif
