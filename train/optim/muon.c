#include "train/optim/muon.h"

#include "base/pool.h"
#include "train/optim/orthogonalize.h"

#include <math.h>

bool muon_applies(const struct tensor_info *info) {
    return info->layer >= 0 && info->rank == 2;
}

/* in_proj holds three matrices, q, k and v, one under another. */
static size_t parts_of(const struct tensor_info *info, const struct model_config *config) {
    return info->rows == 3 * (size_t)config->d_model && info->columns == (size_t)config->d_model
               ? 3
               : 1;
}

/* Floats that a matrix takes when what follows it begins a cache line. */
static size_t aligned_floats(size_t count) {
    return (count + 15) / 16 * 16;
}

/* What one worker needs: the largest matrix's update and the scratch to orthogonalize it. */
static size_t worker_floats(const struct model_config *config) {
    size_t most = 0;
    for (int i = 0; i < model_tensor_count(config); i++) {
        struct tensor_info info;
        model_tensor(config, i, &info);
        if (!muon_applies(&info))
            continue;
        size_t rows = info.rows / parts_of(&info, config);
        size_t floats =
            aligned_floats(rows * info.columns) + orthogonalize_scratch_floats(rows, info.columns);
        most = floats > most ? floats : most;
    }
    return aligned_floats(most);
}

size_t muon_scratch_floats(const struct model_config *config, int workers) {
    return (size_t)workers * worker_floats(config);
}

struct task {
    const struct muon_options *options;
    float *parameters;
    const float *gradients;
    float *momentum, *scratch;
};

static void update_matrix(const struct task *t, size_t offset, size_t rows, size_t columns,
                          float *scratch) {
    const struct muon_options *o = t->options;
    size_t count = rows * columns;
    float *p = t->parameters + offset, *m = t->momentum + offset, *update = scratch;
    const float *g = t->gradients + offset;
    for (size_t i = 0; i < count; i++) {
        float gradient = g[i] * o->gradient_scale;
        m[i] = o->momentum * m[i] + gradient;
        update[i] = gradient + o->momentum * m[i];
    }
    orthogonalize(update, rows, columns, o->dtype, scratch + aligned_floats(count));
    float ratio = rows > columns ? sqrtf((float)rows / (float)columns) : 1.0f;
    float kept = 1.0f - o->rate * o->weight_decay;
    for (size_t i = 0; i < count; i++)
        p[i] = p[i] * kept - o->rate * ratio * update[i];
}

static void worker_main(void *context, int worker, int workers) {
    const struct task *t = context;
    float *scratch = t->scratch + (size_t)worker * worker_floats(t->options->config);
    int item = 0;
    for (int i = 0; i < model_tensor_count(t->options->config); i++) {
        struct tensor_info info;
        model_tensor(t->options->config, i, &info);
        if (!muon_applies(&info))
            continue;
        size_t parts = parts_of(&info, t->options->config), rows = info.rows / parts;
        for (size_t part = 0; part < parts; part++, item++)
            if (item % workers == worker)
                update_matrix(t, info.offset + part * rows * info.columns, rows, info.columns,
                              scratch);
    }
}

void muon_step(const struct muon_options *options, struct pool *pool, float *parameters,
               const float *gradients, float *momentum, float *scratch) {
    struct task task = {options, parameters, gradients, momentum, scratch};
    pool_run(pool, worker_main, &task);
}
