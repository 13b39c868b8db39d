/* bench-llama-cpp: the engine beside llama.cpp, with the same load: some prompts of random ids at
 * once, and as many tokens for each, drawn at temperature 0.7 from the whole vocabulary. llama.cpp
 * runs a model of our shape in each type of weights asked for. All take turns, so that whatever
 * else the machine does meets all, and the ratios within turns count. */
#include "base/cpu.h"
#include "base/file.h"
#include "base/program.h"
#include "bench/bench.h"
#include "bench/llama_cpp/llama_side.h"
#include "bench/llama_cpp/our_side.h"
#include "model/blas.h"
#include "model/kernels/int8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct compare_options {
    const char *streams, *types, *model, *folder;
    int prompt, tokens, threads, repeat;
    bool flash, draft;
};

#define AT(member) offsetof(struct compare_options, member)
static const struct flag flags[] = {
    {"streams", FLAG_TEXT, AT(streams), "1,8,32", 0, 0, "LIST", "stories at a time"},
    {"types", FLAG_TEXT, AT(types), "q8_0,q4_0,f16,bf16", 0, 0, "LIST",
     "of llama.cpp's weights; f32 too"},
    {"flash", FLAG_SWITCH, AT(flash), "on", 0, 0, "", "llama.cpp's flash attention"},
    {"prompt", FLAG_INT, AT(prompt), "16", 1, 64, "tokens", "prompt of every story"},
    {"tokens", FLAG_INT, AT(tokens), "200", 1, 60000, "tokens", "length of every story"},
    {"threads", FLAG_INT, AT(threads), "0", 0, 64, "", "of each side; 0 for all cores"},
    {"repeat", FLAG_INT, AT(repeat), "7", 1, 1000, "turns", "of which the medians count"},
    {"draft", FLAG_SWITCH, AT(draft), "on", 0, 0, "", "also stories of --model with its draft"},
    {"model", FLAG_TEXT, AT(model), "weights/alpaca", 0, 0, "FOLDER", "for --draft"},
    {"folder", FLAG_TEXT, AT(folder), "build/llama.cpp", 0, 0, "FOLDER",
     "where to write llama.cpp's models, TYPE.gguf"},
};
static const struct flag_table table = {
    .usage = "bench-llama-cpp [options]",
    .summary = "Tokens per second of the engine and of llama.cpp.",
    .flags = flags,
    .count = sizeof flags / sizeof *flags,
};

enum { MOST_TYPES = 8 };

/* llama.cpp with one type of weights, and what it did in each turn. */
struct theirs {
    struct llama_side *side;
    char type[16];
    double *rates, *ratios, *drafted_ratios; /* [repeat] */
    double seconds, decode;                  /* of all turns */
};

struct comparison {
    const struct compare_options *options;
    struct model *model; /* ours, with random weights */
    struct theirs theirs[MOST_TYPES];
    int count;
    double *rates, *drafted; /* ours, [repeat] */
    double *values;          /* memory of all these */
};

static enum status add_type(struct comparison *c, const char *type, struct error *err) {
    const struct compare_options *o = c->options;
    struct theirs *t = &c->theirs[c->count];
    char name[32], file[FILE_PATH_BYTES];
    if (c->count == MOST_TYPES)
        return error_set_field(err, STATUS_INVALID, "types", "--types names at most %d types",
                               MOST_TYPES);
    strcpy(t->type, type);
    snprintf(name, sizeof name, "%s.gguf", type);
    enum status status = file_join(file, o->folder, name, err);
    if (status == STATUS_OK)
        status = llama_write_model(file, &c->model->config, type, err);
    if (status == STATUS_OK)
        status = llama_side_open(&t->side, file, o->flash, o->threads, err);
    if (status == STATUS_OK)
        c->count++;
    return status;
}

static enum status open_types(struct comparison *c, struct error *err) {
    const struct compare_options *o = c->options;
    enum status status = file_make_folder(o->folder, err);
    for (const char *next = o->types; next && status == STATUS_OK;) {
        char type[16];
        status = flags_next_item(&next, "types", type, sizeof type, err);
        if (status == STATUS_OK)
            status = add_type(c, type, err);
    }
    return status;
}

/* One turn; the first one, `turn` -1, is to warm up. */
static enum status run_turn(struct comparison *c, struct our_side *ours, struct load *load,
                            int turn, struct error *err) {
    int at = turn < 0 ? 0 : turn;
    load->seed = (uint64_t)(turn + 2) * 100;
    enum status status = our_side_run(ours, load, &c->rates[at], err);
    if (status == STATUS_OK && c->options->draft)
        status = our_side_run_drafted(ours, load, &c->drafted[at], err);
    for (int i = 0; i < c->count && status == STATUS_OK && turn >= 0; i++) {
        struct theirs *t = &c->theirs[i];
        struct llama_result result;
        status = llama_side_run(t->side, load, c->model->config.positions, &result, err);
        if (status != STATUS_OK)
            break;
        t->seconds += result.seconds;
        t->decode += result.decode;
        t->rates[at] = (double)result.tokens / result.seconds;
        t->ratios[at] = c->rates[at] / t->rates[at];
        t->drafted_ratios[at] = c->drafted[at] / t->rates[at];
    }
    return status;
}

static void print_load(struct comparison *c, int streams) {
    int repeat = c->options->repeat;
    printf("\n%d streams: %.0f tokens/s", streams, bench_median(c->rates, repeat));
    if (c->options->draft)
        printf("; stories with a draft %.0f", bench_median(c->drafted, repeat));
    printf("\n%-9s %9s %9s %7s %17s%s\n", "llama.cpp", "tokens/s", "decoding", "ratio",
           "least and most", c->options->draft ? "  with a draft" : "");
    for (int i = 0; i < c->count; i++) {
        struct theirs *t = &c->theirs[i];
        double ratio = bench_median(t->ratios, repeat); /* sorts */
        printf("%-9s %9.0f %8.1f%% %7.2f %9.2f to %5.2f", t->type, bench_median(t->rates, repeat),
               100 * t->decode / t->seconds, ratio, t->ratios[0], t->ratios[repeat - 1]);
        if (c->options->draft)
            printf(" %13.2f", bench_median(t->drafted_ratios, repeat));
        printf("\n");
    }
    fflush(stdout);
}

static enum status compare(struct comparison *c, int streams, struct error *err) {
    const struct compare_options *o = c->options;
    struct load load = {.streams = streams,
                        .stories = streams,
                        .prompt_tokens = o->prompt,
                        .new_tokens = o->tokens,
                        .vocab = c->model->config.vocab,
                        .temperature = 0.7f};
    struct our_side ours;
    for (int i = 0; i < c->count; i++)
        c->theirs[i].seconds = c->theirs[i].decode = 0;
    enum status status =
        our_side_open(&ours, c->model, o->draft ? o->model : NULL, streams, o->threads, err);
    for (int turn = -1; turn < o->repeat && status == STATUS_OK; turn++)
        status = run_turn(c, &ours, &load, turn, err);
    if (status == STATUS_OK)
        print_load(c, streams);
    our_side_close(&ours);
    return status;
}

static enum status allocate(struct comparison *c, struct error *err) {
    size_t repeat = (size_t)c->options->repeat;
    double *next = c->values = calloc(repeat * (2 + 3 * MOST_TYPES), sizeof *next);
    if (!next)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the rates");
    c->rates = next;
    c->drafted = next += repeat;
    for (int i = 0; i < MOST_TYPES; i++) {
        c->theirs[i].rates = next += repeat;
        c->theirs[i].ratios = next += repeat;
        c->theirs[i].drafted_ratios = next += repeat;
    }
    return STATUS_OK;
}

static enum status run(const struct compare_options *o, struct error *err) {
    struct comparison c = {.options = o};
    llama_start();
    enum status status = allocate(&c, err);
    if (status == STATUS_OK)
        status = bench_model(&c.model, "alpaca", err);
    if (status == STATUS_OK && o->prompt + o->tokens > c.model->config.positions)
        status = error_set_field(err, STATUS_INVALID, "tokens",
                                 "--prompt and --tokens are %d together at most",
                                 c.model->config.positions);
    if (status == STATUS_OK)
        status = model_prepare(c.model, DTYPE_INT8, err);
    if (status == STATUS_OK)
        status = open_types(&c, err);
    if (status == STATUS_OK) {
        llama_print_version();
        printf("%d threads each; ours in int8, kernels %s; flash attention %s\n", o->threads,
               int8_kernels_get()->name, o->flash ? "on" : "off");
        fflush(stdout);
    }
    for (const char *next = o->streams; next && status == STATUS_OK;) {
        int streams;
        status = bench_next_streams(&next, &streams, err);
        if (status == STATUS_OK)
            status = compare(&c, streams, err);
    }
    for (int i = 0; i < c.count; i++)
        llama_side_close(c.theirs[i].side);
    model_destroy(c.model);
    free(c.values);
    return status;
}

int main(int argc, char **argv) {
    struct compare_options options;
    struct error err;
    bool help = false;
    program_start();
    blas_init(argv);
    argc--;
    enum status status = flags_parse(&table, &options, &argc, argv + 1, &help, &err);
    if (status == STATUS_OK && !help) {
        options.threads = options.threads ? options.threads : cpu_count();
        status = run(&options, &err);
    }
    if (status != STATUS_OK)
        fprintf(stderr, "bench-llama-cpp: %s\n", err.message);
    return program_end("bench-llama-cpp", status == STATUS_OK ? 0 : 1);
}
