/* alpaca-bench kernels: each kernel of an INT8 model alone, on one thread, on alpaca's shapes. */
#include "bench/bench.h"

#include "base/flags.h"
#include "base/pool.h"
#include "base/rng.h"
#include "bench/peaks.h"
#include "model/attention_int8.h"
#include "model/kernels/int8.h"
#include "model/kernels/kernels.h"
#include "model/pack_weights.h"
#include "model/sampler.h"

#include <stdio.h>
#include <stdlib.h>

struct kernels_options {
    const char *cpu;
};

#define AT(member) offsetof(struct kernels_options, member)
static const struct flag flags[] = {
    {"cpu", FLAG_TEXT, AT(cpu), NULL, 0, 0, "NAME",
     "only these kernels: portable, avx2, avx512 or amx; by default all that the CPU has"},
};
static const struct flag_table table = {
    .usage = "alpaca-bench kernels [options]",
    .summary = "The best of many short runs of each kernel, on one thread.",
    .flags = flags,
    .count = sizeof flags / sizeof *flags,
};

enum { MAX_ROWS = 256, D_MODEL = 512, D_FF = 2048, VOCAB = 4000, POSITIONS = 256 };

static void fill(float *x, size_t count, uint64_t key) {
    for (size_t i = 0; i < count; i++)
        x[i] = (float)rng_normal(key, i);
}

struct work {
    struct int8_matrix matrix;
    size_t rows, row_bytes;
    uint8_t *bytes;
    struct quantization *quantizations;
    float *x, *y, *weights;
    struct kv_cache cache;
    void *scratch;
    size_t position;
    struct sampler *sampler;
    struct sampling sampling;
    struct arena arena;
};

static void call_linear(void *context) {
    struct work *w = context;
    int8_kernels_get()->linear(&w->matrix, w->bytes, w->row_bytes, w->quantizations, w->rows, 0,
                               (w->matrix.out + INT8_PANEL - 1) / INT8_PANEL, w->y, w->matrix.out,
                               false, (struct fetch_list){0});
}

static void call_quantize(void *context) {
    struct work *w = context;
    for (size_t r = 0; r < w->rows; r++)
        kernels_get()->quantize_row(w->bytes + r * w->row_bytes, w->row_bytes, &w->quantizations[r],
                                    w->x + r * w->matrix.in, w->matrix.in);
}

static void call_attention(void *context) {
    struct work *w = context;
    struct kv_head head = kv_cache_head(&w->cache, 0, 0, 0);
    struct head_rows rows = {w->x, w->x + 64, w->x + 128, 192, w->y, 64, w->position, 1};
    attention_int8(&w->cache, &head, &head, &rows, w->scratch);
}

static void call_norm(void *context) {
    struct work *w = context;
    float mean, rstd;
    kernels_get()->layer_norm(w->y, &mean, &rstd, w->x, w->weights, w->weights, D_MODEL, 1e-5f);
}

static void call_sampler(void *context) {
    struct work *w = context;
    const int32_t history[] = {1, 2, 3};
    for (size_t i = 0; i < VOCAB; i++)
        w->y[i] = w->x[i];
    sampler_next(w->sampler, &w->sampling, w->y, history, 3, 3);
}

static void bench_linears(struct work *w, double peak_gops) {
    static const struct {
        int in, out;
    } shapes[] = {{D_MODEL, 3 * D_MODEL}, {D_MODEL, D_MODEL}, {D_MODEL, D_FF}, {D_FF, D_MODEL},
                  {D_MODEL, VOCAB}};
    static const int rows[] = {1, 2, 4, 8, 16, 32, 64, 256};
    printf("\n%-12s", "GOP/s, rows");
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++)
        printf(" %6d", rows[r]);
    printf("\n");
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        struct arena measure = {0}, arena;
        struct int8_matrix m;
        int8_matrix_layout(&m, shapes[s].in, shapes[s].out, &measure);
        if (arena_create(&arena, measure.used, NULL) != STATUS_OK)
            return;
        int8_matrix_layout(&m, shapes[s].in, shapes[s].out, &arena);
        int8_matrix_pack(&m, w->weights, w->weights);
        w->matrix = m;
        w->row_bytes = m.in;
        printf("%4dx%-7d", shapes[s].in, shapes[s].out);
        for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
            w->rows = (size_t)rows[r];
            call_quantize(w);
            double gops = 2e-9 * rows[r] * shapes[s].in * shapes[s].out /
                          bench_best_time(call_linear, w);
            printf(" %6.0f", gops);
            if (r + 1 == sizeof rows / sizeof *rows && peak_gops > 0)
                printf("   (%.0f%% of the peak)", 100 * gops / peak_gops);
            fflush(stdout);
        }
        printf("\n");
        arena_destroy(&arena);
    }
}

static void bench_small(struct work *w) {
    printf("\nmicroseconds\n");
    w->matrix.in = w->row_bytes = D_FF;
    w->rows = 1;
    printf("  %-44s %8.3f\n", "quantizing a row of 2048", 1e6 * bench_best_time(call_quantize, w));
    static const size_t positions[] = {0, 15, 31, 63, 127, 255};
    for (size_t i = 0; i < sizeof positions / sizeof *positions; i++) {
        w->position = positions[i];
        char name[64];
        snprintf(name, sizeof name, "a head of 64 over %zu positions", w->position + 1);
        printf("  %-44s %8.3f\n", name, 1e6 * bench_best_time(call_attention, w));
    }
    printf("  %-44s %8.3f\n", "norm of a row of 512", 1e6 * bench_best_time(call_norm, w));
    w->sampling = sampling_defaults();
    printf("  %-44s %8.3f\n", "drawing one of 4000", 1e6 * bench_best_time(call_sampler, w));
    w->sampling.top_k = 40;
    w->sampling.top_p = 0.95f;
    printf("  %-44s %8.3f\n", "drawing one of 4000, top-k 40, top-p 0.95",
           1e6 * bench_best_time(call_sampler, w));
}

static const struct model_config config = {
    .d_model = D_MODEL, .heads = 8, .layers = 1, .positions = POSITIONS};

static void layout(void *context, struct arena *arena) {
    struct work *w = context;
    w->bytes = arena_take(arena, (size_t)MAX_ROWS * D_FF, sizeof *w->bytes);
    w->quantizations = arena_take(arena, MAX_ROWS, sizeof *w->quantizations);
    w->x = arena_take(arena, (size_t)MAX_ROWS * D_FF, sizeof *w->x);
    w->y = arena_take(arena, (size_t)MAX_ROWS * VOCAB, sizeof *w->y);
    w->weights = arena_take(arena, (size_t)VOCAB * D_MODEL, sizeof *w->weights);
    w->scratch = arena_take(arena, attention_int8_scratch_bytes(&config), 1);
}

static enum status run(const void *options_of_command, struct error *err) {
    const struct kernels_options *o = options_of_command;
    static const char *const names[] = {"amx", "avx512", "avx2", "portable"};
    struct work w = {0};
    struct pool *pool = NULL;
    enum status status = arena_build(&w.arena, layout, &w, err);
    if (status == STATUS_OK)
        status = kv_cache_create(&w.cache, &config, 1, DTYPE_INT8, err);
    if (status == STATUS_OK)
        status = sampler_create(&w.sampler, VOCAB, NULL, 0, err);
    if (status == STATUS_OK)
        status = pool_create(&pool, 1, err);
    if (status == STATUS_OK && o->cpu)
        status = kernels_select(o->cpu, err);
    if (status != STATUS_OK)
        goto cleanup;
    fill(w.x, (size_t)MAX_ROWS * D_FF, 1);
    fill(w.weights, (size_t)VOCAB * D_MODEL, 2);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (kernels_select(o->cpu ? o->cpu : names[i], NULL) != STATUS_OK)
            continue;
        double peak_gops = peak_int8_gops(pool);
        printf("\n== %s and %s, one thread", kernels_get()->name, int8_kernels_get()->name);
        if (peak_gops > 0)
            printf("; peak %.0f GOP/s with the instructions of %s", peak_gops,
                   int8_kernels_get()->name);
        printf("\n");
        bench_linears(&w, peak_gops);
        bench_small(&w);
        if (o->cpu)
            break;
    }
cleanup:
    pool_destroy(pool);
    sampler_destroy(w.sampler);
    kv_cache_destroy(&w.cache);
    arena_destroy(&w.arena);
    return status;
}

int bench_kernels(int argc, char **argv) {
    struct kernels_options options;
    return bench_command("kernels", &table, &options, argc, argv, run);
}
