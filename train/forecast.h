/* forecast.h - how long a run will still take on this machine.
 *
 * From what steps, validations and checkpoints took on average since this process began, and how
 * many of them the plan has left. Pure arithmetic; not thread-safe.
 */
#ifndef ALPACA_TRAIN_FORECAST_H
#define ALPACA_TRAIN_FORECAST_H

#include <stdbool.h>
#include <stdint.h>

struct measured {
    double guess;   /* seconds, until one has been seen */
    double seconds; /* of all that have been seen */
    uint64_t count;
};

struct forecast {
    /* The plan: validations after every valid_every steps and the last; those after more than
     * average_after steps evaluate two sets of weights (UINT64_MAX: none does). */
    uint64_t steps, valid_every, average_after;
    double checkpoint_every; /* seconds from one to the next, 0 for one after every step */
    /* What has been seen of it. */
    struct measured step, evaluation, checkpoint;
    bool warm; /* the first step is out of `step` */
};

/* The first step pays for memory that nothing has touched yet, so it counts only until the
 * second is there. */
void forecast_step(struct forecast *forecast, double seconds);
void measured_add(struct measured *measured, double seconds);
double measured_mean(const struct measured *measured);

/* Sets of weights to be evaluated after step `done`. */
uint64_t forecast_evaluations(const struct forecast *forecast, uint64_t done);
/* Seconds from the end of step `done` to the end of the run. */
double forecast_seconds(const struct forecast *forecast, uint64_t done);

#endif
