#include "bench/bench.h"

#include "model/weights.h"

enum status bench_model(struct model **model, const char *preset_or_folder, struct error *err) {
    const struct model_config *preset = model_preset(preset_or_folder);
    if (!preset)
        return weights_load(preset_or_folder, model, err);
    enum status status = model_create(model, preset, err);
    if (status != STATUS_OK)
        return status;
    model_initialize(*model, 1);
    (*model)->parameters.head_bias[preset->eos_id] = -1000.0f; /* every story has its full length */
    return STATUS_OK;
}

double bench_linear_macs(const struct model_config *c, bool head) {
    double d_model = c->d_model, d_ff = c->d_ff;
    double layer = 4 * d_model * d_model + 2 * d_model * d_ff;
    return c->layers * layer + (head ? d_model * c->vocab : 0);
}
