/* A model.safetensors from anywhere: refused with a reason, or every tensor is where it says. */
#include "base/status.h"
#include "model/weights.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

/* The dimensions of the seeds' model. */
static const struct model_config config = {
    .d_model = 2, .heads = 1, .d_ff = 3, .layers = 1, .vocab = 4, .positions = 8,
    .norm_eps = 1e-5f, .unk_id = 0, .bos_id = 1, .eos_id = 2, .pad_id = 3};

static void check_tensor(const struct safetensors *file, const struct safetensors_tensor *tensor) {
    const unsigned char *end = file->map.data + file->map.size;
    size_t count = 1;
    FUZZ_CHECK(tensor->rank >= 0 && tensor->rank <= SAFETENSORS_MAX_RANK);
    for (int i = 0; i < tensor->rank; i++)
        count *= tensor->shape[i];
    FUZZ_CHECK(count == tensor->count);
    FUZZ_CHECK(tensor->data > file->map.data && tensor->data <= end);
    FUZZ_CHECK(tensor->bytes <= (size_t)(end - tensor->data));
    FUZZ_CHECK(safetensors_find(file, tensor->name) == tensor);
    struct error err = {0};
    float *values = malloc(tensor->bytes * 2 + 1); /* a float for each BF16 */
    FUZZ_CHECK(values);
    bool ours = tensor->dtype == SAFETENSORS_F32 || tensor->dtype == SAFETENSORS_BF16;
    FUZZ_CHECK(safetensors_copy_f32(tensor, values, &err) ==
               (ours ? STATUS_OK : STATUS_UNSUPPORTED));
    free(values);
}

static void read_as_model(const struct safetensors *file) {
    struct error err = {0};
    float *buffer = malloc(model_buffer_floats(&config) * sizeof *buffer);
    FUZZ_CHECK(buffer);
    enum status status = weights_read_buffer(file, "", &config, buffer, &err);
    if (status != STATUS_OK) {
        fuzz_check_error((int)status, &err);
        FUZZ_CHECK(status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED);
    }
    free(buffer);
}

/* No tensor has a name that is longer than the file; any shorter one the fuzzer may come upon. */
static void check_absent(const struct safetensors *file) {
    char *name = malloc(file->map.size + 2);
    FUZZ_CHECK(name);
    memset(name, 'x', file->map.size + 1);
    name[file->map.size + 1] = '\0';
    FUZZ_CHECK(safetensors_find(file, name) == NULL);
    free(name);
}

void fuzz_safetensors(const uint8_t *data, size_t size) {
    struct safetensors file;
    struct error err = {0};
    enum status status = safetensors_open(&file, fuzz_file(data, size), &err);
    if (status != STATUS_OK) {
        fuzz_check_error((int)status, &err);
        FUZZ_CHECK(status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED);
        return;
    }
    size_t bytes = 0;
    for (size_t i = 0; i < file.count; i++) {
        check_tensor(&file, &file.tensors[i]);
        bytes += file.tensors[i].bytes;
    }
    FUZZ_CHECK(bytes < file.map.size); /* nothing is handed out twice */
    for (size_t i = 0; i < file.metadata_count; i++)
        FUZZ_CHECK(safetensors_metadata(&file, file.metadata[i].key) == file.metadata[i].value);
    check_absent(&file);
    read_as_model(&file);
    safetensors_close(&file);
}
