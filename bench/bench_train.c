/* alpaca-bench train: whole training steps (forward, backward, optimizer) over random stories. */
#include "bench/bench.h"
#include "bench/peaks.h"

#include "base/clock.h"
#include "base/flags.h"
#include "base/pool.h"
#include "base/rng.h"
#include "model/kernels/bf16.h"
#include "train/ranks.h"
#include "train/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct train_options {
    const char *preset, *optimizer, *dtype, *device;
    int batch_tokens, micro_tokens, threads;
    double seconds, dropout;
};

#define AT(member) offsetof(struct train_options, member)
static const struct flag flags[] = {
    {"preset", FLAG_TEXT, AT(preset), "all", 0, 0, "NAME", "small, mini, alpaca or all"},
    {"optimizer", FLAG_TEXT, AT(optimizer), "adam", 0, 0, "NAME", "adam, adamw or muon"},
    {"batch-tokens", FLAG_INT, AT(batch_tokens), "8192", 1, 1e7, "tokens", "per step"},
    DEVICE_FLAG(AT(device))
    {"micro-tokens", FLAG_INT, AT(micro_tokens), "0", 0, 1e7, "tokens",
     "computed at a time; 0 for 2048" DEVICE_MICRO_ROWS},
    {"numeric", FLAG_TEXT, AT(dtype), "all", 0, 0, "FORM",
     "of the matrix products: int8, bf16, f32, or all that the CPU has"},
    {"threads", FLAG_INT, AT(threads), "0", 0, 64, "", "compute threads; 0 for all cores"},
    {"seconds", FLAG_REAL, AT(seconds), "10", 0, 3600, "s", "of steps per preset, at least one"},
    {"dropout", FLAG_REAL, AT(dropout), "0.1", 0, 0.9, "", "share of values dropped"},
};
static const struct flag_table table = {
    .usage = "alpaca-bench train [options]",
    .summary = "Tokens per second of training steps on random stories, after one step to warm up,\n"
               "and the share that their arithmetic has of what the cores can do at most, which\n"
               "is measured too.",
    .flags = flags,
    .count = sizeof flags / sizeof *flags,
};

/* Stories of 64 to 256 tokens, together at most `rows`. The memory is for the caller to free. */
static enum status random_stories(struct story_batch *batch, int32_t **memory, int rows, int vocab,
                                  struct error *err) {
    size_t count = (size_t)rows;
    int32_t *ids = calloc(3 * count, sizeof *ids);
    *memory = ids;
    *batch = (struct story_batch){0};
    if (!ids)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %d tokens", rows);
    int32_t *targets = ids + count, *lengths = targets + count;
    for (uint64_t i = 0; batch->rows < count; i++) {
        size_t length = 64 + rng_bits(1, i) % 192, left = count - batch->rows;
        lengths[batch->stories++] = (int32_t)(length < left ? length : left);
        batch->rows += length < left ? length : left;
    }
    for (size_t i = 0; i < count; i++) {
        ids[i] = (int32_t)(rng_bits(2, i) % (uint64_t)vocab);
        targets[i] = (int32_t)(rng_bits(3, i) % (uint64_t)vocab);
    }
    batch->inputs = ids;
    batch->targets = targets;
    batch->lengths = lengths;
    return STATUS_OK;
}

/* Forward and both gradients: three products per weight, and attention's as many. */
static double step_flops(const struct model_config *c, const struct story_batch *batch) {
    double pairs = 0;
    for (size_t s = 0; s < batch->stories; s++)
        pairs += 0.5 * (double)batch->lengths[s] * (batch->lengths[s] + 1);
    return 6 * (bench_linear_macs(c, true) * (double)batch->rows +
                2 * pairs * c->d_model * c->layers);
}

/* Prints a row of the table, after the preset's name. A `peak` of 0 GFLOP/s is unknown. */
static void print_speed(const struct model_config *config, enum dtype dtype,
                        const struct story_batch *batch, int steps, double seconds, double peak) {
    double rate = steps * step_flops(config, batch) / seconds / 1e9;
    printf(" %10zu %7s %7d %10.0f %10.1f", model_parameter_count(config), dtype_name(dtype), steps,
           steps * (double)batch->rows / seconds, rate);
    if (peak > 0)
        printf(" %6.0f %%", 100 * rate / peak);
    putchar('\n');
}

/* What the parts of a step take on the trainer's device, over a few steps more. */
static enum status print_parts(struct trainer *trainer, const struct story_batch *batch,
                               const struct step_options *step, struct error *err) {
    static const char *const names[] = {"products", "attention", "rows", "loss", "update"};
    enum { STEPS = 10 };
    const struct device_kind *kind = trainer->device->kind;
    double seconds[DEVICE_PARTS], sums[DEVICE_PARTS] = {0};
    struct step_result result;
    enum status status = kind->time_parts(trainer->device, seconds, err);
    for (int i = 0; i < STEPS && status == STATUS_OK; i++) {
        status = trainer_step(trainer, batch, step, &result, err);
        if (status == STATUS_OK)
            status = kind->time_parts(trainer->device, seconds, err);
        for (int part = 0; part < DEVICE_PARTS; part++)
            sums[part] += seconds[part] / STEPS;
    }
    printf("%8s ms a step:", "");
    for (int part = 0; part < DEVICE_PARTS; part++)
        printf(" %s %.2f", names[part], 1e3 * sums[part]);
    putchar('\n');
    return status;
}

static enum status run_preset(const char *name, const struct train_options *o,
                              const struct trainer_options *options, double peak,
                              struct pool *pool, struct error *err) {
    struct model *model = NULL;
    struct trainer trainer = {0};
    struct story_batch batch;
    int32_t *memory = NULL;
    struct step_result result;
    struct step_options step = {.rates = {1e-4f, 1e-4f, 0},
                                .clip = 1,
                                .dropout = (float)o->dropout};
    enum status status = bench_model(&model, name, err);
    if (status == STATUS_OK)
        status = trainer_create(&trainer, model, pool, options, err);
    if (status == STATUS_OK)
        status = random_stories(&batch, &memory, o->batch_tokens, model->config.vocab, err);
    if (status == STATUS_OK)
        status = trainer_step(&trainer, &batch, &step, &result, err);
    int steps = 0;
    double start = clock_seconds(), seconds = 0;
    while (status == STATUS_OK && ranks_max(steps == 0 || seconds < o->seconds)) {
        step.dropout_key = (uint64_t)++steps;
        status = trainer_step(&trainer, &batch, &step, &result, err);
        seconds = clock_seconds() - start;
    }
    if (status == STATUS_OK && trainer.device) {
        status = trainer.device->kind->wait(trainer.device, err);
        seconds = clock_seconds() - start;
    }
    if (status == STATUS_OK) {
        printf("%-8s", name);
        print_speed(&model->config, options->dtype, &batch, steps, seconds, peak);
    }
    if (status == STATUS_OK && trainer.device)
        status = print_parts(&trainer, &batch, &step, err);
    fflush(stdout);
    trainer_destroy(&trainer);
    model_destroy(model);
    free(memory);
    return status;
}

static void print_head(void) {
    printf("%-8s %10s %7s %7s %10s %10s %8s\n", "preset", "parameters", "numeric", "steps",
           "tokens/s", "GFLOP/s", "of peak");
}

/* The presets that --preset names, one after another. */
static enum status run_presets(const struct train_options *o,
                               const struct trainer_options *options, double peak,
                               struct pool *pool, struct error *err) {
    static const char *const presets[] = {"small", "mini", "alpaca"};
    enum status status = STATUS_OK;
    for (size_t i = 0; i < sizeof presets / sizeof *presets && status == STATUS_OK; i++)
        if (strcmp(o->preset, "all") == 0 || strcmp(o->preset, presets[i]) == 0)
            status = run_preset(presets[i], o, options, peak, pool, err);
    return status;
}

/* A device's peak is not measured. */
static enum status run_on_device(const struct train_options *o, struct trainer_options *options,
                                 bool exact, struct pool *pool, struct error *err) {
    options->dtype = exact ? DTYPE_F32 : DTYPE_BF16;
    printf("%s, %d tokens a step, %s\n", options->device->name, o->batch_tokens, o->optimizer);
    print_head();
    return run_presets(o, options, 0, pool, err);
}

static enum status run(const void *options_of_command, struct error *err) {
    const struct train_options *o = options_of_command;
    struct trainer_options options = {
        .optimizer = {.beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .momentum = 0.95f},
        .micro_rows = o->micro_tokens ? o->micro_tokens : 2048};
    struct pool *pool = NULL;
    enum status status = device_find(o->device, &options.device, err);
    if (status != STATUS_OK)
        return status;
    if (options.device && o->micro_tokens == 0)
        options.micro_rows = options.device->micro_rows;
    if (options.micro_rows < 256)
        return error_set_field(err, STATUS_INVALID, "micro-tokens",
                               "--micro-tokens must be at least 256, the longest story's rows");
    if (!optimizer_kind_parse(o->optimizer, &options.optimizer.kind))
        return error_set_field(err, STATUS_INVALID, "optimizer",
                               "--optimizer must be adam, adamw or muon, not \"%s\"",
                               o->optimizer);
    bool every = strcmp(o->dtype, "all") == 0;
    enum dtype only = DTYPE_F32;
    if (!every && !dtype_parse(o->dtype, &only))
        return error_set_field(err, STATUS_INVALID, "numeric",
                               "--numeric must be int8, bf16, f32 or all, not \"%s\"", o->dtype);
    if (only != DTYPE_F32 && !bf16_available() && !options.device)
        return error_set_field(err, STATUS_UNSUPPORTED, "numeric",
                               "this CPU has no BF16 products (avx512_bf16)");
    if (strcmp(o->preset, "all") != 0 && !model_preset(o->preset))
        return error_set_field(err, STATUS_INVALID, "preset",
                               "--preset must be small, mini, alpaca or all, not \"%s\"",
                               o->preset);
    status = pool_create(&pool, o->threads, err);
    if (status == STATUS_OK && options.device) {
        status = run_on_device(o, &options, !every && only == DTYPE_F32, pool, err);
        pool_destroy(pool);
        return status;
    }
    if (status != STATUS_OK)
        return status;
    double ranks = ranks_count();
    double peaks[] = {[DTYPE_F32] = ranks * peak_f32_gflops(pool),
                      [DTYPE_BF16] = ranks * peak_bf16_gflops(pool)};
    /* Two of the three products of a weight are of integers, the third stays in BF16. */
    double int8_gops = ranks * peak_int8_gops(pool);
    double mixed = bf16_available() ? 3 / (2 / int8_gops + 1 / peaks[DTYPE_BF16]) : 0;
    printf("%d x %d threads, %d tokens a step, %s; at most %.0f GFLOP/s in fp32, %.0f in BF16, and "
           "%.0f with two thirds in INT8\n",
           ranks_count(), pool_workers(pool), o->batch_tokens, o->optimizer, peaks[DTYPE_F32],
           peaks[DTYPE_BF16], mixed);
    print_head();
    const enum dtype dtypes[] = {DTYPE_INT8, DTYPE_BF16, DTYPE_F32};
    for (int f = 0; f < 3; f++) {
        if (every ? dtypes[f] != DTYPE_F32 && !bf16_available() : dtypes[f] != only)
            continue;
        options.dtype = dtypes[f];
        double peak = dtypes[f] == DTYPE_INT8 ? mixed : peaks[dtypes[f]];
        if (status == STATUS_OK)
            status = run_presets(o, &options, peak, pool, err);
    }
    pool_destroy(pool);
    return status;
}

int bench_train(int argc, char **argv) {
    struct train_options options = {0};
    struct error err;
    if (ranks_begin(&err) != STATUS_OK) {
        fprintf(stderr, "alpaca-bench train: %s\n", err.message);
        return 1;
    }
    int status = bench_command("train", &table, &options, argc, argv, run);
    ranks_end();
    return status;
}
