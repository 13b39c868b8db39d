/* alpaca-bench attention: what decoding reads of the kv cache, beside what the machine can read. */
#include "bench/bench.h"

#include "base/clock.h"
#include "base/flags.h"
#include "base/pool.h"
#include "bench/peaks.h"
#include "model/attention.h"
#include "model/forward.h"
#include "model/kernels/int8.h"
#include "model/kernels/kernels.h"

#include <stdio.h>

struct attention_options {
    const char *model, *streams;
    int threads, positions, repeat;
};

#define AT(member) offsetof(struct attention_options, member)
static const struct flag flags[] = {
    {"model", FLAG_TEXT, AT(model), "alpaca", 0, 0, "NAME",
     "a preset, with random weights, or a model folder"},
    {"streams", FLAG_TEXT, AT(streams), "1,4,8,16,32,64", 0, 0, "LIST",
     "stories at a time, one line for each"},
    {"positions", FLAG_INT, AT(positions), "116", 1, 60000, "tokens",
     "how far every story is: the mean of prompts of 16 and stories of 200"},
    {"repeat", FLAG_INT, AT(repeat), "9", 1, 1000, "times", "each load, of which the best counts"},
    {"threads", FLAG_INT, AT(threads), "0", 0, 64, "", "compute threads; 0 for all cores"},
};
static const struct flag_table table = {
    .usage = "alpaca-bench attention [options]",
    .summary = "Attention's share of a decode step, and its bytes of keys and values per second.",
    .flags = flags,
    .count = sizeof flags / sizeof *flags,
};

enum { STEPS = 10, WARM_SPANS = 2 };

/* One row for each of `streams` stories, all at the same position. */
struct decode {
    struct model *model;
    struct pool *pool;
    struct activations activations;
    struct kv_cache cache;
    int streams, positions;
    int32_t *ids;
    struct span *spans;
    float *logits;
    int *rows;
    struct arena arena;
};

static void layout(void *context, struct arena *arena) {
    struct decode *d = context;
    size_t streams = (size_t)d->streams;
    d->ids = arena_take(arena, streams + (size_t)d->positions, sizeof *d->ids);
    d->spans = arena_take(arena, streams, sizeof *d->spans);
    d->rows = arena_take(arena, streams, sizeof *d->rows);
    d->logits = arena_take(arena, streams * (size_t)d->model->config.vocab, sizeof *d->logits);
}

/* Fills the cache as prompts would. */
static void prefill(struct decode *d) {
    const struct forward_context f = {d->model, d->pool, &d->activations};
    for (int slot = 0; slot < d->streams; slot++) {
        struct span span = {slot, 0, d->positions};
        struct batch batch = {.ids = d->ids, .rows = d->positions, .spans = &span,
                              .span_count = 1, .cache = &d->cache};
        forward(&f, &batch);
    }
}

static struct batch decode_batch(struct decode *d, int streams) {
    for (int i = 0; i < streams; i++)
        d->spans[i] = (struct span){i, d->positions - 1, 1};
    return (struct batch){.ids = d->ids, .rows = streams, .spans = d->spans,
                          .span_count = streams, .cache = &d->cache};
}

static double step_seconds(struct decode *d, double *attention) {
    const struct forward_context f = {d->model, d->pool, &d->activations};
    struct batch batch = decode_batch(d, d->streams);
    uint64_t part_ns[FORWARD_PARTS] = {0};
    d->activations.part_ns = part_ns;
    double start = clock_seconds();
    for (int i = 0; i < STEPS; i++) {
        forward_to_logits(&f, &batch, d->rows, d->streams, d->logits);
    }
    double seconds = (clock_seconds() - start) / STEPS;
    d->activations.part_ns = NULL;
    *attention = (double)part_ns[PART_ATTENTION] * 1e-9 / STEPS;
    return seconds;
}

static void attend(void *pass, struct pool *pool, int worker) {
    attention_stage(pool, worker, pass);
}

static void call_warm(void *context) {
    struct decode *d = context;
    struct batch batch = decode_batch(d, d->streams < WARM_SPANS ? d->streams : WARM_SPANS);
    struct attention_pass pass = attention_pass(d->model, &d->activations, &batch, 0);
    for (int i = 0; i < 8; i++)
        pool_walk(d->pool, attend, &pass);
}

static void report(struct decode *d, int repeat) {
    const struct model_config *c = &d->model->config;
    double step = 1e9, attention = 1e9;
    for (int i = 0; i < repeat; i++) {
        double part, whole = step_seconds(d, &part);
        step = whole < step ? whole : step;
        attention = part < attention ? part : attention;
    }
    int warm_spans = d->streams < WARM_SPANS ? d->streams : WARM_SPANS;
    double warm = bench_best_time(call_warm, d) / 8 / warm_spans * d->streams * c->layers;
    double bytes = 2.0 * d->streams * c->layers * d->positions *
                   ((double)c->d_model + c->heads * (double)sizeof(float));
    printf("%-8d %9.1f %9.3f %12.3f %6.1f%% %7.1f %12.3f\n", d->streams, bytes * 1e-6, step * 1e3,
           attention * 1e3, 100 * attention / step, bytes * 1e-9 / attention, warm * 1e3);
    fflush(stdout);
}

static enum status bench_streams(struct model *model, struct pool *pool, int streams,
                                 const struct attention_options *o, struct error *err) {
    struct decode d = {.model = model, .pool = pool, .streams = streams, .positions = o->positions};
    int rows = streams > o->positions ? streams : o->positions;
    enum status status = activations_create(&d.activations, &model->config, rows, false,
                                            pool_workers(pool), err);
    if (status == STATUS_OK)
        status = kv_cache_create(&d.cache, &model->config, streams, DTYPE_INT8, err);
    if (status == STATUS_OK)
        status = arena_build(&d.arena, layout, &d, err);
    if (status == STATUS_OK) {
        for (int i = 0; i < streams + o->positions; i++)
            d.ids[i] = (i * 7 + 11) % model->config.vocab;
        for (int i = 0; i < streams; i++)
            d.rows[i] = i;
        prefill(&d);
        report(&d, o->repeat);
    }
    arena_destroy(&d.arena);
    kv_cache_destroy(&d.cache);
    activations_destroy(&d.activations);
    return status;
}

static enum status print_peaks(int threads, struct error *err) {
    struct pool *pool;
    enum status status = pool_create(&pool, threads, err);
    if (status != STATUS_OK)
        return status;
    size_t workers = (size_t)pool_workers(pool);
    printf("%2d thread%s: %6.1f GB/s from 512 KiB each, %6.1f from 12 MiB, %6.1f from 512 MiB\n",
           (int)workers, workers > 1 ? "s" : " ", peak_read_gbps(pool, workers << 19),
           peak_read_gbps(pool, (size_t)12 << 20), peak_read_gbps(pool, (size_t)512 << 20));
    pool_destroy(pool);
    return STATUS_OK;
}

static enum status bench_list(struct model *model, struct pool *pool,
                              const struct attention_options *o, struct error *err) {
    printf("\n%-8s %9s %9s %12s %7s %7s %12s\n", "streams", "MB/step", "ms/step", "attention ms",
           "share", "GB/s", "from L2, ms");
    for (const char *next = o->streams; next;) {
        int streams;
        enum status status = bench_next_streams(&next, &streams, err);
        if (status == STATUS_OK)
            status = bench_streams(model, pool, streams, o, err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status run(const void *options_of_command, struct error *err) {
    const struct attention_options *o = options_of_command;
    struct model *model = NULL;
    struct pool *pool = NULL;
    enum status status = flags_used("model", bench_model(&model, o->model, err), err);
    if (status == STATUS_OK)
        status = model_prepare(model, DTYPE_INT8, err);
    if (status == STATUS_OK && o->positions > model->config.positions)
        status = error_set_field(err, STATUS_INVALID, "positions", "--positions is at most %d",
                                 model->config.positions);
    if (status == STATUS_OK)
        status = pool_create(&pool, o->threads, err);
    if (status == STATUS_OK) {
        printf("%s in int8, kernels %s and %s; reading\n", o->model, kernels_get()->name,
               int8_kernels_get()->name);
        status = print_peaks(1, err);
    }
    if (status == STATUS_OK && pool_workers(pool) > 1)
        status = print_peaks(pool_workers(pool), err);
    if (status == STATUS_OK)
        status = bench_list(model, pool, o, err);
    pool_destroy(pool);
    model_destroy(model);
    return status;
}

int bench_attention(int argc, char **argv) {
    struct attention_options options;
    return bench_command("attention", &table, &options, argc, argv, run);
}
