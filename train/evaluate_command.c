#include "base/default_path.h"
#include "base/flags.h"
#include "base/pool.h"
#include "model/sampler.h"
#include "model/weights.h"
#include "train/commands.h"
#include "train/evaluation.h"
#include "train/ranks.h"
#include "train/sample.h"

#include <stdio.h>
#include <string.h>

struct evaluate_options {
    const char *model, *data, *tell, *device;
    int threads;
    double temperature;
    uint64_t seed;
    bool unmasked, json;
};

#define AT(member) offsetof(struct evaluate_options, member)
static const struct flag flags[] = {
    {"model", FLAG_TEXT, AT(model), NULL, 0, 0, "DIR", "model folder (default weights/alpaca)"},
    {"data", FLAG_TEXT, AT(data), NULL, 0, 0, "FILE",
     "stories, in any form that prepare reads (default data/tinystories-valid.jsonl.xz)"},
    {"threads", FLAG_INT, AT(threads), "0", 0, 64, "", "compute threads; 0 for all cores"},
    DEVICE_FLAG(AT(device))
    {"unmasked", FLAG_SWITCH, AT(unmasked), NULL, 0, 0, "",
     "run without the causal mask, as no model is trained: every token sees its whole story"},
    {"tell", FLAG_TEXT, AT(tell), NULL, 0, 0, "TEXT",
     "after the figures, a story that goes on from this"},
    {"temperature", FLAG_REAL, AT(temperature), "0.7", 0, SAMPLING_TEMPERATURE_MAX, "",
     "of that story"},
    {"seed", FLAG_U64, AT(seed), "1", 0, 1e15, "", "of that story"},
    {"json", FLAG_SWITCH, AT(json), NULL, 0, 0, "", "print one JSON object"},
};
static const struct flag_table table = {
    .usage = "alpaca-train evaluate [options] [MODEL_FOLDER]",
    .summary = "Prints the loss of a model over a set of stories: nats per token (every story's\n"
               "end counts as a token) and bits per byte of text.",
    .flags = flags,
    .count = sizeof flags / sizeof *flags,
    .max_arguments = 1,
};

static void print(const struct evaluate_options *o, const char *model, const char *data,
                  const struct evaluation *e) {
    if (o->json)
        printf("{\"loss\":%.6f,\"bits_per_byte\":%.6f,\"tokens\":%zu,\"stories\":%zu}\n", e->loss,
               e->bits_per_byte, e->tokens, e->stories);
    else
        printf("%s on %s%s\n  %.4f nats per token\n  %.4f bits per byte\n"
               "  %zu tokens, %zu stories\n",
               model, data, o->unmasked ? ", without the causal mask" : "", e->loss,
               e->bits_per_byte, e->tokens, e->stories);
}

/* Prints a story that goes on from --tell. */
static enum status print_story(const struct evaluate_options *o, const struct model *model,
                               struct pool *pool, const struct tokenizer *tokenizer,
                               struct error *err) {
    struct sampling sampling = sampling_defaults();
    struct buffer story = {0};
    sampling.temperature = (float)o->temperature;
    sampling.seed = o->seed;
    const struct sample_options options = {model, pool, tokenizer, &sampling, o->unmasked};
    enum status status = sample_story(&options, o->tell, &story, err);
    if (status == STATUS_OK)
        printf("%.*s\n", (int)story.size, story.size ? story.data : "");
    buffer_free(&story);
    return status;
}

/* Evaluates on the CPU, or on a device that is given a copy of the model. */
static enum status evaluate_on(const struct evaluate_options *o, const struct model *model,
                               struct pool *pool, const struct dataset *dataset,
                               struct evaluation *evaluation, struct error *err) {
    enum { DEVICE_ROWS_AT_ONCE = 16384 };
    struct evaluated what = {.model = model, .pool = pool, .unmasked = o->unmasked};
    const struct device_kind *kind;
    int longest = (int)dataset->longest_rows;
    struct device_options options = {
        .config = &model->config,
        .dtype = DTYPE_F32,
        .max_rows = longest > DEVICE_ROWS_AT_ONCE ? longest : DEVICE_ROWS_AT_ONCE};
    enum status status = device_find(o->device, &kind, err);
    if (status == STATUS_OK && kind)
        status = kind->open(&what.device, &options, err);
    if (status == STATUS_OK && kind)
        status = kind->send(what.device, DEVICE_PARAMETERS, model->buffer, err);
    if (status == STATUS_OK)
        status = evaluate(&what, dataset, evaluation, err);
    if (what.device)
        kind->close(what.device);
    return status;
}

static enum status open_model(const char *folder, struct model **model,
                              struct tokenizer **tokenizer, struct error *err) {
    char path[FILE_PATH_BYTES];
    enum status status = file_join(path, folder, "tokenizer.model", err);
    if (status == STATUS_OK)
        status = weights_load(folder, model, err);
    if (status == STATUS_OK)
        status = tokenizer_load(tokenizer, path, err);
    if (status == STATUS_OK && tokenizer_vocab_size(*tokenizer) != (size_t)(*model)->config.vocab)
        status = error_set(err, STATUS_INVALID, "%s has %zu pieces, the model %d", path,
                           tokenizer_vocab_size(*tokenizer), (*model)->config.vocab);
    return status;
}

static enum status run(const struct evaluate_options *o, struct error *err) {
    struct pool *pool = NULL;
    struct model *model = NULL;
    struct tokenizer *tokenizer = NULL;
    struct dataset dataset = {0};
    struct evaluation evaluation;
    char folder[FILE_PATH_BYTES], data[FILE_PATH_BYTES];
    if (o->json && o->tell)
        return error_set_field(err, STATUS_INVALID, "tell", "--tell does not go with --json");
    enum status status = default_path(folder, o->model, "weights", "alpaca", err);
    if (status == STATUS_OK)
        status = default_path(data, o->data, "data", "tinystories-valid.jsonl.xz", err);
    if (status == STATUS_OK)
        status = pool_create(&pool, o->threads, err);
    if (status == STATUS_OK)
        status = flags_used("model", open_model(folder, &model, &tokenizer, err), err);
    if (status == STATUS_OK) {
        const struct dataset_source source = {data, tokenizer, (size_t)model->config.positions, 0};
        status = flags_used("data", dataset_load(&dataset, &source, pool, err), err);
    }
    status = ranks_agree(status, err);
    if (status == STATUS_OK)
        status = evaluate_on(o, model, pool, &dataset, &evaluation, err);
    if (status == STATUS_OK)
        print(o, folder, data, &evaluation);
    if (status == STATUS_OK && o->tell)
        status = print_story(o, model, pool, tokenizer, err);
    dataset_free(&dataset);
    tokenizer_free(tokenizer);
    model_destroy(model);
    pool_destroy(pool);
    return status;
}

int evaluate_command(int argc, char **argv) {
    struct evaluate_options options = {0};
    struct error err;
    bool help = false;
    enum status status = flags_parse(&table, &options, &argc, argv, &help, &err);
    if (help)
        return 0;
    int failure = status == STATUS_OK ? 1 : 2; /* 2: a wrong command */
    if (status == STATUS_OK && argc > 0)
        options.model = argv[0];
    if (status == STATUS_OK)
        status = run(&options, &err);
    if (status != STATUS_OK && ranks_lead())
        fprintf(stderr, "alpaca-train evaluate: %s\n", err.message);
    return status == STATUS_OK ? 0 : failure;
}
