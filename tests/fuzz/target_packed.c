/* A packed model from anywhere: refused with a reason, or all of it lies inside of its bytes. */
#include "base/status.h"
#include "model/model.h"
#include "model/pack_weights.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

static volatile int32_t read; /* so that no compiler leaves the reading out */

/* Reads what a sanitizer would complain of if it lay elsewhere. */
static void read_matrix(const struct int8_matrix *m) {
    size_t panels = int8_panels(m);
    for (size_t i = 0; i < panels * m->groups * INT8_GROUP_BYTES; i++)
        read = m->bytes[i];
    for (size_t i = 0; i < panels * INT8_PANEL; i++)
        read = m->sums[i];
    FUZZ_CHECK((const void *)(m->scales + panels * INT8_PANEL) <= (const void *)m->sums);
    FUZZ_CHECK((const void *)(m->sums + panels * INT8_PANEL) <= (const void *)m->bias);
}

static void check_model(struct model *model, const unsigned char *bytes, size_t size) {
    struct linear *linears[MODEL_MAX_LINEARS];
    struct error err = {0};
    int count = model_linears(model, linears);
    FUZZ_CHECK(model_config_check(&model->config, &err) == STATUS_OK);
    FUZZ_CHECK(model->dtype == DTYPE_INT8);
    for (int i = 0; i < count; i++) {
        const struct int8_matrix *m = &linears[i]->packed->int8;
        read_matrix(m);
        FUZZ_CHECK((const unsigned char *)m->bytes > bytes);
        FUZZ_CHECK((const unsigned char *)(m->bias + int8_panels(m) * INT8_PANEL) <= bytes + size);
    }
}

void fuzz_packed(const uint8_t *data, size_t size) {
    struct model *model;
    struct error err = {0};
    void *bytes = NULL;
    FUZZ_CHECK(posix_memalign(&bytes, ARENA_ALIGNMENT, size + 1) == 0);
    memcpy(bytes, data, size);
    enum status status = model_unpack(&model, bytes, size, &err);
    if (status == STATUS_OK) {
        check_model(model, bytes, size);
        model_destroy(model);
    } else {
        fuzz_check_error((int)status, &err);
        FUZZ_CHECK(status == STATUS_CORRUPT || status == STATUS_INVALID);
    }
    free(bytes);
}
