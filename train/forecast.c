#include "train/forecast.h"

#include <math.h>

void measured_add(struct measured *m, double seconds) {
    m->seconds += seconds;
    m->count++;
}

double measured_mean(const struct measured *m) {
    return m->count ? m->seconds / (double)m->count : m->guess;
}

void forecast_step(struct forecast *f, double seconds) {
    if (f->step.count == 1 && !f->warm) {
        f->step = (struct measured){0};
        f->warm = true;
    }
    measured_add(&f->step, seconds);
}

static uint64_t validations(const struct forecast *f, uint64_t done) {
    if (done >= f->steps)
        return 0;
    bool extra = f->steps % f->valid_every != 0; /* after the last step */
    return f->steps / f->valid_every - done / f->valid_every + extra;
}

uint64_t forecast_evaluations(const struct forecast *f, uint64_t done) {
    return validations(f, done) +
           validations(f, done > f->average_after ? done : f->average_after);
}

double forecast_seconds(const struct forecast *f, uint64_t done) {
    double steps = done < f->steps ? (double)(f->steps - done) : 0;
    double step = measured_mean(&f->step), save = measured_mean(&f->checkpoint);
    double work = steps * step +
                  (double)forecast_evaluations(f, done) * measured_mean(&f->evaluation);
    /* A checkpoint is due checkpoint_every after the last one began, and waits for a step to end:
     * where saving takes longer than that, every step is followed by one. */
    double share = f->checkpoint_every > 0 ? save / f->checkpoint_every : 1;
    double saving = share < 1 ? work * share / (1 - share) : INFINITY;
    return work + fmin(saving, steps * save) + save; /* and one at the end */
}
