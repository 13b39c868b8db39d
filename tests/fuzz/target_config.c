/* A config.json from anywhere: refused with a reason, or it describes a model and survives
 * being written and read again. */
#include "base/status.h"
#include "model/weights.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

/* The table's offsets and sums must not wrap around, whatever the dimensions. */
static void check_sizes(const struct model_config *config) {
    double floats = 0;
    int count = model_tensor_count(config);
    for (int i = 0; i < count; i++) {
        struct tensor_info info;
        model_tensor(config, i, &info);
        FUZZ_CHECK((double)info.count == (double)info.rows * (double)info.columns);
        FUZZ_CHECK((double)info.offset >= floats);
        floats += (double)info.count;
    }
    FUZZ_CHECK((double)model_parameter_count(config) == floats);
    FUZZ_CHECK((double)model_buffer_floats(config) >= floats);
}

static void write_and_read_again(const struct model_config *config) {
    struct model_config again;
    struct error err = {0};
    const char *path = fuzz_output();
    FUZZ_CHECK(config_write(path, "a \"name\"", config, &err) == STATUS_OK);
    FUZZ_CHECK(config_read(path, &again, &err) == STATUS_OK);
    FUZZ_CHECK(again.norm_eps == config->norm_eps);
    again.norm_eps = config->norm_eps; /* the rest are ints, without padding between them */
    FUZZ_CHECK(memcmp(&again, config, sizeof again) == 0);
}

void fuzz_config(const uint8_t *data, size_t size) {
    struct model_config config;
    struct error err = {0};
    enum status status = config_read(fuzz_file(data, size), &config, &err);
    if (status != STATUS_OK) {
        fuzz_check_error((int)status, &err);
        FUZZ_CHECK(status == STATUS_CORRUPT || status == STATUS_UNSUPPORTED ||
                   status == STATUS_INVALID || status == STATUS_TOO_LARGE);
        return;
    }
    FUZZ_CHECK(model_config_check(&config, &err) == STATUS_OK);
    check_sizes(&config);
    write_and_read_again(&config);
}
