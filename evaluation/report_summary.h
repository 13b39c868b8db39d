/* report_summary.h - the beginning of the report: the summary table, and what it comes down to.
 *
 * Ownership: everything is the caller's. Thread-safe.
 */
#ifndef ALPACA_EVALUATION_REPORT_SUMMARY_H
#define ALPACA_EVALUATION_REPORT_SUMMARY_H

#include "evaluation/page.h"

struct cJSON;

/* `root` is the report's whole document; grades may be missing in it. */
void report_summary(const struct cJSON *root, struct page *page);

#endif
