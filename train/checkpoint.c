#include "train/checkpoint.h"

#include "base/flags.h"
#include "model/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The counters, once for writing and reading: X(key, format, scan, member). */
#define COUNTERS(X)                                                                             \
    X("step", PRIu64, SCNu64, step)                                                             \
    X("tokens", PRIu64, SCNu64, tokens)                                                         \
    X("epoch", PRIu64, SCNu64, data.epoch)                                                      \
    X("story", PRIu64, SCNu64, data.index)                                                      \
    X("mix_epoch", PRIu64, SCNu64, data.mix_epoch)                                              \
    X("mix_story", PRIu64, SCNu64, data.mix_index)                                              \
    X("best_step", PRIu64, SCNu64, best_step)                                                   \
    X("seconds", "a", "lf", seconds)                                                            \
    X("best_loss", "a", "lf", best_loss)

#define COUNT(key, format, scan, member) +1
enum { COUNTER_COUNT = 0 COUNTERS(COUNT), TEXT_SIZE = 40 };
#undef COUNT

enum status checkpoint_save(const char *path, const struct trainer *trainer,
                            const struct progress *progress, const struct run_identity *identity,
                            struct error *err) {
    struct state_buffer state[TRAINER_STATE_MAX];
    struct safetensors_output tensors[TRAINER_STATE_MAX];
    int buffers = trainer_state(trainer, state);
    enum status status = trainer_fetch(trainer, err);
    if (status != STATUS_OK)
        return status;
    for (int i = 0; i < buffers; i++)
        tensors[i] = (struct safetensors_output){
            state[i].name, SAFETENSORS_F32, 1, {state[i].count}, state[i].values};
    char values[COUNTER_COUNT][TEXT_SIZE];
    struct safetensors_text metadata[COUNTER_COUNT + 3];
    size_t count = 0;
#define WRITE(key, format, scan, member)                                                        \
    snprintf(values[count], TEXT_SIZE, "%" format, progress->member);                           \
    metadata[count] = (struct safetensors_text){(char[]){key}, values[count]};                  \
    count++;
    COUNTERS(WRITE)
#undef WRITE
    char *recipe = strdup(identity->recipe), *kept = strdup(identity->kept);
    char *how = strdup(identity->how);
    metadata[count++] = (struct safetensors_text){(char[]){"recipe"}, recipe};
    metadata[count++] = (struct safetensors_text){(char[]){"kept"}, kept};
    metadata[count++] = (struct safetensors_text){(char[]){"how"}, how};
    if (recipe && kept && how)
        status = safetensors_write(path, tensors, (size_t)buffers, metadata, count, err);
    else
        status = error_set(err, STATUS_NO_MEMORY, "no memory to write %s", path);
    free(recipe);
    free(kept);
    free(how);
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

/* One "key=value" of an identity. */
struct setting {
    const char *key, *value; /* no NUL behind them */
    int key_bytes, value_bytes;
};

static bool next_setting(const char **at, struct setting *setting) {
    const char *text = *at + strspn(*at, " ");
    int bytes = (int)strcspn(text, " "), key = (int)strcspn(text, "= ");
    int equals = key < bytes;
    *at = text + bytes;
    *setting = (struct setting){text, text + key + equals, key, bytes - key - equals};
    return bytes > 0;
}

static bool same_key(const struct setting *a, const struct setting *b) {
    return a->key_bytes == b->key_bytes && memcmp(a->key, b->key, (size_t)a->key_bytes) == 0;
}

/* The setting of the same key; "none" where there is no such. */
static struct setting setting_like(const char *text, const struct setting *like) {
    struct setting setting;
    while (next_setting(&text, &setting))
        if (same_key(&setting, like))
            return setting;
    return (struct setting){like->key, "none", like->key_bytes, 4};
}

enum status checkpoint_setting(const char *path, const char *key, char *value, size_t size,
                               struct error *err) {
    struct safetensors file;
    enum status status = flags_used("run", safetensors_open(&file, path, err), err);
    if (status != STATUS_OK)
        return status;
    const char *recipe = safetensors_metadata(&file, "recipe");
    struct setting setting, wanted = {.key = key, .key_bytes = (int)strlen(key)};
    *value = '\0';
    for (const char *at = recipe ? recipe : ""; next_setting(&at, &setting);)
        if (same_key(&setting, &wanted))
            snprintf(value, size, "%.*s", setting.value_bytes, setting.value);
    safetensors_close(&file);
    return STATUS_OK;
}

/* The key as the flag that a user gives. */
static void append_difference(struct buffer *text, const struct setting *before,
                              const struct setting *now) {
    static const char *const hashes[] = {"data=", "start=", "teacher=", "tokenizer=", "valid="};
    bool data = strncmp(before->key, "data=", 5) == 0, hash = false;
    for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++)
        hash |= strncmp(before->key, hashes[i], strlen(hashes[i])) == 0;
    buffer_printf(text, "%s--%.*s ", text->size ? ", " : "", data ? 5 : before->key_bytes,
                  data ? "train" : before->key);
    if (hash)
        buffer_append_text(text, "(other content)");
    else
        buffer_printf(text, "%.*s (now %.*s)", before->value_bytes, before->value,
                      now->value_bytes, now->value);
}

static void append_differences(struct buffer *text, const char *before, const char *now) {
    struct setting setting;
    for (const char *at = before; next_setting(&at, &setting);) {
        struct setting other = setting_like(now, &setting);
        if (other.value_bytes != setting.value_bytes ||
            memcmp(other.value, setting.value, (size_t)other.value_bytes) != 0)
            append_difference(text, &setting, &other);
    }
    for (const char *at = now; next_setting(&at, &setting);) {
        struct setting other = setting_like(before, &setting);
        if (strncmp(other.value, "none", 4) == 0 && strncmp(setting.value, "none", 4) != 0)
            append_difference(text, &other, &setting);
    }
}

/* Bytes of the differences that a message has room for, in whole ones. */
static int shown_bytes(const struct buffer *text) {
    enum { ROOM = 150 };
    if (text->size <= ROOM)
        return (int)text->size;
    int bytes = ROOM;
    while (bytes > 0 && text->data[bytes] != ',')
        bytes--;
    return bytes > 0 ? bytes : ROOM;
}

static enum status refuse_identity(const char *path, const struct run_identity *saved,
                                   const struct run_identity *identity, struct error *err) {
    struct buffer text = {0};
    if (*saved->kept)
        append_differences(&text, saved->kept, identity->kept);
    append_differences(&text, saved->recipe, identity->recipe);
    int bytes = shown_bytes(&text);
    enum status status = error_set(
        err, STATUS_INVALID,
        "the checkpoint is of a run with other settings or data: %.*s%s; give the same again, "
        "--fresh to start over, or another --run folder than that of %s",
        bytes, text.data ? text.data : "", (size_t)bytes < text.size ? ", ..." : "", path);
    buffer_free(&text);
    return status;
}

enum status checkpoint_load(const char *path, struct trainer *trainer, struct progress *progress,
                            const struct run_identity *identity, struct buffer *changes,
                            struct error *err) {
    struct state_buffer state[TRAINER_STATE_MAX];
    const struct safetensors_tensor *tensors[TRAINER_STATE_MAX];
    int buffers = trainer_state(trainer, state);
    struct progress read = {0};
    struct safetensors file;
    enum status status = flags_used("run", safetensors_open(&file, path, err), err);
    if (status != STATUS_OK)
        return status;
    const char *kept = safetensors_metadata(&file, "kept");
    const char *how = safetensors_metadata(&file, "how");
    const struct run_identity saved = {safetensors_metadata(&file, "recipe"), kept ? kept : "",
                                       how ? how : ""};
    if (!saved.recipe)
        status = error_set(err, STATUS_CORRUPT, "%s is not a checkpoint of this trainer", path);
    else if (strcmp(saved.recipe, identity->recipe) != 0)
        status = refuse_identity(path, &saved, identity, err);
    for (int i = 0; i < buffers && status == STATUS_OK; i++)
        status = find_buffer(&file, path, &state[i], &tensors[i], err);
    if (status == STATUS_OK)
        status = read_progress(&file, path, &read, err);
    if (status == STATUS_OK && read.best_step > 0 && kept && strcmp(kept, identity->kept) != 0)
        status = refuse_identity(path, &saved, identity, err);
    if (status == STATUS_OK) { /* nothing below can fail but a device */
        for (int i = 0; i < buffers; i++)
            (void)safetensors_copy_f32(tensors[i], state[i].values, NULL);
        trainer->optimizer.steps = read.step;
        status = trainer_refresh(trainer, err);
    }
    if (status == STATUS_OK) {
        *progress = read;
        if (changes)
            append_differences(changes, saved.how, identity->how);
    }
    safetensors_close(&file);
    return status;
}
