/* element.h - what an optimizer does to one number, on the CPU and on a graphics card alike.
 *
 * Sources: optimizer.h and muon.h. Thread-safe: pure functions that own nothing.
 */
#ifndef ALPACA_TRAIN_OPTIM_ELEMENT_H
#define ALPACA_TRAIN_OPTIM_ELEMENT_H

#include "base/shared_inline.h"

#include <math.h>

/* A step of Adam with decoupled decay. */
struct adam_step {
    float beta1, beta2, eps;
    float rate; /* divided by the first moment's bias correction */
    float root; /* of the second moment's: 1 / sqrt(1 - beta2^t) */
    float kept; /* of a parameter after decay */
    float gradient_scale;
};

/* Returns the new parameter; m and v are its moments. The bias corrections follow torch:
 * p -= rate / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps). */
SHARED_INLINE float adam_element(const struct adam_step *a, float p, float g, float *m, float *v) {
    float gradient = g * a->gradient_scale;
    *m = a->beta1 * *m + (1.0f - a->beta1) * gradient;
    *v = a->beta2 * *v + (1.0f - a->beta2) * gradient * gradient;
    return p * a->kept - a->rate * *m / (sqrtf(*v) * a->root + a->eps);
}

/* Returns Nesterov's direction, from which Muon makes its update. `g` is scaled already. */
SHARED_INLINE float muon_direction(float momentum, float g, float *m) {
    *m = momentum * *m + g;
    return g + momentum * *m;
}

#endif
