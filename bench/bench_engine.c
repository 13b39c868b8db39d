/* alpaca-bench engine: the scheduler and all below it, without HTTP. */
#include "bench/bench.h"

#include "base/flags.h"
#include "bench/load.h"
#include "engine/kernels/int8.h"
#include "engine/kernels/kernels.h"

#include <stdio.h>
#include <stdlib.h>

struct engine_options {
    const char *model, *numeric, *streams, *cpu;
    int threads, prompt, tokens, prompt_rows;
};

#define AT(member) offsetof(struct engine_options, member)
static const struct flag flags[] = {
    {"model", FLAG_TEXT, AT(model), "alpaca", 0, 0, "NAME",
     "a preset, with random weights, or a model folder"},
    {"numeric", FLAG_TEXT, AT(numeric), "int8", 0, 0, "FORM", "int8, as the server runs it, or f32"},
    {"streams", FLAG_TEXT, AT(streams), "1,2,4,8,16,32,64", 0, 0, "LIST",
     "stories at a time, one line for each"},
    {"prompt", FLAG_INT, AT(prompt), "16", 1, 60000, "tokens", "prompt of every story"},
    {"tokens", FLAG_INT, AT(tokens), "200", 1, 60000, "tokens", "length of every story"},
    {"prompt-rows", FLAG_INT, AT(prompt_rows), "64", 1, 4096, "tokens", "read per step at most"},
    {"threads", FLAG_INT, AT(threads), "0", 0, 64, "", "compute threads; 0 for all cores"},
    {"cpu", FLAG_TEXT, AT(cpu), NULL, 0, 0, "NAME",
     "kernels: portable, avx2 or avx512; by default the best that the CPU has"},
};
static const struct flag_table table = {
    .usage = "alpaca-bench engine [options]",
    .summary = "Tokens per second of the engine: reading prompts, and telling stories.",
    .flags = flags,
    .count = sizeof flags / sizeof *flags,
};

/* One load on a fresh scheduler; first a short one, so that no page is touched for the first time. */
static enum status measure(const struct model *model, const struct engine_options *o,
                           const struct load *load, struct load_result *result,
                           struct error *err) {
    struct scheduler_options options = {.slots = load->streams,
                                        .queue = load->streams,
                                        .threads = o->threads,
                                        .prompt_rows = o->prompt_rows};
    struct scheduler *scheduler = NULL;
    struct load warm_up = *load;
    warm_up.seed++;
    warm_up.new_tokens = load->new_tokens < 8 ? load->new_tokens : 8;
    enum status status = scheduler_create(&scheduler, model, &options, err);
    if (status == STATUS_OK)
        status = load_run(scheduler, &warm_up, result, err);
    if (status == STATUS_OK)
        status = load_run(scheduler, load, result, err);
    scheduler_destroy(scheduler);
    return status;
}

static enum status bench_prefill(const struct model *model, const struct engine_options *o,
                                 struct error *err) {
    struct load load = {.streams = 16, .new_tokens = 1, .vocab = model->config.vocab, .seed = 1};
    load.prompt_tokens = model->config.positions > 200 ? 200 : model->config.positions - 1;
    struct load_result result;
    enum status status = measure(model, o, &load, &result, err);
    if (status != STATUS_OK)
        return status;
    double rate = load.streams * load.prompt_tokens / result.seconds;
    printf("\nprompts of %d tokens: %.0f tokens/s, %.0f GOP/s in linear layers\n",
           load.prompt_tokens, rate, rate * 2 * bench_linear_macs(&model->config, false) / 1e9);
    return STATUS_OK;
}

static enum status bench_streams(const struct model *model, const struct engine_options *o,
                                 int streams, struct error *err) {
    struct load load = {streams, o->prompt, o->tokens, model->config.vocab, 1};
    struct load_result result;
    enum status status = measure(model, o, &load, &result, err);
    if (status != STATUS_OK)
        return status;
    double tokens = (double)result.tokens, rate = tokens / result.seconds;
    double macs = (tokens + streams * o->prompt) * bench_linear_macs(&model->config, false) +
                  tokens * model->config.d_model * model->config.vocab;
    printf("%7d %10.0f %10.0f %10.2f %10.0f\n", streams, rate, rate / streams,
           result.first_token_s * 1e3, 2 * macs / result.seconds / 1e9);
    fflush(stdout);
    return STATUS_OK;
}

static enum status run(const struct engine_options *o, struct error *err) {
    struct model *model = NULL;
    enum numeric numeric;
    if (!numeric_parse(o->numeric, &numeric))
        return error_set_field(err, STATUS_INVALID, "numeric",
                               "--numeric is int8 or f32, not \"%s\"", o->numeric);
    enum status status = kernels_select(o->cpu, err);
    if (status == STATUS_OK)
        status = bench_model(&model, o->model, err);
    if (status == STATUS_OK)
        status = model_prepare(model, numeric, err);
    if (status != STATUS_OK)
        goto cleanup;
    printf("%s in %s, kernels %s and %s\n", o->model, o->numeric, kernels_get()->name,
           int8_kernels_get()->name);
    status = bench_prefill(model, o, err);
    printf("\n%7s %10s %10s %10s %10s\n", "streams", "tokens/s", "each", "first ms", "GOP/s");
    const char *next = o->streams;
    while (status == STATUS_OK && *next) {
        char *end;
        long streams = strtol(next, &end, 10);
        if (end == next || streams < 1 || streams > 4096 || (*end && *end != ','))
            status = error_set_field(err, STATUS_INVALID, "streams",
                                     "--streams is a list of numbers from 1 to 4096");
        else
            status = bench_streams(model, o, (int)streams, err);
        next = *end == ',' ? end + 1 : end;
    }
cleanup:
    model_destroy(model);
    return status;
}

int bench_engine(int argc, char **argv) {
    struct engine_options options;
    struct error err;
    int help = 0;
    enum status status =
        flags_parse(&table, &options, argc, argv, NULL, 0, NULL, &help, &err);
    if (help)
        return 0;
    if (status == STATUS_OK)
        status = run(&options, &err);
    if (status != STATUS_OK)
        fprintf(stderr, "alpaca-bench engine: %s\n", err.message);
    return status == STATUS_OK ? 0 : 1;
}
