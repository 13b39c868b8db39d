/* alpaca-bench model: a model folder of a preset's shape with random weights. They run as fast as
 * trained ones, so a server can be measured before anything is trained. */
#include "bench/bench.h"

#include "model/weights.h"
#include "tokenizer/tokenizer.h"

#include <stdio.h>

struct write_options {
    const char *preset, *tokenizer, *out;
};

#define AT(member) offsetof(struct write_options, member)
static const struct flag flags[] = {
    {"preset", FLAG_TEXT, AT(preset), "alpaca", 0, 0, "NAME", "shape of the model"},
    {"tokenizer", FLAG_TEXT, AT(tokenizer), "weights/mini/tokenizer.model", 0, 0, "FILE",
     "vocabulary to put beside the weights; as large as the preset's"},
    {"out", FLAG_TEXT, AT(out), NULL, 0, 0, "FOLDER", "where to; created when missing"},
};
static const struct flag_table table = {
    .usage = "alpaca-bench model --out FOLDER [options]",
    .summary = "Writes a model folder with random weights that never end a story.",
    .flags = flags,
    .count = sizeof flags / sizeof *flags,
};

/* Checks that the vocabulary fits, so that the folder opens, and copies it. */
static enum status copy_tokenizer(const char *from, const char *folder, int vocab,
                                  struct error *err) {
    struct tokenizer *tokenizer = NULL;
    enum status status = tokenizer_load(&tokenizer, from, err);
    if (status == STATUS_OK && tokenizer_vocab_size(tokenizer) != (size_t)vocab)
        status = error_set_field(err, STATUS_INVALID, "tokenizer",
                                 "%s has %zu pieces, the preset has %d", from,
                                 tokenizer_vocab_size(tokenizer), vocab);
    if (status == STATUS_OK)
        status = tokenizer_copy(from, folder, err);
    tokenizer_free(tokenizer);
    return status;
}

static enum status run(const void *options_of_command, struct error *err) {
    const struct write_options *o = options_of_command;
    struct model *model = NULL;
    if (!o->out)
        return error_set_field(err, STATUS_INVALID, "out", "say where to with --out FOLDER");
    if (!model_preset(o->preset))
        return error_set_field(err, STATUS_INVALID, "preset", "there is no preset \"%s\"",
                               o->preset);
    enum status status = bench_model(&model, o->preset, err);
    if (status == STATUS_OK)
        status =
            flags_used("out", weights_save(o->out, o->preset, model, SAFETENSORS_BF16, err), err);
    if (status == STATUS_OK)
        status = flags_used("tokenizer",
                            copy_tokenizer(o->tokenizer, o->out, model->config.vocab, err), err);
    model_destroy(model);
    return status;
}

int bench_write_model(int argc, char **argv) {
    struct write_options options;
    return bench_command("model", &table, &options, argc, argv, run);
}
