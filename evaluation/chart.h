/* chart.h - bars with intervals, as SVG inside of an HTML page; Markdown pages have none.
 *
 * Ownership: a chart owns its text until chart_end(). Not thread-safe.
 */
#ifndef ALPACA_EVALUATION_CHART_H
#define ALPACA_EVALUATION_CHART_H

#include "evaluation/page.h"

/* Start from {.page, .most}: what the full width stands for. */
struct chart {
    struct page *page;
    double most;
    struct buffer body;
    int height; /* so far, in pixels */
};

struct bar {
    const char *label;
    double value, low, high; /* low == high: no interval is drawn */
    int color;               /* models have that of their place in --model */
};

/* A label above `count` bars; a line at `mark`, such as chance, goes through them unless it is
 * negative. */
void chart_group(struct chart *chart, const char *label, const struct bar *bars, int count,
                 double mark);
void chart_end(struct chart *chart, const char *title);

#endif
