/* interval.h - confidence intervals of shares that were counted in a sample. Thread-safe. */
#ifndef ALPACA_EVALUATION_INTERVAL_H
#define ALPACA_EVALUATION_INTERVAL_H

struct interval {
    double low, high;
};

/* The 95 % interval of a share of which `right` of `cases` were seen. Source: Wilson, "Probable
 * Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927). Without cases it is
 * [0, 1]. */
struct interval interval_wilson(double right, double cases);

#endif
