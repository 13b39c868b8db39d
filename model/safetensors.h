/* safetensors.h - Hugging Face's tensor files: a JSON header and raw bytes.
 *
 * Format: 8 bytes little-endian header length, the JSON header
 * {"name": {"dtype", "shape", "data_offsets"}, "__metadata__": {text: text}},
 * then the data. Reading checks everything before any tensor is handed out: the
 * header's length, dtypes, shapes against byte counts, that the tensors cover the
 * data without an overlap, a gap or a rest, and that no name occurs twice.
 * Source: https://github.com/huggingface/safetensors (format section).
 *
 * Ownership: an open file owns the mapping that tensor data points into.
 * Thread-safety: an open file is only read, so many threads may use it.
 */
#ifndef ALPACA_MODEL_SAFETENSORS_H
#define ALPACA_MODEL_SAFETENSORS_H

#include "base/file.h"
#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

enum { SAFETENSORS_MAX_RANK = 8 };
enum safetensors_dtype { SAFETENSORS_F32, SAFETENSORS_BF16,
                         SAFETENSORS_OTHER /* valid, but of no use to a model */ };

struct safetensors_tensor {
    char *name;
    enum safetensors_dtype dtype;
    int rank;
    size_t shape[SAFETENSORS_MAX_RANK];
    size_t count; /* elements */
    size_t bytes;
    const unsigned char *data; /* may be unaligned */
};

struct safetensors {
    struct file_map map;
    struct safetensors_tensor *tensors; /* sorted by name */
    size_t count;
    struct safetensors_text { char *key, *value; } *metadata;
    size_t metadata_count;
};

/* Maps a file and checks it. STATUS_CORRUPT or _UNSUPPORTED name the tensor where there is one; on
 * failure nothing needs closing. */
enum status safetensors_open(struct safetensors *file, const char *path, struct error *err);
void safetensors_close(struct safetensors *file);
/* The tensor of that name, or NULL. */
const struct safetensors_tensor *safetensors_find(const struct safetensors *file, const char *name);
const char *safetensors_metadata(const struct safetensors *file, const char *key); /* or NULL */
/* Widens F32 or BF16 data to values[tensor->count]; STATUS_UNSUPPORTED for other dtypes. */
enum status safetensors_copy_f32(const struct safetensors_tensor *tensor, float *values,
                                 struct error *err);

/* Writing: the tensors in the given order, replaced in one step (base/file.h). */
struct safetensors_output {
    const char *name;
    enum safetensors_dtype dtype; /* F32 or BF16, which rounds to the nearest, ties to even */
    int rank;
    size_t shape[SAFETENSORS_MAX_RANK];
    const float *values;
};
enum status safetensors_write(const char *path, const struct safetensors_output *tensors,
                              size_t count, const struct safetensors_text *metadata,
                              size_t metadata_count, struct error *err);

#endif
