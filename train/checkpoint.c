#include "train/checkpoint.h"

#include "engine/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The counters, once for writing and reading: X(key, format, scan, member). */
#define COUNTERS(X)                                                                             \
    X("step", PRIu64, SCNu64, step)                                                             \
    X("tokens", PRIu64, SCNu64, tokens)                                                         \
    X("epoch", PRIu64, SCNu64, cursor.epoch)                                                    \
    X("story", PRIu64, SCNu64, cursor.index)                                                    \
    X("best_step", PRIu64, SCNu64, best_step)                                                   \
    X("stale", PRIu64, SCNu64, stale)                                                           \
    X("seconds", "a", "lf", seconds)                                                            \
    X("best_loss", "a", "lf", best_loss)

enum status checkpoint_save(const char *path, const struct trainer *trainer,
                            const struct progress *progress, const char *recipe,
                            struct error *err) {
    size_t floats = model_buffer_floats(&trainer->model->config);
    const struct safetensors_output tensors[] = {
        {"parameters", SAFETENSORS_F32, 1, {floats}, trainer->model->buffer},
        {"moment1", SAFETENSORS_F32, 1, {floats}, trainer->optimizer.moment1},
        {"moment2", SAFETENSORS_F32, 1, {floats}, trainer->optimizer.moment2},
    };
    enum { MAX_TEXTS = 16, TEXT_SIZE = 40 };
    char values[MAX_TEXTS][TEXT_SIZE];
    char recipe_copy[4096];
    struct safetensors_text metadata[MAX_TEXTS];
    size_t count = 0;
#define WRITE(key, format, scan, member)                                                        \
    snprintf(values[count], TEXT_SIZE, "%" format, progress->member);                           \
    metadata[count] = (struct safetensors_text){(char[]){key}, values[count]};                  \
    count++;
    COUNTERS(WRITE)
#undef WRITE
    snprintf(recipe_copy, sizeof recipe_copy, "%s", recipe);
    metadata[count++] = (struct safetensors_text){(char[]){"recipe"}, recipe_copy};
    return safetensors_write(path, tensors, sizeof tensors / sizeof *tensors, metadata, count,
                             err);
}

static enum status read_progress(const struct safetensors *file, const char *path,
                                 struct progress *progress, struct error *err) {
#define READ(key, format, scan, member)                                                         \
    {                                                                                           \
        const char *text = safetensors_metadata(file, key);                                     \
        if (!text || sscanf(text, "%" scan, &progress->member) != 1)                            \
            return error_set(err, STATUS_CORRUPT, "%s has no usable \"%s\"", path, key);        \
    }
    COUNTERS(READ)
#undef READ
    return STATUS_OK;
}

static enum status find_buffer(const struct safetensors *file, const char *path, const char *name,
                               size_t floats, const struct safetensors_tensor **tensor,
                               struct error *err) {
    *tensor = safetensors_find(file, name);
    if (*tensor && (*tensor)->dtype == SAFETENSORS_F32 && (*tensor)->count == floats)
        return STATUS_OK;
    return error_set(err, STATUS_CORRUPT, "%s: \"%s\" is missing or of another size", path, name);
}

enum status checkpoint_load(const char *path, struct trainer *trainer, struct progress *progress,
                            const char *recipe, struct error *err) {
    const struct {
        const char *name;
        float *values;
    } buffers[] = {{"parameters", trainer->model->buffer},
                   {"moment1", trainer->optimizer.moment1},
                   {"moment2", trainer->optimizer.moment2}};
    const struct safetensors_tensor *tensors[3];
    struct progress read = {0};
    struct safetensors file;
    enum status status = safetensors_open(&file, path, err);
    if (status != STATUS_OK)
        return status;
    const char *saved = safetensors_metadata(&file, "recipe");
    if (!saved)
        status = error_set(err, STATUS_CORRUPT, "%s is not a checkpoint of this trainer", path);
    else if (strcmp(saved, recipe) != 0)
        status = error_set(err, STATUS_INVALID,
                           "%s is of a run with other settings; give --fresh to start over, or "
                           "another --run folder", path);
    for (int i = 0; i < 3 && status == STATUS_OK; i++)
        status = find_buffer(&file, path, buffers[i].name,
                             model_buffer_floats(&trainer->model->config), &tensors[i], err);
    if (status == STATUS_OK)
        status = read_progress(&file, path, &read, err);
    if (status == STATUS_OK) { /* nothing below can fail */
        for (int i = 0; i < 3; i++)
            (void)safetensors_copy_f32(tensors[i], buffers[i].values, NULL);
        *progress = read;
        trainer->optimizer.steps = read.step;
    }
    safetensors_close(&file);
    return status;
}
