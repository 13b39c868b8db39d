/* metrics.h - what the service has done so far, for Prometheus.
 *
 * Counters and histograms are plain atomics that any thread may add to at any
 * time; nothing is locked or allocated. What others count already (the
 * scheduler, the system) is asked for when the metrics are written.
 *
 * Ownership: the service owns one, zeroed at start. Thread-safe.
 */
#ifndef ALPACA_SERVER_METRICS_H
#define ALPACA_SERVER_METRICS_H

#include "base/buffer.h"
#include "engine/completion.h"
#include "engine/scheduler.h"

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

enum {
    METRICS_BUCKETS = 16, /* of a histogram at most, without +Inf */
    METRICS_PATHS = 32,
    METRICS_METHODS = 5,
    METRICS_CODES = 16,
    METRICS_ENDS = STORY_SHUTDOWN + 1,
};

struct metrics_histogram {
    atomic_uint_fast64_t buckets[METRICS_BUCKETS + 1]; /* not cumulative; the last is +Inf */
    atomic_uint_fast64_t sum_ns;
};

struct metrics {
    atomic_uint_fast64_t stories[METRICS_ENDS]; /* by how they ended */
    struct metrics_histogram first_token, token_gap, queue_time, duration;
    atomic_uint_fast64_t http[METRICS_PATHS][METRICS_METHODS][METRICS_CODES];
    atomic_int connections;
};

/* A story that has ended; one that still runs counts as cancelled. */
void metrics_story(struct metrics *metrics, enum story_end end,
                   const struct generation_usage *usage);
/* `count` tokens came `gap_ns` apart. */
void metrics_token_gap(struct metrics *metrics, uint64_t gap_ns, int count);
/* A request for stories, from its headers to the end of its answer. */
void metrics_duration(struct metrics *metrics, uint64_t duration_ns);
/* An answered request; `path` is an index below METRICS_PATHS. */
void metrics_http(struct metrics *metrics, int path, const char *method, int http_status);

/* Appends all in Prometheus' text format. path_name names the index of metrics_http(), NULL for
 * an index that is not in use. */
void metrics_write(struct metrics *metrics, struct buffer *out,
                   const struct scheduler_stats *scheduler, time_t started,
                   const char *(*path_name)(int path));
#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

#endif
