/* metrics.h - what the service has done since its start, for Prometheus.
 *
 * Counters and histograms are atomics that any thread may add to at any time;
 * nothing is locked or allocated. The scheduler and the system count for
 * themselves; they are asked when the metrics are written.
 *
 * Ownership: the service owns one struct, zeroed at the start. Thread-safe.
 */
#ifndef ALPACA_SERVER_METRICS_H
#define ALPACA_SERVER_METRICS_H

#include "base/buffer.h"
#include "engine/request.h"
#include "engine/scheduler.h"

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

enum {
    METRICS_BUCKETS = 16, /* most buckets of a histogram, without +Inf */
    METRICS_PATHS = 32,
    METRICS_METHODS = 5,
    METRICS_CODES = 24,
};

enum metrics_time {
    TIME_FIRST_TOKEN,
    TIME_TOKEN_GAP,
    TIME_IN_QUEUE,
    TIME_OF_REQUEST,
    METRICS_TIMES,
};

struct metrics_histogram {
    atomic_uint_fast64_t buckets[METRICS_BUCKETS + 1]; /* not cumulative; the last is +Inf */
    atomic_uint_fast64_t sum_ns;
};

struct metrics {
    atomic_uint_fast64_t completions[FINISH_REASONS]; /* by how they ended */
    struct metrics_histogram times[METRICS_TIMES];
    atomic_uint_fast64_t http[METRICS_PATHS][METRICS_METHODS][METRICS_CODES];
    atomic_int connections;
};

/* Counts a completion that has ended. */
void metrics_completion(struct metrics *metrics, enum finish_reason finish,
                        const struct request_usage *usage);
/* Counts a token that came `gap_ns` after the one before it. */
void metrics_token_gap(struct metrics *metrics, uint64_t gap_ns);
/* Counts a request for stories; it took from its headers to the end of its answer. */
void metrics_duration(struct metrics *metrics, uint64_t duration_ns);
/* Counts an answered request; `path` is an index below METRICS_PATHS. */
void metrics_http(struct metrics *metrics, int path, const char *method, int http_status);

/* Appends everything in Prometheus' text format. path_name() names an index of metrics_http(), and
 * answers NULL for one that is not in use. */
void metrics_write(struct metrics *metrics, struct buffer *out,
                   const struct scheduler_stats *scheduler, time_t started,
                   const char *(*path_name)(int path));
#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

#endif
