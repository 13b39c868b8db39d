#include "train/loss.h"

#include "base/pool.h"
#include "engine/kernels/kernels.h"
#include "train/linear_backward.h"

#include <string.h>

static void layout(struct loss_scratch *s, const struct model_config *c, struct arena *arena) {
    s->logits = arena_take(arena, (size_t)LOSS_CHUNK * (size_t)c->vocab, sizeof(float));
    s->row_losses = arena_take(arena, LOSS_CHUNK, sizeof(double));
}

enum status loss_scratch_create(struct loss_scratch *s, const struct model_config *config,
                                struct error *err) {
    *s = (struct loss_scratch){0};
    struct arena measure = {0};
    layout(s, config, &measure);
    enum status status = arena_create(&s->arena, measure.used, err);
    if (status == STATUS_OK)
        layout(s, config, &s->arena);
    return status;
}

void loss_scratch_destroy(struct loss_scratch *s) {
    arena_destroy(&s->arena);
    *s = (struct loss_scratch){0};
}

struct softmax_task {
    float *logits; /* [rows, vocab]; become their own gradient */
    const int32_t *targets;
    size_t rows, vocab;
    float weight;
    double *row_losses;
};

/* d(-log softmax[target]) = softmax - onehot(target) */
static void softmax_worker(void *context, int worker, int workers) {
    const struct softmax_task *t = context;
    size_t begin, end;
    pool_slice(t->rows, 1, worker, workers, &begin, &end);
    for (size_t row = begin; row < end; row++) {
        float *logits = t->logits + row * t->vocab;
        int32_t target = t->targets[row];
        t->row_losses[row] = 0;
        if (target < 0) {
            memset(logits, 0, t->vocab * sizeof(float));
            continue;
        }
        double chosen = (double)logits[target];
        t->row_losses[row] = (double)kernels_get()->softmax(logits, t->vocab) - chosen;
        logits[target] -= 1.0f;
        for (size_t i = 0; i < t->vocab; i++)
            logits[i] *= t->weight;
    }
}

/* Losses and logit gradients of one chunk of rows. */
static double chunk_loss(const struct model *model, struct pool *pool,
                         const struct activations *activations, size_t first,
                         const int32_t *targets, size_t rows, float weight,
                         struct loss_scratch *scratch) {
    forward_logits_range(model, pool, activations, (int)first, (int)rows, scratch->logits);
    struct softmax_task task = {scratch->logits, targets, rows, (size_t)model->config.vocab,
                                weight,          scratch->row_losses};
    pool_run(pool, softmax_worker, &task);
    double sum = 0;
    for (size_t row = 0; row < rows; row++) /* in row order: the same sum for any worker count */
        sum += scratch->row_losses[row];
    return sum;
}

static double sum_over_chunks(const struct model *model, struct pool *pool,
                              const struct activations *activations, const int32_t *targets,
                              size_t rows, float weight, struct loss_scratch *scratch,
                              struct parameters *gradients, float *d_output) {
    size_t d_model = (size_t)model->config.d_model;
    const float *x = activations_input(activations, &model->config, model->config.layers);
    double sum = 0;
    for (size_t begin = 0; begin < rows; begin += LOSS_CHUNK) {
        size_t count = rows - begin < LOSS_CHUNK ? rows - begin : LOSS_CHUNK;
        sum += chunk_loss(model, pool, activations, begin, targets + begin, count, weight,
                          scratch);
        if (gradients)
            linear_backward(&model->head, pool, x + begin * d_model, scratch->logits, count,
                            gradients->head_weight, gradients->head_bias,
                            d_output + begin * d_model, false);
    }
    return sum;
}

double loss_sum(const struct model *model, struct pool *pool, const struct activations *activations,
                const int32_t *targets, size_t rows, struct loss_scratch *scratch) {
    return sum_over_chunks(model, pool, activations, targets, rows, 1, scratch, NULL, NULL);
}

double loss_and_gradient(const struct model *model, struct pool *pool,
                         const struct activations *activations, const int32_t *targets,
                         size_t rows, float weight, struct loss_scratch *scratch,
                         struct parameters *gradients, float *d_output) {
    return sum_over_chunks(model, pool, activations, targets, rows, weight, scratch, gradients,
                           d_output);
}
