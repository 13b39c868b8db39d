#include "train/grad/backward.h"

#include "base/pool.h"
#include "model/kernels/dropout.h"
#include "model/kernels/kernels.h"
#include "train/grad/attention_backward.h"
#include "train/grad/linear_backward.h"

#include <math.h>
#include <string.h>

static void layout(void *context, struct arena *arena) {
    struct backward_scratch *s = context;
    const struct model_config *c = &s->config;
    size_t workers = (size_t)s->workers;
    size_t rows = (size_t)s->max_rows, d_model = (size_t)c->d_model;
    s->d_output = arena_take(arena, rows * d_model, sizeof(float));
    s->d_middle = arena_take(arena, rows * d_model, sizeof(float));
    s->d_branch = arena_take(arena, rows * d_model, sizeof(float));
    s->d_attention = arena_take(arena, rows * d_model, sizeof(float));
    s->d_qkv = arena_take(arena, rows * 3 * d_model, sizeof(float));
    s->d_hidden = arena_take(arena, rows * (size_t)c->d_ff, sizeof(float));
    s->norm_sums = arena_take(arena, workers * 2 * d_model, sizeof(float));
    s->scores = arena_take(arena, workers * s->scores_floats, sizeof(float));
}

enum status backward_scratch_create(struct backward_scratch *s, const struct model_config *config,
                                    int max_rows, int workers, struct error *err) {
    *s = (struct backward_scratch){.config = *config,
                                   .max_rows = max_rows,
                                   .workers = workers,
                                   .scores_floats = attention_backward_floats(config)};
    return arena_build(&s->arena, layout, s, err);
}

void backward_scratch_destroy(struct backward_scratch *s) {
    arena_destroy(&s->arena);
    *s = (struct backward_scratch){0};
}

/* ---- residual and norm ---------------------------------------------------- */

struct norm_task {
    const struct model *model;
    const struct batch *batch;
    int layer;
    enum dropout_site site;
    const float *dy, *residual; /* [rows, d_model] */
    const struct norm_stats *stats;
    const float *weight;
    float *sums;     /* [workers, 2, d_model] */
    float *dx;       /* gradient of the sublayer's input through the residual; may be dy */
    float *d_branch; /* gradient of what the sublayer gave */
};

static void norm_worker(void *context, int worker, int workers) {
    const struct norm_task *t = context;
    const struct kernels *k = kernels_get();
    const struct dropout *dropout = &t->batch->dropout;
    float rate = dropout->rate;
    size_t d_model = (size_t)t->model->config.d_model, begin, end;
    float *weight_sum = t->sums + (size_t)worker * 2 * d_model, *bias_sum = weight_sum + d_model;
    memset(weight_sum, 0, 2 * d_model * sizeof(float));
    pool_slice((size_t)t->batch->rows, 1, worker, workers, &begin, &end);
    for (size_t row = begin; row < end; row++) {
        float *dx = t->dx + row * d_model, *branch = t->d_branch + row * d_model;
        k->layer_norm_backward(dx, weight_sum, bias_sum, t->dy + row * d_model,
                               t->residual + row * d_model, t->stats->mean[row],
                               t->stats->rstd[row], t->weight, d_model);
        memcpy(branch, dx, d_model * sizeof(float));
        if (rate > 0)
            k->dropout(branch, d_model, dropout_row_key(dropout, t->layer, t->site, (int)row),
                       dropout_threshold(rate), dropout_scale(rate));
    }
}

static void add_and_norm_backward(const struct norm_task *task, struct pool *pool,
                                  float *weight_grad, float *bias_grad) {
    size_t d_model = (size_t)task->model->config.d_model;
    pool_run(pool, norm_worker, (void *)(uintptr_t)task);
    for (int w = 0; w < pool_workers(pool); w++) { /* in worker order: a fixed sum */
        const float *sums = task->sums + (size_t)w * 2 * d_model;
        kernels_get()->add(weight_grad, sums, d_model);
        kernels_get()->add(bias_grad, sums + d_model, d_model);
    }
}

/* ---- ReLU and the hidden layer's dropout ---------------------------------- */

struct hidden_task {
    const float *hidden; /* [count] after ReLU and dropout */
    float *d_hidden;     /* [count] */
    size_t count;
    float scale;
};

/* hidden is 0 both where ReLU cut and where dropout dropped, and neither lets a gradient by. */
static void hidden_worker(void *context, int worker, int workers) {
    const struct hidden_task *t = context;
    size_t begin, end;
    pool_slice(t->count, 16, worker, workers, &begin, &end);
    kernels_get()->relu_backward(t->d_hidden + begin, t->hidden + begin, end - begin, t->scale);
}

/* ---- embedding ------------------------------------------------------------ */

struct embed_task {
    const struct model *model;
    const struct batch *batch;
    const float *dx; /* [rows, d_model] */
    float *embedding_grad;
};

/* Workers share out the columns, because two rows may have the same id. */
static void embed_worker(void *context, int worker, int workers) {
    const struct embed_task *t = context;
    size_t d_model = (size_t)t->model->config.d_model, begin, end;
    float scale = sqrtf((float)d_model);
    pool_slice(d_model, 16, worker, workers, &begin, &end);
    for (int row = 0; row < t->batch->rows; row++) {
        const float *dx = t->dx + (size_t)row * d_model;
        float *grad = t->embedding_grad + (size_t)t->batch->ids[row] * d_model;
        for (size_t i = begin; i < end; i++)
            grad[i] += scale * dx[i];
    }
}

/* ---- the encoder ---------------------------------------------------------- */

/* Expects the gradient of the layer's output in s->d_output, leaves that of its input there. */
static void backward_layer(const struct forward_context *f, const struct batch *batch, int layer,
                           struct backward_scratch *s, struct layer_parameters *gradients) {
    const struct model *model = f->model;
    const struct layer_parameters *p = &model->parameters.layers[layer];
    const struct layer_linears *linears = &model->linears[layer];
    const struct layer_activations *a = activations_layer(f->activations, layer);
    size_t rows = (size_t)batch->rows;

    struct norm_task norm2 = {model,        batch,       layer,           DROPOUT_RESIDUAL2,
                              s->d_output,  a->residual2, &a->norm2,      p->norm2_weight,
                              s->norm_sums, s->d_middle, s->d_branch};
    add_and_norm_backward(&norm2, f->pool, gradients->norm2_weight, gradients->norm2_bias);
    linear_backward(f->pool, (struct linear_gradient){
                                 &linears->linear2, a->hidden, s->d_branch, rows,
                                 gradients->linear2_weight, gradients->linear2_bias, s->d_hidden,
                                 false});
    struct hidden_task hidden = {a->hidden, s->d_hidden, rows * (size_t)model->config.d_ff,
                                 dropout_scale(batch->dropout.rate)};
    pool_run(f->pool, hidden_worker, &hidden);
    linear_backward(f->pool, (struct linear_gradient){
                                 &linears->linear1, a->middle, s->d_hidden, rows,
                                 gradients->linear1_weight, gradients->linear1_bias, s->d_middle,
                                 true});

    struct norm_task norm1 = {model,        batch,       layer,           DROPOUT_RESIDUAL1,
                              s->d_middle,  a->residual1, &a->norm1,      p->norm1_weight,
                              s->norm_sums, s->d_output, s->d_branch};
    add_and_norm_backward(&norm1, f->pool, gradients->norm1_weight, gradients->norm1_bias);
    linear_backward(f->pool, (struct linear_gradient){
                                 &linears->out_proj, a->attention, s->d_branch, rows,
                                 gradients->out_proj_weight, gradients->out_proj_bias,
                                 s->d_attention, false});
    struct attention_gradient attention = {attention_pass(model, f->activations, batch, layer),
                                           s->d_attention, s->d_qkv};
    attention.pass.scratch = s->scores;
    attention.pass.scratch_floats = s->scores_floats;
    attention_backward(f->pool, attention);
    linear_backward(f->pool, (struct linear_gradient){
                                 &linears->in_proj, activations_input(f->activations, layer),
                                 s->d_qkv, rows, gradients->in_proj_weight,
                                 gradients->in_proj_bias, s->d_output, true});
}

void backward(const struct forward_context *f, const struct batch *batch,
              struct backward_scratch *scratch, struct parameters *gradients) {
    for (int layer = f->model->config.layers - 1; layer >= 0; layer--)
        backward_layer(f, batch, layer, scratch, &gradients->layers[layer]);
    struct embed_task task = {f->model, batch, scratch->d_output, gradients->embedding};
    pool_run(f->pool, embed_worker, &task);
}
