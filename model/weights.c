#include "model/weights.h"

#include "base/file.h"
#include "base/foreign.h"

#include <cjson/cJSON.h>

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t config_limit_bytes = 64 << 10;

/* ---- config.json ------------------------------------------------------------ */

/* The fields that hold a number, and where it goes. */
static const struct config_number {
    const char *key;
    size_t offset;
    bool real; /* a float, else an int */
} config_numbers[] = {
    {"d_model", offsetof(struct model_config, d_model), false},
    {"num_heads", offsetof(struct model_config, heads), false},
    {"d_ff", offsetof(struct model_config, d_ff), false},
    {"num_layers", offsetof(struct model_config, layers), false},
    {"vocab_size", offsetof(struct model_config, vocab), false},
    {"max_positions", offsetof(struct model_config, positions), false},
    {"norm_eps", offsetof(struct model_config, norm_eps), true},
    {"unk_token_id", offsetof(struct model_config, unk_id), false},
    {"bos_token_id", offsetof(struct model_config, bos_id), false},
    {"eos_token_id", offsetof(struct model_config, eos_id), false},
    {"pad_token_id", offsetof(struct model_config, pad_id), false},
};
enum { CONFIG_NUMBERS = sizeof config_numbers / sizeof config_numbers[0] };

/* The fields that say which variant of the network this is; we run exactly one. */
static const struct config_variant {
    const char *key, *value;
} config_variants[] = {
    {"model_type", "alpaca"}, {"embedding_scale", "sqrt(d_model)"},
    {"position_encoding", "sinusoidal"}, {"norm", "post"}, {"activation", "relu"},
};
enum { CONFIG_VARIANTS = sizeof config_variants / sizeof config_variants[0] };

/* The member, if it is there exactly once. */
static enum status config_member(const cJSON *root, const char *key, const cJSON **member,
                                 struct error *err) {
    *member = NULL;
    for (const cJSON *item = root->child; item; item = item->next) {
        if (strcmp(item->string, key) != 0)
            continue;
        if (*member)
            return error_set_field(err, STATUS_CORRUPT, key, "\"%s\" occurs twice", key);
        *member = item;
    }
    if (!*member)
        return error_set_field(err, STATUS_CORRUPT, key, "\"%s\" is missing", key);
    return STATUS_OK;
}

static enum status read_number(const cJSON *root, const struct config_number *field,
                               struct model_config *config, struct error *err) {
    const cJSON *item;
    enum status status = config_member(root, field->key, &item, err);
    if (status != STATUS_OK)
        return status;
    void *place = (char *)config + field->offset;
    double value = item->valuedouble;
    if (field->real && cJSON_IsNumber(item)) {
        *(float *)place = (float)value; /* its range is model_config_check()'s matter */
        return STATUS_OK;
    }
    if (!cJSON_IsNumber(item) || !(value >= INT_MIN && value <= INT_MAX) ||
        value != floor(value))
        return error_set_field(err, STATUS_CORRUPT, field->key, "\"%s\" is not a %s number",
                               field->key, field->real ? "real" : "whole");
    *(int *)place = (int)value;
    return STATUS_OK;
}

static enum status check_variant(const cJSON *root, const struct config_variant *variant,
                                 struct error *err) {
    const cJSON *item;
    enum status status = config_member(root, variant->key, &item, err);
    if (status != STATUS_OK)
        return status;
    if (!cJSON_IsString(item))
        return error_set_field(err, STATUS_CORRUPT, variant->key, "\"%s\" is not a text",
                               variant->key);
    if (strcmp(item->valuestring, variant->value) != 0)
        return error_set_field(err, STATUS_UNSUPPORTED, variant->key,
                               "\"%s\" is \"%.40s\"; only \"%s\" is supported", variant->key,
                               item->valuestring, variant->value);
    return STATUS_OK;
}

static enum status parse_config(const char *text, size_t size, struct model_config *config,
                                struct error *err) {
    /* The NUL behind the text counts in, so that cJSON sees where it ends. */
    errno = 0; /* cJSON only says that it failed; malloc() says whether memory was why */
    cJSON *root = cJSON_ParseWithLengthOpts(text, size + 1, NULL, true);
    enum status status = STATUS_OK;
    if (!root && errno == ENOMEM)
        status = error_set(err, STATUS_NO_MEMORY, "no memory to read it");
    else if (memchr(text, '\0', size) || !cJSON_IsObject(root))
        status = error_set(err, STATUS_CORRUPT, "not a JSON object");
    for (int i = 0; i < CONFIG_VARIANTS && status == STATUS_OK; i++)
        status = check_variant(root, &config_variants[i], err);
    for (int i = 0; i < CONFIG_NUMBERS && status == STATUS_OK; i++)
        status = read_number(root, &config_numbers[i], config, err);
    cJSON_Delete(root);
    return status == STATUS_OK ? model_config_check(config, err) : status;
}

enum status config_read(const char *path, struct model_config *config, struct error *err) {
    struct error reason = {0};
    struct buffer text = {0};
    *config = (struct model_config){0};
    enum status status = file_check_regular(path, err);
    if (status == STATUS_OK)
        status = file_read(path, config_limit_bytes, &text, err);
    if (status == STATUS_OK && text.size == 0)
        status = error_set(err, STATUS_CORRUPT, "%s is empty", path);
    else if (status == STATUS_OK) {
        size_t mark = utf8_mark(text.data, text.size);
        status = parse_config(text.data + mark, text.size - mark, config, &reason);
        const char *name = status == STATUS_OK ? NULL : foreign_name(text.data, text.size);
        if (name)
            error_set(err, status, "%s is %s", path, name);
        else if (status != STATUS_OK)
            error_set_field(err, status, reason.field, "%.200s: %.190s", path, reason.message);
    }
    buffer_free(&text);
    return status;
}

/* The shortest text that reads back as the same float: 1e-05, not 9.99999975e-06. */
static void format_float(float value, char *text, size_t size) {
    for (int digits = 1; digits <= 9; digits++) {
        snprintf(text, size, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            return;
    }
}

static bool format_config(struct buffer *text, const char *name,
                          const struct model_config *config) {
    cJSON *string = cJSON_CreateString(name);
    char *quoted = string ? cJSON_PrintUnformatted(string) : NULL;
    cJSON_Delete(string);
    if (!quoted)
        return false;
    buffer_printf(text, "{\n  \"name\": %s", quoted);
    cJSON_free(quoted);
    for (int i = 0; i < CONFIG_VARIANTS; i++)
        buffer_printf(text, ",\n  \"%s\": \"%s\"", config_variants[i].key,
                      config_variants[i].value);
    for (int i = 0; i < CONFIG_NUMBERS; i++) {
        const void *place = (const char *)config + config_numbers[i].offset;
        char number[32];
        if (config_numbers[i].real)
            format_float(*(const float *)place, number, sizeof number);
        else
            snprintf(number, sizeof number, "%d", *(const int *)place);
        buffer_printf(text, ",\n  \"%s\": %s", config_numbers[i].key, number);
    }
    return buffer_append_text(text, "\n}\n");
}

enum status config_write(const char *path, const char *name, const struct model_config *config,
                         struct error *err) {
    struct buffer text = {0};
    enum status status = format_config(&text, name, config)
                             ? file_replace(path, text.data, text.size, err)
                             : error_set(err, STATUS_NO_MEMORY, "no memory to write %s", path);
    buffer_free(&text);
    return status;
}

/* ---- tensors ---------------------------------------------------------------- */

static enum status find_tensor(const struct safetensors *file, const char *prefix,
                               const struct tensor_info *info,
                               const struct safetensors_tensor **tensor, struct error *err) {
    char name[160];
    snprintf(name, sizeof name, "%s%s", prefix, info->name);
    *tensor = safetensors_find(file, name);
    if (!*tensor)
        return error_set_field(err, STATUS_CORRUPT, name, "tensor \"%s\" is missing", name);
    const size_t *shape = (*tensor)->shape;
    if ((*tensor)->rank != info->rank || shape[0] != info->rows ||
        (info->rank == 2 && shape[1] != info->columns))
        return error_set_field(err, STATUS_CORRUPT, name,
                               info->rank == 2 ? "tensor \"%s\" is not [%zu, %zu]"
                                               : "tensor \"%s\" is not [%zu]",
                               name, info->rows, info->columns);
    return STATUS_OK;
}

enum status weights_read_buffer(const struct safetensors *file, const char *prefix,
                                const struct model_config *config, float *buffer,
                                struct error *err) {
    for (int i = 0; i < model_tensor_count(config); i++) {
        struct tensor_info info;
        const struct safetensors_tensor *tensor;
        model_tensor(config, i, &info);
        enum status status = find_tensor(file, prefix, &info, &tensor, err);
        if (status == STATUS_OK)
            status = safetensors_copy_f32(tensor, buffer + info.offset, err);
        if (status != STATUS_OK)
            return status;
    }
    return STATUS_OK;
}

/* All tensors there, none too many: one more would be another network, run wrongly.
 * Comes before any memory of the model's size is asked for. */
static enum status check_tensors(const struct safetensors *file, const struct model_config *config,
                                 struct error *err) {
    int count = model_tensor_count(config);
    for (int i = 0; i < count; i++) {
        struct tensor_info info;
        const struct safetensors_tensor *tensor;
        model_tensor(config, i, &info);
        enum status status = find_tensor(file, "", &info, &tensor, err);
        if (status != STATUS_OK)
            return status;
    }
    if (file->count != (size_t)count)
        return error_set(err, STATUS_UNSUPPORTED, "%zu tensors instead of the model's %d",
                         file->count, count);
    return STATUS_OK;
}

static enum status check_finite(const struct model *model, struct error *err) {
    for (int i = 0; i < model_tensor_count(&model->config); i++) {
        struct tensor_info info;
        model_tensor(&model->config, i, &info);
        if (!tensor_is_finite(&info, model->buffer))
            return error_set_field(err, STATUS_CORRUPT, info.name,
                                   "tensor \"%s\" holds a NaN or an infinity", info.name);
    }
    return STATUS_OK;
}

/* Says what a folder without a model.safetensors holds instead. */
static enum status name_other_weights(const char *folder, struct error *err) {
    static const struct {
        const char *file, *words;
    } others[] = {
        {"model.safetensors.index.json", "weights in several files (sharded); write them as one"},
        {"pytorch_model.bin", "PyTorch's pickled weights; save them as one"},
        {"pytorch_model.bin.index.json", "PyTorch's pickled weights in several files; save them as "
                                         "one"},
    };
    char path[FILE_PATH_BYTES];
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (file_join(path, folder, others[i].file, NULL) == STATUS_OK && file_exists(path))
            return error_set(err, STATUS_UNSUPPORTED, "%s: %s model.safetensors (there is a %s)",
                             folder, others[i].words, others[i].file);
    return STATUS_NOT_FOUND;
}

enum status weights_load(const char *folder, struct model **out, struct error *err) {
    struct model_config config;
    struct safetensors file = {0};
    struct model *model = NULL;
    struct error reason = {0};
    char path[FILE_PATH_BYTES];
    *out = NULL;
    enum status status = file_join(path, folder, "config.json", err);
    if (status == STATUS_OK)
        status = config_read(path, &config, err);
    if (status == STATUS_OK)
        status = file_join(path, folder, "model.safetensors", err);
    if (status == STATUS_OK)
        status = safetensors_open(&file, path, err);
    if (status == STATUS_NOT_FOUND)
        return name_other_weights(folder, err);
    if (status != STATUS_OK)
        return status;
    status = check_tensors(&file, &config, &reason);
    if (status == STATUS_OK)
        status = model_create(&model, &config, &reason);
    if (status == STATUS_OK)
        status = weights_read_buffer(&file, "", &config, model->buffer, &reason);
    if (status == STATUS_OK)
        status = check_finite(model, &reason);
    safetensors_close(&file);
    if (status != STATUS_OK) {
        model_destroy(model);
        return error_set_field(err, status, reason.field, "%.200s: %.190s", path, reason.message);
    }
    *out = model;
    return STATUS_OK;
}

enum status weights_save(const char *folder, const char *name, const struct model *model,
                         enum safetensors_dtype dtype, struct error *err) {
    char path[FILE_PATH_BYTES], format_key[] = "format", format[] = "pt";
    const struct safetensors_text metadata = {format_key, format}; /* torch expects it */
    int count = model_tensor_count(&model->config);
    struct safetensors_output *outputs = calloc((size_t)count, sizeof *outputs);
    struct tensor_info *infos = calloc((size_t)count, sizeof *infos);
    enum status status = STATUS_OK;
    if (!outputs || !infos) {
        status = error_set(err, STATUS_NO_MEMORY, "no memory for the tensor list");
        goto cleanup;
    }
    for (int i = 0; i < count; i++) {
        model_tensor(&model->config, i, &infos[i]);
        outputs[i] = (struct safetensors_output){
            .name = infos[i].name,
            .dtype = dtype,
            .rank = infos[i].rank,
            .shape = {infos[i].rows, infos[i].columns},
            .values = model->buffer + infos[i].offset,
        };
    }
    status = file_make_folder(folder, err);
    if (status == STATUS_OK)
        status = file_join(path, folder, "model.safetensors", err);
    if (status == STATUS_OK)
        status = safetensors_write(path, outputs, (size_t)count, &metadata, 1, err);
    if (status == STATUS_OK)
        status = file_join(path, folder, "config.json", err);
    if (status == STATUS_OK)
        status = config_write(path, name, &model->config, err);

cleanup:
    free(outputs);
    free(infos);
    return status;
}

enum status weights_check_tokenizer(const char *folder, const char *tokenizer, struct error *err) {
    char path[FILE_PATH_BYTES];
    struct file_map own = {0}, expected = {0};
    enum status status = file_join(path, folder, "tokenizer.model", err);
    if (status == STATUS_OK)
        status = file_map_open(&own, path, err);
    if (status == STATUS_OK)
        status = file_map_open(&expected, tokenizer, err);
    if (status == STATUS_OK &&
        (own.size != expected.size || memcmp(own.data, expected.data, own.size) != 0))
        status = error_set(err, STATUS_INVALID, "%s is not the tokenizer %s", path, tokenizer);
    file_map_close(&own);
    file_map_close(&expected);
    return status;
}
