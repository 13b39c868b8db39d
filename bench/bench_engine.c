/* alpaca-bench engine: the scheduler and all below it, without HTTP. */
#include "bench/bench.h"

#include "base/flags.h"
#include "base/pool.h"
#include "bench/busy_loops.h"
#include "bench/load.h"
#include "bench/peaks.h"
#include "engine/draft.h"
#include "model/kernels/int8.h"
#include "model/kernels/kernels.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

struct engine_options {
    const char *model, *dtype, *streams, *cpu, *draft, *draft_tokens;
    int threads, prompt, tokens, prefill_chunk, repeat;
    bool busy;
};

#define AT(member) offsetof(struct engine_options, member)
static const struct flag flags[] = {
    {"model", FLAG_TEXT, AT(model), "alpaca", 0, 0, "NAME",
     "a preset, with random weights, or a model folder"},
    {"numeric", FLAG_TEXT, AT(dtype), "int8", 0, 0, "FORM", "int8, as the server runs it, or f32"},
    {"streams", FLAG_TEXT, AT(streams), "1,2,4,8,16,32,64", 0, 0, "LIST",
     "stories at a time, one line for each"},
    {"prompt", FLAG_INT, AT(prompt), "16", 1, 60000, "tokens", "prompt of every story"},
    {"tokens", FLAG_INT, AT(tokens), "200", 1, 60000, "tokens", "length of every story"},
    {"prompt-rows", FLAG_INT, AT(prefill_chunk), "64", 1, 4096, "tokens", "read per step at most"},
    {"repeat", FLAG_INT, AT(repeat), "5", 1, 1000, "times", "each load, of which the best counts"},
    {"threads", FLAG_INT, AT(threads), "0", 0, 64, "", "compute threads; 0 for all cores"},
    {"cpu", FLAG_TEXT, AT(cpu), NULL, 0, 0, "NAME",
     "kernels: portable, avx2, avx512 or amx; by default the best that the CPU has"},
    {"draft", FLAG_TEXT, AT(draft), "off", 0, 0, "FOLDER",
     "a draft model, or auto: real stories, with it and without in turns; the medians count"},
    {"draft-tokens", FLAG_TEXT, AT(draft_tokens), "auto", 0, 0, "tokens",
     "proposed at a time, 1 to 16; auto: as many as are worth their while"},
    {"busy", FLAG_SWITCH, AT(busy), NULL, 0, 0, "",
     "each load again while another process spins on every core"},
};
static const struct flag_table table = {
    .usage = "alpaca-bench engine [options]",
    .summary = "Tokens per second of the engine: reading prompts, and generating stories.",
    .flags = flags,
    .count = sizeof flags / sizeof *flags,
};

struct figures {
    struct load_result result;
    struct scheduler_profile profile;
};

static void await_idle(struct scheduler *scheduler) {
    while (!scheduler_stats(scheduler).idle)
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

/* A load on a fresh scheduler, after a short one that touches every page. The best of several
 * runs, because whatever else the machine does only makes it slower. */
static enum status measure(const struct model *model, const struct engine_options *o,
                           const struct load *load, struct figures *figures, struct error *err) {
    struct scheduler_options options = {.slots = load->streams,
                                        .queue = load->streams,
                                        .threads = o->threads,
                                        .prefill_chunk = o->prefill_chunk};
    struct scheduler *scheduler = NULL;
    struct load warm_up = *load;
    *figures = (struct figures){0};
    warm_up.seed++;
    warm_up.new_tokens = load->new_tokens < 8 ? load->new_tokens : 8;
    enum status status = scheduler_create(&scheduler, model, &options, err);
    if (status == STATUS_OK)
        status = load_run(scheduler, &warm_up, &figures->result, err);
    for (int i = 0; i < o->repeat && status == STATUS_OK; i++) {
        struct figures now = {0};
        struct load again = *load;
        again.seed += (uint64_t)i * 100;
        await_idle(scheduler);
        scheduler_measure(scheduler, &now.profile);
        status = load_run(scheduler, &again, &now.result, err);
        await_idle(scheduler);
        if (i == 0 || now.result.seconds < figures->result.seconds)
            *figures = now;
    }
    scheduler_destroy(scheduler);
    return status;
}

/* Rate of the linear layers alone, and the share of the whole that each part takes. */
static void print_parts(const struct figures *f, double macs, double peak_gops) {
    const struct scheduler_profile *p = &f->profile;
    double total = (double)p->total_ns, linears = (double)p->part_ns[PART_LINEARS];
    double gops = 2 * macs / linears;
    double measured = linears + (double)p->part_ns[PART_ATTENTION] +
                      (double)p->part_ns[PART_NORMS] + (double)p->sampling_ns;
    printf(" %8.3f %7.1f%% %7.1f%% %7.1f%% %7.1f%% %7.1f%% %7.1f%%", total / 1e6 / (double)p->steps,
           100 * linears / total, 100 * (double)p->part_ns[PART_ATTENTION] / total,
           100 * (double)p->part_ns[PART_NORMS] / total, 100 * (double)p->sampling_ns / total,
           100 * (total - measured) / total, 100 * (double)p->waiting_ns / total);
    printf(" %8.1f %8.0f", (double)p->barriers / (double)p->steps, gops);
    if (peak_gops > 0)
        printf(" %6.1f%%", 100 * gops / peak_gops);
    printf("\n");
    fflush(stdout);
}

static void print_header(const char *first) {
    printf("\n%-9s %9s %8s %8s %8s %8s %8s %8s %8s %8s %8s %8s %7s\n", first, "tokens/s",
           "first ms", "ms/step", "linears", "attent.", "norms", "sampling", "other", "waiting",
           "barriers", "GOP/s", "of peak");
}

static enum status bench_prefill(const struct model *model, const struct engine_options *o,
                                 double peak_gops, struct error *err) {
    struct load load = {.streams = 16, .stories = 16, .new_tokens = 1, .temperature = 0.7f,
                        .vocab = model->config.vocab, .seed = 1};
    load.prompt_tokens = model->config.positions > 200 ? 200 : model->config.positions - 1;
    struct figures f;
    enum status status = measure(model, o, &load, &f, err);
    if (status != STATUS_OK)
        return status;
    double rows = (double)load.streams * load.prompt_tokens;
    printf("%dx%-6d %9.0f %8.2f", load.streams, load.prompt_tokens, rows / f.result.seconds,
           f.result.first_token_s * 1e3);
    print_parts(&f, rows * bench_linear_macs(&model->config, false) +
                        load.streams * (double)model->config.d_model * model->config.vocab,
                peak_gops);
    return STATUS_OK;
}

/* The same once more, while as many processes spin as there are cores: each gets half of one. */
static enum status bench_busy(const struct model *model, const struct engine_options *o,
                              const struct load *load, double seconds, struct error *err) {
    struct busy_loops busy_loops;
    struct figures f;
    enum status status = busy_loops_start(&busy_loops, err);
    if (status != STATUS_OK)
        return status;
    status = measure(model, o, load, &f, err);
    busy_loops_stop(&busy_loops);
    if (status == STATUS_OK)
        printf("%-9s %9.0f          %.0f %% of the above\n", "  busy",
               (double)f.result.tokens / f.result.seconds, 100 * seconds / f.result.seconds);
    return status;
}

static enum status bench_streams(const struct model *model, const struct engine_options *o,
                                 int streams, double peak_gops, struct error *err) {
    struct load load = {.streams = streams,
                        .stories = streams,
                        .prompt_tokens = o->prompt,
                        .new_tokens = o->tokens,
                        .vocab = model->config.vocab,
                        .temperature = 0.7f,
                        .seed = 1};
    struct figures f;
    enum status status = measure(model, o, &load, &f, err);
    if (status != STATUS_OK)
        return status;
    double tokens = (double)f.result.tokens;
    double macs = (tokens + streams * o->prompt) * bench_linear_macs(&model->config, false) +
                  tokens * model->config.d_model * model->config.vocab;
    printf("%-9d %9.0f %8.2f", streams, tokens / f.result.seconds, f.result.first_token_s * 1e3);
    print_parts(&f, macs, peak_gops);
    return o->busy ? bench_busy(model, o, &load, f.result.seconds, err) : STATUS_OK;
}

/* The machine's limits, in the same run, as the engine's rates mean little without them. */
static enum status print_peaks(const struct engine_options *o, size_t model_bytes,
                               double *peak_gops, struct error *err) {
    struct pool *pool;
    enum status status = pool_create(&pool, o->threads, err);
    if (status != STATUS_OK)
        return status;
    *peak_gops = peak_int8_gops(pool);
    printf("%d threads; peaks: ", pool_workers(pool));
    if (*peak_gops > 0)
        printf("int8 with %s %.0f GOP/s, ", int8_kernels_get()->name, *peak_gops);
    printf("reading %.0f MB again and again %.1f GB/s, 512 MB %.1f GB/s\n",
           (double)model_bytes / 1e6,
           peak_read_gbps(pool, model_bytes), peak_read_gbps(pool, (size_t)512 << 20));
    pool_destroy(pool);
    return STATUS_OK;
}

/* One load after another; `model` is NULL where --draft loads it. */
static enum status bench_list(const struct model *model, const struct engine_options *o,
                              double peak_gops, const struct bench_drafts *drafts,
                              struct error *err) {
    const char *next = o->streams;
    while (next) {
        int streams;
        enum status status = bench_next_streams(&next, &streams, err);
        if (status == STATUS_OK)
            status = model ? bench_streams(model, o, streams, peak_gops, err)
                           : bench_drafts(drafts, streams, err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

static enum status run_drafts(const struct engine_options *o, struct error *err) {
    struct bench_drafts drafts = {.model = o->model,
                                  .draft = o->draft,
                                  .threads = o->threads,
                                  .prefill_chunk = o->prefill_chunk,
                                  .tokens = o->tokens,
                                  .repeat = o->repeat,
                                  .temperature = sampling_defaults().temperature,
                                  .seed = 1};
    enum status status = draft_tokens_parse(o->draft_tokens, &drafts.draft_tokens, err);
    if (status != STATUS_OK)
        return status;
    printf("%s with a draft, kernels %s and %s\n", o->model, kernels_get()->name,
           int8_kernels_get()->name);
    bench_drafts_header();
    return bench_list(NULL, o, 0, &drafts, err);
}

static enum status run(const void *options_of_command, struct error *err) {
    const struct engine_options *o = options_of_command;
    struct model *model = NULL;
    enum dtype dtype;
    if (!dtype_parse(o->dtype, &dtype))
        return error_set_field(err, STATUS_INVALID, "numeric",
                               "--numeric is int8 or f32, not \"%s\"", o->dtype);
    enum status status = kernels_select(o->cpu, err);
    if (status == STATUS_OK && strcmp(o->draft, "off") != 0)
        return run_drafts(o, err);
    if (status == STATUS_OK)
        status = flags_used("model", bench_model(&model, o->model, err), err);
    if (status == STATUS_OK)
        status = model_prepare(model, dtype, err);
    if (status != STATUS_OK)
        goto cleanup;
    printf("%s in %s, kernels %s and %s\n", o->model, o->dtype, kernels_get()->name,
           int8_kernels_get()->name);
    double peak_gops = 0;
    status = print_peaks(o, (size_t)bench_linear_macs(&model->config, true), &peak_gops, err);
    if (dtype != DTYPE_INT8)
        peak_gops = 0;
    if (status == STATUS_OK) {
        print_header("prompts");
        status = bench_prefill(model, o, peak_gops, err);
    }
    if (status == STATUS_OK) {
        print_header("streams");
        status = bench_list(model, o, peak_gops, NULL, err);
    }
cleanup:
    model_destroy(model);
    return status;
}

int bench_engine(int argc, char **argv) {
    struct engine_options options;
    return bench_command("engine", &table, &options, argc, argv, run);
}
