#include "model/safetensors_internal.h"

#include <cjson/cJSON.h>

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { HEADER_ALIGNMENT = 8 };

/* ---- little-endian values, on any machine and at any alignment -------------- */

static void store_le(unsigned char *bytes, int count, uint64_t value) {
    for (int i = 0; i < count; i++)
        bytes[i] = (unsigned char)(value >> 8 * i);
}

static uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static uint16_t bf16_of_float(float value) {
    uint32_t bits = bits_of_float(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u); /* rounding could turn a NaN into infinity */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16); /* ties to even */
}

/* ---- the header -------------------------------------------------------------- */

static int value_bytes(const struct safetensors_output *tensor) {
    assert(tensor->dtype != SAFETENSORS_OTHER);
    return tensor->dtype == SAFETENSORS_F32 ? 4 : 2;
}

static size_t output_count(const struct safetensors_output *tensor) {
    size_t count = 1;
    for (int i = 0; i < tensor->rank; i++)
        count *= tensor->shape[i];
    return count;
}

static bool add_tensor(cJSON *root, const struct safetensors_output *tensor, size_t begin,
                       size_t end) {
    cJSON *entry = cJSON_AddObjectToObject(root, tensor->name);
    cJSON *dtype =
        cJSON_AddStringToObject(entry, "dtype", value_bytes(tensor) == 4 ? "F32" : "BF16");
    cJSON *shape = cJSON_AddArrayToObject(entry, "shape");
    cJSON *offsets = cJSON_AddArrayToObject(entry, "data_offsets");
    bool added = dtype && shape && offsets;
    for (int i = 0; added && i < tensor->rank; i++)
        added = cJSON_AddItemToArray(shape, cJSON_CreateNumber((double)tensor->shape[i]));
    return added && cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)begin)) &&
           cJSON_AddItemToArray(offsets, cJSON_CreateNumber((double)end));
}

/* The header as text, or NULL when memory runs out. */
static char *format_header(const struct safetensors_output *tensors, size_t count,
                           const struct safetensors_text *metadata, size_t metadata_count) {
    char *text = NULL;
    size_t offset = 0;
    cJSON *root = cJSON_CreateObject();
    bool built = root != NULL;
    if (built && metadata_count > 0) {
        cJSON *object = cJSON_AddObjectToObject(root, "__metadata__");
        built = object != NULL;
        for (size_t i = 0; built && i < metadata_count; i++)
            built = cJSON_AddStringToObject(object, metadata[i].key, metadata[i].value);
    }
    for (size_t i = 0; built && i < count; i++) {
        assert(tensors[i].rank <= SAFETENSORS_MAX_RANK);
        size_t end = offset + output_count(&tensors[i]) * (size_t)value_bytes(&tensors[i]);
        built = add_tensor(root, &tensors[i], offset, end);
        offset = end;
    }
    if (built)
        text = cJSON_PrintUnformatted(root);
    cJSON_Delete(root);
    return text;
}

/* ---- the data ---------------------------------------------------------------- */

/* Errors stay in the stream; the commit finds them. */
static void write_values(FILE *stream, const struct safetensors_output *tensor) {
    unsigned char chunk[16384];
    int width = value_bytes(tensor);
    size_t count = output_count(tensor), per_chunk = sizeof chunk / (size_t)width;
    for (size_t done = 0; done < count && !ferror(stream); done += per_chunk) {
        size_t now = count - done < per_chunk ? count - done : per_chunk;
        for (size_t i = 0; i < now; i++) {
            float value = tensor->values[done + i];
            store_le(chunk + i * (size_t)width, width,
                     width == 4 ? bits_of_float(value) : bf16_of_float(value));
        }
        fwrite(chunk, (size_t)width, now, stream);
    }
}

enum status safetensors_write(const char *path, const struct safetensors_output *tensors,
                              size_t count, const struct safetensors_text *metadata,
                              size_t metadata_count, struct error *err) {
    char *header = format_header(tensors, count, metadata, metadata_count);
    if (!header)
        return error_set(err, STATUS_NO_MEMORY, "no memory to write %s", path);
    struct file_writer writer;
    enum status status = STATUS_OK;
    size_t length = strlen(header);
    size_t padded = (length + HEADER_ALIGNMENT - 1) / HEADER_ALIGNMENT * HEADER_ALIGNMENT;
    if (padded > SAFETENSORS_HEADER_BYTES_MAX) {
        status = error_set(err, STATUS_TOO_LARGE, "the header of %s would be too long", path);
        goto cleanup;
    }
    status = file_writer_open(&writer, path, err);
    if (status != STATUS_OK)
        goto cleanup;
    unsigned char length_field[SAFETENSORS_LENGTH_BYTES];
    store_le(length_field, SAFETENSORS_LENGTH_BYTES, padded);
    fwrite(length_field, 1, SAFETENSORS_LENGTH_BYTES, writer.stream);
    fwrite(header, 1, length, writer.stream);
    fprintf(writer.stream, "%*s", (int)(padded - length), "");
    for (size_t i = 0; i < count; i++)
        write_values(writer.stream, &tensors[i]);
    status = file_writer_commit(&writer, err);

cleanup:
    cJSON_free(header);
    return status;
}
