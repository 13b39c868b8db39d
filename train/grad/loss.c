#include "train/grad/loss.h"

#include "base/pool.h"
#include "model/kernels/kernels.h"
#include "train/grad/linear_backward.h"
#include "train/grad/teacher.h"

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
    const float *soft; /* [rows, vocab] probabilities that get soft_weight of the target; or NULL */
    float soft_weight;
    double *row_losses;
};

/* d(-sum_i target_i log softmax_i) = softmax - target */
static void logit_gradient(const struct softmax_task *t, float *softmax, size_t row) {
    const float *soft = t->soft ? t->soft + row * t->vocab : NULL;
    softmax[t->targets[row]] -= soft ? 1.0f - t->soft_weight : 1.0f;
    for (size_t i = 0; soft && i < t->vocab; i++)
        softmax[i] -= t->soft_weight * soft[i];
    for (size_t i = 0; i < t->vocab; i++)
        softmax[i] *= t->weight;
}

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
        logit_gradient(t, logits, row);
    }
}

/* Losses and logit gradients of `rows` rows from `first` on; targets are theirs. */
static double chunk_loss(const struct model *model, struct pool *pool,
                         const struct activations *activations, size_t first,
                         const int32_t *targets, size_t rows, float weight,
                         struct distillation distillation, struct loss_scratch *scratch) {
    struct softmax_task task = {.logits = scratch->logits,
                                .targets = targets,
                                .rows = rows,
                                .vocab = (size_t)model->config.vocab,
                                .weight = weight,
                                .row_losses = scratch->row_losses};
    if (distillation.teacher) {
        task.soft = teacher_probabilities(distillation.teacher, pool, first, rows);
        task.soft_weight = distillation.weight;
    }
    forward_logits_range(model, pool, activations, (int)first, (int)rows, scratch->logits);
    pool_run(pool, softmax_worker, &task);
    double sum = 0;
    for (size_t row = 0; row < rows; row++) /* in row order: the same for any workers */
        sum += task.row_losses[row];
    return sum;
}

double loss_sum(const struct model *model, struct pool *pool, const struct activations *activations,
                const int32_t *targets, size_t rows, struct loss_scratch *scratch) {
    double sum = 0;
    for (size_t begin = 0; begin < rows; begin += LOSS_CHUNK) {
        size_t count = rows - begin < LOSS_CHUNK ? rows - begin : LOSS_CHUNK;
        sum += chunk_loss(model, pool, activations, begin, targets + begin, count, 1,
                          (struct distillation){0}, scratch);
    }
    return sum;
}

double loss_and_gradient(const struct model *model, struct pool *pool,
                         const struct activations *activations, const int32_t *targets,
                         size_t rows, float weight, struct distillation distillation,
                         struct loss_scratch *scratch, struct parameters *gradients,
                         float *d_output) {
    size_t d_model = (size_t)model->config.d_model;
    double sum = 0;
    for (size_t begin = 0; begin < rows; begin += LOSS_CHUNK) {
        size_t count = rows - begin < LOSS_CHUNK ? rows - begin : LOSS_CHUNK;
        const float *x = activations_output(activations) + begin * d_model;
        float *dx = d_output + begin * d_model;
        sum += chunk_loss(model, pool, activations, begin, targets + begin, count, weight,
                          distillation, scratch);
        linear_backward(&model->head, pool, x, scratch->logits, count, gradients->head_weight,
                        gradients->head_bias, dx, false);
    }
    return sum;
}
