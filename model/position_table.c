#include "model/position_table.h"

#include <math.h>
#include <stddef.h>

/* e^x for -700 < x <= 0: 2^k e^r with |r| <= ln(2) / 2, and the Taylor series of e^r. */
static double exponential(double x) {
    const double ln2_high = 0x1.62e42fee00000p-1, ln2_low = 0x1.a39ef35793c76p-33;
    double k = floor(x / (ln2_high + ln2_low) + 0.5);
    double r = x - k * ln2_high - k * ln2_low, sum = 1;
    for (int n = 14; n >= 1; n--)
        sum = 1 + r / n * sum;
    return ldexp(sum, (int)k);
}

/* 1 - r^2 / (last (last - 1)) * (1 - ...) down to `first`: the Taylor series of cos(r), and of
 * sin(r) / r. */
static double alternating_series(double r, int first, int last) {
    double sum = 1;
    for (int n = last; n >= first; n -= 2)
        sum = 1 - r * r / (n * (n - 1)) * sum;
    return sum;
}

/* Takes off k quarter turns of pi / 2, which three numbers of 33 bits make up, so that the products
 * with k are exact. */
static void sine_and_cosine(double angle, float *sine, float *cosine) {
    const double quarter[] = {0x1.921fb54400000p+0, 0x1.0b4611a600000p-34, 0x1.3198a2e037073p-69};
    double k = floor(angle / quarter[0] + 0.5);
    double r = angle - k * quarter[0] - k * quarter[1] - k * quarter[2];
    double s = r * alternating_series(r, 3, 19), c = alternating_series(r, 2, 18);
    int turn = (int)fmod(k, 4);
    *sine = (float)(turn == 0 ? s : turn == 1 ? c : turn == 2 ? -s : -c);
    *cosine = (float)(turn == 0 ? c : turn == 1 ? -s : turn == 2 ? -c : s);
}

void position_table_fill(float *table, int positions, int d_model) {
    const double ln_10000 = 9.2103403719761836;
    for (int i = 0; i < d_model; i += 2) {
        double frequency = exponential(-ln_10000 * i / d_model);
        for (int p = 0; p < positions; p++) {
            float *entry = table + (size_t)p * (size_t)d_model + i, sine, cosine;
            sine_and_cosine(p * frequency, &sine, &cosine);
            entry[0] = sine;
            if (i + 1 < d_model)
                entry[1] = cosine;
        }
    }
}
