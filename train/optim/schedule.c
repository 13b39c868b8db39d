#include "train/optim/schedule.h"

#include <math.h>
#include <string.h>

bool schedule_shape_parse(const char *name, enum schedule_shape *shape) {
    *shape = strcmp(name, "linear") == 0 ? SCHEDULE_LINEAR : SCHEDULE_COSINE;
    return *shape == SCHEDULE_LINEAR || strcmp(name, "cosine") == 0;
}

/* What is left of the peak, from 1 to 0, when `progress` of the way down is done. */
static double left_of_peak(const struct schedule *s, double progress) {
    const double pi = 3.14159265358979323846;
    return s->shape == SCHEDULE_COSINE ? 0.5 * (1 + cos(pi * progress)) : 1 - progress;
}

double schedule_factor(const struct schedule *s, uint64_t step) {
    double steps = (double)s->steps;
    double warmup = s->warmup < 1 ? floor(s->warmup * steps) : s->warmup;
    double done = (double)step + 1; /* the step about to be taken counts */
    if (done <= warmup)
        return done / warmup;
    double way = steps - warmup;
    double progress = way > 0 ? fmin(fmax(done - 1 - warmup, 0) / way, 1) : 0;
    return s->final + (1 - s->final) * left_of_peak(s, progress);
}
