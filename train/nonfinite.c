#include "train/nonfinite.h"

#include <stdio.h>
#include <string.h>

/* The first tensor, in the table's order, that is not finite in a buffer of the model's layout and
 * whose name begins with `prefix`. */
static bool find(const struct trainer *t, const float *buffer, const char *prefix,
                 struct tensor_info *found) {
    const struct model_config *c = &t->model->config;
    for (int i = 0; i < model_tensor_count(c); i++) {
        model_tensor(c, i, found);
        if (strncmp(found->name, prefix, strlen(prefix)) == 0 && !tensor_is_finite(found, buffer))
            return true;
    }
    return false;
}

static bool find_gradient(const struct trainer *t, struct tensor_info *found) {
    static const char *const backwards[] = {"norm2", "linear2", "linear1",
                                            "norm1", "self_attn.out_proj", "self_attn.in_proj"};
    if (find(t, t->gradients, "head.", found))
        return true;
    for (int layer = t->model->config.layers - 1; layer >= 0; layer--)
        for (size_t i = 0; i < sizeof backwards / sizeof *backwards; i++) {
            char prefix[sizeof found->name];
            snprintf(prefix, sizeof prefix, "encoder.layers.%d.%s", layer, backwards[i]);
            if (find(t, t->gradients, prefix, found))
                return true;
        }
    return find(t, t->gradients, "", found);
}

void nonfinite_describe(const struct trainer *t, char *text, size_t size) {
    struct tensor_info found;
    if (find(t, t->model->buffer, "", &found))
        snprintf(text, size, "%s is not finite", found.name);
    else if (find_gradient(t, &found))
        snprintf(text, size, "the gradient of %s is not finite", found.name);
    else
        snprintf(text, size, "all weights and gradients are finite");
}
