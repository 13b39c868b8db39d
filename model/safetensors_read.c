#include "model/safetensors_internal.h"

#include "base/foreign.h"

#include <cjson/cJSON.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* cJSON keeps numbers as doubles; up to here they are exact. */
static const double exact_limit = 9007199254740992.0;

/* Every dtype of the format. The sizes of those that no model uses are checked too. */
static const struct dtype_entry {
    const char *name;
    unsigned bits;
    enum safetensors_dtype dtype;
} dtype_names[] = {
    {"F32", 32, SAFETENSORS_F32},      {"BF16", 16, SAFETENSORS_BF16},
    {"I32", 32, SAFETENSORS_OTHER},    {"I64", 64, SAFETENSORS_OTHER},
    {"BOOL", 8, SAFETENSORS_OTHER},    {"U8", 8, SAFETENSORS_OTHER},
    {"I8", 8, SAFETENSORS_OTHER},      {"F8_E5M2", 8, SAFETENSORS_OTHER},
    {"F8_E4M3", 8, SAFETENSORS_OTHER}, {"F8_E8M0", 8, SAFETENSORS_OTHER},
    {"F4", 4, SAFETENSORS_OTHER},      {"F6_E2M3", 6, SAFETENSORS_OTHER},
    {"F6_E3M2", 6, SAFETENSORS_OTHER}, {"I16", 16, SAFETENSORS_OTHER},
    {"U16", 16, SAFETENSORS_OTHER},    {"F16", 16, SAFETENSORS_OTHER},
    {"U32", 32, SAFETENSORS_OTHER},    {"F64", 64, SAFETENSORS_OTHER},
    {"U64", 64, SAFETENSORS_OTHER},    {"C64", 64, SAFETENSORS_OTHER},
};
enum { DTYPE_NAMES = sizeof dtype_names / sizeof dtype_names[0] };

/* ---- little-endian values, on any machine and at any alignment -------------- */

static uint64_t load_u64(const unsigned char *bytes) {
    uint64_t value = 0;
    for (int i = 8; i > 0; i--)
        value = value << 8 | bytes[i - 1];
    return value;
}

static float float_of_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* ---- the header -------------------------------------------------------------- */

static enum status corrupt(struct error *err, const char *name, const char *what) {
    return error_set_field(err, STATUS_CORRUPT, name, "tensor \"%.96s\": %s", name, what);
}

static bool json_size(const cJSON *item, size_t *value) {
    if (!cJSON_IsNumber(item))
        return false;
    double number = item->valuedouble;
    if (!(number >= 0 && number <= exact_limit) || number > (double)(SIZE_MAX / 2) ||
        number != (double)(size_t)number)
        return false;
    *value = (size_t)number;
    return true;
}

static enum status parse_shape(const cJSON *shape, struct safetensors_tensor *tensor,
                               struct error *err) {
    if (!cJSON_IsArray(shape))
        return corrupt(err, tensor->name, "no shape");
    tensor->count = 1;
    for (const cJSON *item = shape->child; item; item = item->next) {
        if (tensor->rank == SAFETENSORS_MAX_RANK)
            return error_set_field(err, STATUS_UNSUPPORTED, tensor->name,
                                   "tensor \"%.96s\" has more than %d dimensions", tensor->name,
                                   SAFETENSORS_MAX_RANK);
        size_t extent;
        if (!json_size(item, &extent))
            return corrupt(err, tensor->name, "the shape is not a list of sizes");
        if (extent && tensor->count > SIZE_MAX / 64 / extent) /* 64: bits of the widest element */
            return corrupt(err, tensor->name, "the shape overflows");
        tensor->shape[tensor->rank++] = extent;
        tensor->count *= extent;
    }
    return STATUS_OK;
}

static enum status parse_dtype(const cJSON *dtype, struct safetensors_tensor *tensor,
                               struct error *err) {
    if (!cJSON_IsString(dtype))
        return corrupt(err, tensor->name, "no dtype");
    for (int i = 0; i < DTYPE_NAMES; i++) {
        if (strcmp(dtype_names[i].name, dtype->valuestring) != 0)
            continue;
        size_t bits = tensor->count * dtype_names[i].bits;
        if (bits % 8)
            return corrupt(err, tensor->name, "its last byte is not full");
        tensor->dtype = dtype_names[i].dtype;
        tensor->bytes = bits / 8;
        return STATUS_OK;
    }
    return corrupt(err, tensor->name, "unknown dtype");
}

static enum status parse_offsets(const cJSON *offsets, const unsigned char *data,
                                 size_t data_bytes, struct safetensors_tensor *tensor,
                                 struct error *err) {
    const cJSON *first = cJSON_IsArray(offsets) ? offsets->child : NULL;
    size_t begin, end;
    if (!first || !first->next || first->next->next || !json_size(first, &begin) ||
        !json_size(first->next, &end))
        return corrupt(err, tensor->name, "data_offsets are not two sizes");
    if (begin > end || end > data_bytes)
        return corrupt(err, tensor->name, "its data lies outside the file");
    if (end - begin != tensor->bytes)
        return corrupt(err, tensor->name, "its data does not have the size of its shape");
    tensor->data = data + begin;
    return STATUS_OK;
}

/* `tensor->name` is set. Unknown members are ignored, repeated ones refused. */
static enum status parse_tensor(const cJSON *entry, const unsigned char *data, size_t data_bytes,
                                struct safetensors_tensor *tensor, struct error *err) {
    const cJSON *dtype = NULL, *shape = NULL, *offsets = NULL;
    if (!cJSON_IsObject(entry))
        return corrupt(err, tensor->name, "its entry is not an object");
    for (const cJSON *item = entry->child; item; item = item->next) {
        const cJSON **place = !strcmp(item->string, "dtype")          ? &dtype
                              : !strcmp(item->string, "shape")        ? &shape
                              : !strcmp(item->string, "data_offsets") ? &offsets
                                                                      : NULL;
        if (place && *place)
            return corrupt(err, tensor->name, "a member occurs twice");
        if (place)
            *place = item;
    }
    enum status status = parse_shape(shape, tensor, err);
    if (status == STATUS_OK)
        status = parse_dtype(dtype, tensor, err);
    if (status == STATUS_OK)
        status = parse_offsets(offsets, data, data_bytes, tensor, err);
    return status;
}

static enum status parse_metadata(const cJSON *object, struct safetensors *file,
                                  struct error *err) {
    if (!cJSON_IsObject(object))
        return error_set(err, STATUS_CORRUPT, "__metadata__ is not an object");
    size_t count = (size_t)cJSON_GetArraySize(object);
    file->metadata = calloc(count + 1, sizeof *file->metadata);
    if (!file->metadata)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the metadata");
    for (const cJSON *item = object->child; item; item = item->next) {
        if (!cJSON_IsString(item))
            return error_set(err, STATUS_CORRUPT, "__metadata__ \"%.96s\" is not a text",
                             item->string);
        struct safetensors_text *text = &file->metadata[file->metadata_count++];
        text->key = strdup(item->string);
        text->value = strdup(item->valuestring);
        if (!text->key || !text->value)
            return error_set(err, STATUS_NO_MEMORY, "no memory for the metadata");
    }
    return STATUS_OK;
}

static int compare_names(const void *left, const void *right) {
    const struct safetensors_tensor *a = left, *b = right;
    return strcmp(a->name, b->name);
}

static int compare_data(const void *left, const void *right) {
    const struct safetensors_tensor *a = left, *b = right;
    if (a->data != b->data)
        return a->data < b->data ? -1 : 1;
    return (a->bytes > b->bytes) - (a->bytes < b->bytes); /* empty ones first */
}

static int compare_keys(const void *left, const void *right) {
    const struct safetensors_text *a = left, *b = right;
    return strcmp(a->key, b->key);
}

/* The tensors must tile the data: no gap, no overlap, nothing behind the last. */
static enum status check_tiling(struct safetensors *file, const unsigned char *data,
                                size_t data_bytes, struct error *err) {
    const unsigned char *expected = data;
    qsort(file->tensors, file->count, sizeof *file->tensors, compare_data);
    for (size_t i = 0; i < file->count; i++) {
        const struct safetensors_tensor *tensor = &file->tensors[i];
        if (tensor->data < expected)
            return corrupt(err, tensor->name, "its data overlaps another tensor's");
        if (tensor->data > expected)
            return corrupt(err, tensor->name, "there is a gap before its data");
        expected += tensor->bytes;
    }
    if ((size_t)(expected - data) != data_bytes)
        return error_set(err, STATUS_CORRUPT, "%zu bytes belong to no tensor",
                         data_bytes - (size_t)(expected - data));
    return STATUS_OK;
}

static enum status check_unique(struct safetensors *file, struct error *err) {
    qsort(file->tensors, file->count, sizeof *file->tensors, compare_names);
    for (size_t i = 1; i < file->count; i++) {
        if (strcmp(file->tensors[i - 1].name, file->tensors[i].name) == 0)
            return corrupt(err, file->tensors[i].name, "occurs twice");
    }
    if (file->metadata_count > 1)
        qsort(file->metadata, file->metadata_count, sizeof *file->metadata, compare_keys);
    for (size_t i = 1; i < file->metadata_count; i++) {
        if (strcmp(file->metadata[i - 1].key, file->metadata[i].key) == 0)
            return error_set(err, STATUS_CORRUPT, "__metadata__ \"%.96s\" occurs twice",
                             file->metadata[i].key);
    }
    return STATUS_OK;
}

static enum status parse_entries(const cJSON *root, struct safetensors *file,
                                 const unsigned char *data, size_t data_bytes,
                                 struct error *err) {
    if (!cJSON_IsObject(root))
        return error_set(err, STATUS_CORRUPT, "the header is not a JSON object");
    file->tensors = calloc((size_t)cJSON_GetArraySize(root) + 1, sizeof *file->tensors);
    if (!file->tensors)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the tensor list");
    enum status status = STATUS_OK;
    for (const cJSON *entry = root->child; entry && status == STATUS_OK; entry = entry->next) {
        if (strcmp(entry->string, "__metadata__") == 0) {
            if (file->metadata)
                return error_set(err, STATUS_CORRUPT, "__metadata__ occurs twice");
            status = parse_metadata(entry, file, err);
            continue;
        }
        struct safetensors_tensor *tensor = &file->tensors[file->count];
        tensor->name = strdup(entry->string);
        if (!tensor->name)
            return error_set(err, STATUS_NO_MEMORY, "no memory for the tensor list");
        file->count++;
        status = parse_tensor(entry, data, data_bytes, tensor, err);
    }
    if (status == STATUS_OK)
        status = check_tiling(file, data, data_bytes, err);
    if (status == STATUS_OK)
        status = check_unique(file, err); /* also leaves them sorted by name */
    return status;
}

static enum status parse_file(struct safetensors *file, struct error *err) {
    if (file->map.size < SAFETENSORS_LENGTH_BYTES)
        return error_set(err, STATUS_CORRUPT, "shorter than the header's length field");
    uint64_t length = load_u64(file->map.data);
    if (length > SAFETENSORS_HEADER_BYTES_MAX)
        return error_set(err, STATUS_CORRUPT, "the header's length is above %d bytes",
                         SAFETENSORS_HEADER_BYTES_MAX);
    if (length > file->map.size - SAFETENSORS_LENGTH_BYTES)
        return error_set(err, STATUS_CORRUPT, "the header goes beyond the end of the file");
    const char *header = (const char *)file->map.data + SAFETENSORS_LENGTH_BYTES;
    size_t header_bytes = (size_t)length;
    /* cJSON's strings end at a NUL, so two different names could look alike. */
    if (memchr(header, '\0', header_bytes))
        return error_set(err, STATUS_CORRUPT, "the header contains a NUL");

    /* cJSON 1.7.15 reads one byte too far on some input, hence a copy with a NUL behind it. */
    char *copy = malloc(header_bytes + 1);
    if (!copy)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the header");
    memcpy(copy, header, header_bytes);
    copy[header_bytes] = '\0';
    enum status status = STATUS_OK;
    cJSON *root = NULL;
    if (strstr(copy, "\\u0000"))
        status = error_set(err, STATUS_CORRUPT, "the header contains a NUL");
    else if (errno = 0, !(root = cJSON_ParseWithLengthOpts(copy, header_bytes + 1, NULL, true)))
        status = errno == ENOMEM /* cJSON itself does not tell the two apart */
                     ? error_set(err, STATUS_NO_MEMORY, "no memory for the header")
                     : error_set(err, STATUS_CORRUPT, "the header is not JSON");
    else
        status = parse_entries(root, file, (const unsigned char *)header + header_bytes,
                               file->map.size - SAFETENSORS_LENGTH_BYTES - header_bytes, err);
    cJSON_Delete(root);
    free(copy);
    return status;
}

/* ---- the open file ----------------------------------------------------------- */

enum status safetensors_open(struct safetensors *file, const char *path, struct error *err) {
    struct error reason = {0};
    *file = (struct safetensors){0};
    enum status status = file_map_open(&file->map, path, err);
    if (status != STATUS_OK)
        return status;
    status = parse_file(file, &reason);
    if (status != STATUS_OK) {
        const char *name = foreign_name((const char *)file->map.data, file->map.size);
        safetensors_close(file);
        if (name)
            return error_set(err, status, "%s is %s", path, name);
        error_set_field(err, status, reason.field, "%.200s: %.190s", path, reason.message);
    }
    return status;
}

void safetensors_close(struct safetensors *file) {
    for (size_t i = 0; i < file->count; i++)
        free(file->tensors[i].name);
    for (size_t i = 0; i < file->metadata_count; i++) {
        free(file->metadata[i].key);
        free(file->metadata[i].value);
    }
    free(file->tensors);
    free(file->metadata);
    file_map_close(&file->map);
    *file = (struct safetensors){0};
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *file,
                                                  const char *name) {
    size_t low = 0, high = file->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(file->tensors[middle].name, name);
        if (order == 0)
            return &file->tensors[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const char *safetensors_metadata(const struct safetensors *file, const char *key) {
    for (size_t i = 0; i < file->metadata_count; i++) {
        if (strcmp(file->metadata[i].key, key) == 0)
            return file->metadata[i].value;
    }
    return NULL;
}

enum status safetensors_copy_f32(const struct safetensors_tensor *tensor, float *values,
                                 struct error *err) {
    const unsigned char *data = tensor->data;
    switch (tensor->dtype) {
    case SAFETENSORS_F32:
        for (size_t i = 0; i < tensor->count; i++)
            values[i] = float_of_bits((uint32_t)data[4 * i] | (uint32_t)data[4 * i + 1] << 8 |
                                      (uint32_t)data[4 * i + 2] << 16 |
                                      (uint32_t)data[4 * i + 3] << 24);
        return STATUS_OK;
    case SAFETENSORS_BF16:
        for (size_t i = 0; i < tensor->count; i++)
            values[i] = float_of_bits((uint32_t)data[2 * i] << 16 |
                                      (uint32_t)data[2 * i + 1] << 24);
        return STATUS_OK;
    default:
        return error_set_field(err, STATUS_UNSUPPORTED, tensor->name,
                               "tensor \"%.96s\" is neither F32 nor BF16", tensor->name);
    }
}
