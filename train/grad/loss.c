#include "train/grad/loss.h"

#include "base/pool.h"
#include "model/kernels/kernels.h"
#include "train/grad/linear_backward.h"
#include "train/grad/teacher.h"

#include <string.h>

static void layout(void *context, struct arena *arena) {
    struct loss_scratch *s = context;
    s->logits = arena_take(arena, LOSS_CHUNK * s->vocab, sizeof(float));
    s->row_losses = arena_take(arena, LOSS_CHUNK, sizeof(double));
}

enum status loss_scratch_create(struct loss_scratch *s, const struct model_config *config,
                                struct error *err) {
    *s = (struct loss_scratch){.vocab = (size_t)config->vocab};
    return arena_build(&s->arena, layout, s, err);
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

/* Losses and logit gradients of `rows` rows from `first` on. */
static double chunk_loss(const struct forward_context *f, const struct loss_targets *targets,
                         size_t first, size_t rows, struct loss_scratch *scratch) {
    struct softmax_task task = {.logits = scratch->logits,
                                .targets = targets->ids + first,
                                .rows = rows,
                                .vocab = scratch->vocab,
                                .weight = targets->weight,
                                .row_losses = scratch->row_losses};
    if (targets->distillation.teacher) {
        task.soft = teacher_probabilities(targets->distillation.teacher, f->pool, first, rows);
        task.soft_weight = targets->distillation.weight;
    }
    forward_logits_range(f, (int)first, (int)rows, scratch->logits);
    pool_run(f->pool, softmax_worker, &task);
    double sum = 0;
    for (size_t row = 0; row < rows; row++) /* in row order: the same for any workers */
        sum += task.row_losses[row];
    return sum;
}

static size_t chunk_rows(const struct loss_targets *targets, size_t first) {
    return targets->rows - first < LOSS_CHUNK ? targets->rows - first : LOSS_CHUNK;
}

double loss_sum(const struct forward_context *f, const struct loss_targets *targets,
                struct loss_scratch *scratch) {
    double sum = 0;
    for (size_t first = 0; first < targets->rows; first += LOSS_CHUNK)
        sum += chunk_loss(f, targets, first, chunk_rows(targets, first), scratch);
    return sum;
}

double loss_and_gradient(const struct forward_context *f, const struct loss_targets *targets,
                         struct loss_scratch *scratch, struct parameters *gradients,
                         float *d_output) {
    size_t d_model = (size_t)f->model->config.d_model;
    double sum = 0;
    for (size_t first = 0; first < targets->rows; first += LOSS_CHUNK) {
        size_t rows = chunk_rows(targets, first);
        sum += chunk_loss(f, targets, first, rows, scratch);
        linear_backward(f->pool, (struct linear_gradient){
                                     .linear = &f->model->head,
                                     .x = activations_output(f->activations) + first * d_model,
                                     .dy = scratch->logits,
                                     .rows = rows,
                                     .weight_grad = gradients->head_weight,
                                     .bias_grad = gradients->head_bias,
                                     .dx = d_output + first * d_model});
    }
    return sum;
}
