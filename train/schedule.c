#include "train/schedule.h"

#include <math.h>

double schedule_factor(const struct schedule *s, uint64_t step) {
    const double pi = 3.14159265358979323846;
    double warmup = s->warmup < 1 ? floor(s->warmup * (double)s->steps) : s->warmup;
    double done = (double)step + 1; /* the step about to be taken counts */
    if (done <= warmup)
        return done / warmup;
    double rest = (double)s->steps - warmup;
    double progress = rest > 0 ? fmin((done - 1 - warmup) / rest, 1) : 1;
    return s->final + (1 - s->final) * 0.5 * (1 + cos(pi * progress));
}
