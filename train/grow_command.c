/* `alpaca-train grow`: model folders in, a larger model folder out. */
#include "base/default_path.h"
#include "base/file.h"
#include "base/flags.h"
#include "base/pool.h"
#include "model/weights.h"
#include "tokenizer/tokenizer.h"
#include "train/commands.h"
#include "train/data/dataset.h"
#include "train/grow.h"

#include <stdio.h>

struct grow_options {
    const char *preset, *out, *data;
    int layers, threads;
    uint64_t seed;
};

#define AT(member) offsetof(struct grow_options, member)
static const struct flag flags[] = {
    {"preset", FLAG_TEXT, AT(preset), "alpaca", 0, 0, "NAME", "the larger model's"},
    {"layers", FLAG_INT, AT(layers), "0", 0, MODEL_MAX_LAYERS, "",
     "of the larger model; 0 for the preset's"},
    {"out", FLAG_TEXT, AT(out), NULL, 0, 0, "DIR",
     "model folder to write (default build/models/PRESET-grown)"},
    {"data", FLAG_TEXT, AT(data), NULL, 0, 0, "FILE",
     "stories, the first of which the norms are set on (default build/data/train.txt)"},
    {"seed", FLAG_U64, AT(seed), "1", 0, 1e15, "", "of what the smaller models do not fill"},
    {"threads", FLAG_INT, AT(threads), "0", 0, 64, "", "compute threads; 0 for all cores"},
};
static const struct flag_table table = {
    .usage = "alpaca-train grow [options] MODEL_FOLDER...",
    .summary = "Writes a larger model that begins as smaller ones side by side, to be trained on\n"
               "by `fit --start`. Two models of preset mini fill the heads and the hidden units\n"
               "of one of preset alpaca exactly, and 432 of its 512 dimensions.",
    .flags = flags,
    .count = sizeof flags / sizeof *flags,
    .max_arguments = GROW_MAX_SOURCES,
};

enum { CALIBRATION_ROWS = 4096 };

static enum status calibrate(struct model *model, const struct model *const *sources, int count,
                             const struct dataset *dataset, struct pool *pool,
                             struct error *err) {
    struct data_loader_options plan = {.once = true, .max_rows = CALIBRATION_ROWS};
    struct data_loader *loader;
    struct span spans[CALIBRATION_ROWS];
    enum status status =
        data_loader_open(&loader, dataset, &plan, (struct data_loader_state){0}, err);
    if (status != STATUS_OK)
        return status;
    const struct story_batch *stories = data_loader_next(loader);
    for (size_t i = 0; i < stories->stories; i++)
        spans[i] = (struct span){.rows = stories->lengths[i]};
    struct batch batch = {.ids = stories->inputs,
                          .rows = (int)stories->rows,
                          .spans = spans,
                          .span_count = (int)stories->stories};
    status = grow_calibrate(model, sources, count, &batch, pool, err);
    data_loader_close(loader);
    return status;
}

/* Where the larger model goes, which is none of the folders that it grows from. */
static enum status find_out(char out[FILE_PATH_BYTES], const struct grow_options *o,
                            char **folders, int count, struct error *err) {
    char name[32];
    snprintf(name, sizeof name, "%s-grown", o->preset);
    enum status status = default_path(out, o->out, "build/models", name, err);
    for (int i = 0; i < count && status == STATUS_OK; i++)
        if (file_same(out, folders[i]))
            status = error_set_field(err, STATUS_INVALID, "out",
                                     "--out: %s is one of the models to grow from; give another "
                                     "folder", out);
    return status;
}

static enum status write_folder(const char *folder, const char *preset, const struct model *model,
                                const char *tokenizer, struct error *err) {
    enum status status =
        flags_used("out", weights_save(folder, preset, model, SAFETENSORS_F32, err), err);
    if (status == STATUS_OK)
        status = flags_used("out", tokenizer_copy(tokenizer, folder, err), err);
    if (status == STATUS_OK)
        printf("%s\n", folder);
    return status;
}

static enum status run(const struct grow_options *o, char **folders, int count,
                       struct error *err) {
    struct pool *pool = NULL;
    struct model *model = NULL, *sources[GROW_MAX_SOURCES] = {0};
    struct tokenizer *tokenizer = NULL;
    struct dataset dataset = {0};
    char path[FILE_PATH_BYTES], data[FILE_PATH_BYTES], out[FILE_PATH_BYTES];
    const struct model_config *preset = model_preset(o->preset);
    if (!preset)
        return error_set_field(err, STATUS_INVALID, "preset",
                               "--preset must be small, mini or alpaca, not \"%s\"", o->preset);
    struct model_config config = *preset;
    if (o->layers)
        config.layers = o->layers;
    enum status status = find_out(out, o, folders, count, err);
    if (status == STATUS_OK)
        status = file_join(path, folders[0], "tokenizer.model", err);
    if (status == STATUS_OK)
        status = default_path(data, o->data, "build/data", "train.txt", err);
    if (status == STATUS_OK)
        status = pool_create(&pool, o->threads, err);
    if (status == STATUS_OK)
        status = model_create(&model, &config, err);
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        status = weights_check_tokenizer(folders[i], path, err);
        if (status == STATUS_OK)
            status = weights_load(folders[i], &sources[i], err);
    }
    const struct model *const *read = (const struct model *const *)sources;
    if (status == STATUS_OK)
        status = grow(model, read, count, o->seed, err);
    if (status == STATUS_OK)
        status = tokenizer_load(&tokenizer, path, err);
    const struct dataset_source source = {data, tokenizer, (size_t)config.positions,
                                          CALIBRATION_ROWS}; /* a row or more each */
    if (status == STATUS_OK)
        status = flags_used("data", dataset_load(&dataset, &source, pool, err), err);
    if (status == STATUS_OK)
        status = calibrate(model, read, count, &dataset, pool, err);
    if (status == STATUS_OK)
        status = write_folder(out, o->preset, model, path, err);
    dataset_free(&dataset);
    tokenizer_free(tokenizer);
    for (int i = 0; i < count; i++)
        model_destroy(sources[i]);
    model_destroy(model);
    pool_destroy(pool);
    return status;
}

int grow_command(int argc, char **argv) {
    struct grow_options options;
    struct error err;
    bool help = false;
    enum status status = flags_parse(&table, &options, &argc, argv, &help, &err);
    if (help)
        return 0;
    if (status == STATUS_OK && argc == 0)
        status = error_set(&err, STATUS_INVALID, "name the model folders to grow from");
    if (status != STATUS_OK) {
        fprintf(stderr, "alpaca-train grow: %s\n", err.message);
        return 2;
    }
    status = run(&options, argv, argc, &err);
    if (status != STATUS_OK)
        fprintf(stderr, "alpaca-train grow: %s\n", err.message);
    return status == STATUS_OK ? 0 : 1;
}
