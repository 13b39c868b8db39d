#include "evaluation/interval.h"

#include <math.h>

#define Z95 1.959963984540054 /* of the normal distribution, both tails together 5 % */

struct interval interval_wilson(double right, double cases) {
    if (cases <= 0)
        return (struct interval){0, 1};
    double share = right / cases, z2 = Z95 * Z95 / cases;
    double middle = (share + z2 / 2) / (1 + z2);
    double half = Z95 / (1 + z2) * sqrt(share * (1 - share) / cases + z2 / (4 * cases));
    return (struct interval){fmax(0, middle - half), fmin(1, middle + half)};
}
