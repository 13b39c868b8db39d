#include "server/metrics.h"

#include "server/process_stats.h"

#include <inttypes.h>
#include <string.h>

/* Upper ends of the buckets, in seconds. A step takes between a fraction of a millisecond and some
 * tens of milliseconds. */
static const double token_bounds[] = {0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032,
                                      0.064,  0.125, 0.25,  0.5,   1};
static const double request_bounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                        0.5,   1,      2.5,   5,    10,    30,   60};
static const double queue_bounds[] = {0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10,
                                      30};

struct histogram_row {
    const char *name, *help;
    const double *bounds;
    int count;
};

#define BOUNDS(bounds) bounds, (int)(sizeof(bounds) / sizeof *(bounds))
static const struct histogram_row histogram_rows[METRICS_TIMES] = {
    [TIME_FIRST_TOKEN] = {"alpaca_time_to_first_token_seconds",
                          "From a story's submission to its first token.", BOUNDS(request_bounds)},
    [TIME_TOKEN_GAP] = {"alpaca_inter_token_latency_seconds", "Between two tokens of a story.",
                        BOUNDS(token_bounds)},
    [TIME_IN_QUEUE] = {"alpaca_request_queue_time_seconds", "What a story waited for a slot.",
                       BOUNDS(queue_bounds)},
    [TIME_OF_REQUEST] = {"alpaca_request_duration_seconds",
                         "Requests for stories, to the end of their answer.",
                         BOUNDS(request_bounds)},
};

static const char *const method_names[METRICS_METHODS] = {"GET", "HEAD", "POST", "OPTIONS",
                                                          "other"};
static const int codes[METRICS_CODES] = {200, 204, 304, 400, 401, 404, 405, 413, 414,
                                         415, 421, 431, 499, 500, 501, 503, 0}; /* 0: any other */

static void observe(struct metrics *metrics, enum metrics_time time, uint64_t value_ns) {
    const struct histogram_row *row = &histogram_rows[time];
    struct metrics_histogram *histogram = &metrics->times[time];
    int bucket = 0;
    while (bucket < row->count && (double)value_ns > row->bounds[bucket] * 1e9)
        bucket++;
    atomic_fetch_add_explicit(&histogram->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->sum_ns, value_ns, memory_order_relaxed);
}

void metrics_completion(struct metrics *metrics, enum finish_reason finish,
                        const struct request_usage *usage) {
    atomic_fetch_add_explicit(&metrics->completions[finish], 1, memory_order_relaxed);
    if (usage->prefill_ns == 0)
        return; /* it was cancelled before its first token */
    observe(metrics, TIME_IN_QUEUE, usage->queued_ns);
    observe(metrics, TIME_FIRST_TOKEN, usage->queued_ns + usage->prefill_ns);
}

void metrics_token_gap(struct metrics *metrics, uint64_t gap_ns) {
    observe(metrics, TIME_TOKEN_GAP, gap_ns);
}

void metrics_duration(struct metrics *metrics, uint64_t duration_ns) {
    observe(metrics, TIME_OF_REQUEST, duration_ns);
}

void metrics_http(struct metrics *metrics, int path, const char *method, int http_status) {
    int m = 0, c = 0;
    while (m < METRICS_METHODS - 1 && strcmp(method_names[m], method) != 0)
        m++;
    while (codes[c] && codes[c] != http_status)
        c++;
    atomic_fetch_add_explicit(&metrics->http[path][m][c], 1, memory_order_relaxed);
}

/* ---- writing ---------------------------------------------------------------------- */

static void head(struct buffer *out, const char *name, const char *type, const char *help) {
    buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void counter(struct buffer *out, const char *name, const char *help, uint64_t value) {
    head(out, name, "counter", help);
    buffer_printf(out, "%s %" PRIu64 "\n", name, value);
}

static void gauge(struct buffer *out, const char *name, const char *help, double value) {
    head(out, name, "gauge", help);
    buffer_printf(out, "%s %.15g\n", name, value);
}

static void write_histogram(struct metrics_histogram *histogram, const struct histogram_row *row,
                            struct buffer *out) {
    uint64_t sum_ns = atomic_load(&histogram->sum_ns), total = 0;
    head(out, row->name, "histogram", row->help);
    for (int bucket = 0; bucket < row->count; bucket++) {
        total += atomic_load(&histogram->buckets[bucket]);
        buffer_printf(out, "%s_bucket{le=\"%.15g\"} %" PRIu64 "\n", row->name,
                      row->bounds[bucket], total);
    }
    total += atomic_load(&histogram->buckets[row->count]);
    buffer_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.9g\n%s_count %" PRIu64 "\n",
                  row->name, total, row->name, (double)sum_ns / 1e9, row->name, total);
}

static void write_completions(struct metrics *metrics, struct buffer *out) {
    head(out, "alpaca_requests_total", "counter", "Stories that ended, by how they did.");
    for (int finish = FINISH_STOP; finish < FINISH_REASONS; finish++)
        buffer_printf(out, "alpaca_requests_total{finished_reason=\"%s\"} %" PRIu64 "\n",
                      finish_reason_name((enum finish_reason)finish),
                      (uint64_t)atomic_load(&metrics->completions[finish]));
}

static void write_http(struct metrics *metrics, struct buffer *out,
                       const char *(*path_name)(int path)) {
    head(out, "http_requests_total", "counter", "Requests answered.");
    for (int p = 0; p < METRICS_PATHS && path_name(p); p++)
        for (int m = 0; m < METRICS_METHODS; m++)
            for (int c = 0; c < METRICS_CODES; c++) {
                uint64_t count = atomic_load(&metrics->http[p][m][c]);
                if (count == 0)
                    continue;
                buffer_printf(out, "http_requests_total{path=\"%s\",method=\"%s\",code=\"",
                              path_name(p), method_names[m]);
                buffer_printf(out, codes[c] ? "%d" : "other", codes[c]);
                buffer_printf(out, "\"} %" PRIu64 "\n", count);
            }
}

static void write_scheduler(const struct scheduler_stats *s, struct buffer *out) {
    gauge(out, "alpaca_requests_running", "Stories being generated now.", s->running);
    gauge(out, "alpaca_requests_waiting", "Stories waiting for a slot.", s->waiting);
    gauge(out, "alpaca_kv_slots_used", "Slots of the kv cache that a story is using.", s->running);
    counter(out, "alpaca_prompt_tokens_total", "Prompt tokens of the stories that began.",
            s->prefix_queries);
    counter(out, "alpaca_generation_tokens_total", "Tokens generated.", s->generated_tokens);
    counter(out, "alpaca_prefix_cache_queries_total",
            "Prompt tokens looked for in the kv cache.", s->prefix_queries);
    counter(out, "alpaca_prefix_cache_hits_total",
            "Prompt tokens that were in the kv cache already.", s->prefix_hits);
    counter(out, "alpaca_draft_proposed_tokens_total", "Tokens that the draft proposed.",
            s->proposed);
    counter(out, "alpaca_draft_accepted_tokens_total",
            "Proposed tokens that were the model's own too.", s->accepted);
    counter(out, "alpaca_engine_steps_total", "Steps of the engine.", s->steps);
}

static void write_process(struct buffer *out, time_t started) {
    struct process_stats stats;
    process_stats_read(&stats);
    head(out, "process_cpu_seconds_total", "counter", "User and system time.");
    buffer_printf(out, "process_cpu_seconds_total %.6f\n", stats.cpu_seconds);
    gauge(out, "process_start_time_seconds", "Start, in seconds since 1970.", (double)started);
    gauge(out, "process_max_fds", "Open files at most.", (double)stats.max_files);
    if (!stats.has_proc)
        return;
    gauge(out, "process_resident_memory_bytes", "Resident memory.", (double)stats.resident_bytes);
    gauge(out, "process_virtual_memory_bytes", "Virtual memory.", (double)stats.virtual_bytes);
    gauge(out, "process_open_fds", "Open files.", stats.open_files);
    gauge(out, "process_threads", "Threads.", stats.threads);
}

void metrics_write(struct metrics *metrics, struct buffer *out,
                   const struct scheduler_stats *scheduler, time_t started,
                   const char *(*path_name)(int path)) {
    write_scheduler(scheduler, out);
    write_completions(metrics, out);
    for (int i = 0; i < METRICS_TIMES; i++)
        write_histogram(&metrics->times[i], &histogram_rows[i], out);
    write_http(metrics, out, path_name);
    gauge(out, "http_connections", "Open connections.", atomic_load(&metrics->connections));
    write_process(out, started);
}
