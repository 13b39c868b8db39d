#include "train/checkpoint.h"

#include "model/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The counters, once for writing and reading: X(key, format, scan, member). */
#define COUNTERS(X)                                                                             \
    X("step", PRIu64, SCNu64, step)                                                             \
    X("tokens", PRIu64, SCNu64, tokens)                                                         \
    X("epoch", PRIu64, SCNu64, data.epoch)                                                    \
    X("story", PRIu64, SCNu64, data.index)                                                    \
    X("best_step", PRIu64, SCNu64, best_step)                                                   \
    X("seconds", "a", "lf", seconds)                                                            \
    X("best_loss", "a", "lf", best_loss)

#define COUNT(key, format, scan, member) +1
enum { COUNTER_COUNT = 0 COUNTERS(COUNT), TEXT_SIZE = 40 };
#undef COUNT

enum status checkpoint_save(const char *path, const struct trainer *trainer,
                            const struct progress *progress, const char *recipe,
                            struct error *err) {
    struct state_buffer state[TRAINER_STATE_MAX];
    struct safetensors_output tensors[TRAINER_STATE_MAX];
    int buffers = trainer_state(trainer, state);
    for (int i = 0; i < buffers; i++)
        tensors[i] = (struct safetensors_output){
            state[i].name, SAFETENSORS_F32, 1, {state[i].count}, state[i].values};
    char values[COUNTER_COUNT][TEXT_SIZE];
    struct safetensors_text metadata[COUNTER_COUNT + 1];
    size_t count = 0;
#define WRITE(key, format, scan, member)                                                        \
    snprintf(values[count], TEXT_SIZE, "%" format, progress->member);                           \
    metadata[count] = (struct safetensors_text){(char[]){key}, values[count]};                  \
    count++;
    COUNTERS(WRITE)
#undef WRITE
    char *recipe_copy = strdup(recipe);
    if (!recipe_copy)
        return error_set(err, STATUS_NO_MEMORY, "no memory to write %s", path);
    metadata[count++] = (struct safetensors_text){(char[]){"recipe"}, recipe_copy};
    enum status status =
        safetensors_write(path, tensors, (size_t)buffers, metadata, count, err);
    free(recipe_copy);
    return status;
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

static enum status find_buffer(const struct safetensors *file, const char *path,
                               const struct state_buffer *buffer,
                               const struct safetensors_tensor **tensor, struct error *err) {
    *tensor = safetensors_find(file, buffer->name);
    if (*tensor && (*tensor)->dtype == SAFETENSORS_F32 && (*tensor)->count == buffer->count)
        return STATUS_OK;
    return error_set(err, STATUS_CORRUPT, "%s: \"%s\" is missing or of another size", path,
                     buffer->name);
}

enum status checkpoint_load(const char *path, struct trainer *trainer, struct progress *progress,
                            const char *recipe, struct error *err) {
    struct state_buffer state[TRAINER_STATE_MAX];
    const struct safetensors_tensor *tensors[TRAINER_STATE_MAX];
    int buffers = trainer_state(trainer, state);
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
                           "%s is of a run with other settings or data; give --fresh to start "
                           "over, or another --run folder", path);
    for (int i = 0; i < buffers && status == STATUS_OK; i++)
        status = find_buffer(&file, path, &state[i], &tensors[i], err);
    if (status == STATUS_OK)
        status = read_progress(&file, path, &read, err);
    if (status == STATUS_OK) { /* nothing below can fail */
        for (int i = 0; i < buffers; i++)
            (void)safetensors_copy_f32(tensors[i], state[i].values, NULL);
        trainer_refresh(trainer);
        *progress = read;
        trainer->optimizer.steps = read.step;
    }
    safetensors_close(&file);
    return status;
}
