#include "model/forward.h"

#include "base/clock.h"
#include "base/pool.h"
#include "model/attention.h"
#include "model/attention_bf16.h"
#include "model/dropout.h"
#include "model/kernels/kernels.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { FEW_ROWS = 4 };

/* Adds the time since *since_ns to a part, when anybody wants to know. */
static void charge(const struct activations *a, enum forward_part part, uint64_t *since_ns) {
    if (!a->part_ns)
        return;
    uint64_t now_ns = clock_now_ns();
    a->part_ns[part] += now_ns - *since_ns;
    *since_ns = now_ns;
}

static uint64_t start_ns(const struct activations *a) {
    return a->part_ns ? clock_now_ns() : 0;
}

/* A handful of rows is done sooner than another worker wakes. */
static void run_rows(struct pool *pool, pool_task *task, void *context, int rows) {
    if (rows < FEW_ROWS)
        task(context, 0, 1);
    else
        pool_run(pool, task, context);
}

/* ---- embedding ------------------------------------------------------------ */

struct embed_task {
    const struct model *model;
    const struct batch *batch;
    float *x; /* [rows, d_model] */
};

static void embed(void *context, int worker, int workers) {
    const struct embed_task *t = context;
    const struct model *model = t->model;
    size_t d_model = (size_t)model->config.d_model;
    float scale = sqrtf((float)d_model);
    int row = 0;
    for (int s = 0; s < t->batch->span_count; s++) {
        const struct span *span = &t->batch->spans[s];
        for (int r = 0; r < span->rows; r++, row++) {
            if (row % workers != worker)
                continue;
            size_t position = (size_t)((t->batch->cache ? span->first : 0) + r);
            const float *e = model->parameters.embedding + (size_t)t->batch->ids[row] * d_model;
            const float *p = model->position_table + position * d_model;
            float *x = t->x + (size_t)row * d_model;
            for (size_t i = 0; i < d_model; i++)
                x[i] = e[i] * scale + p[i];
        }
    }
}

/* ---- residual and norm ---------------------------------------------------- */

struct norm_task {
    const struct model *model;
    const struct batch *batch;
    int layer;
    enum dropout_site site;
    const float *x;  /* [rows, d_model] what the sublayer got */
    float *residual; /* in: what the sublayer gave; out: x + dropout(that) */
    const struct norm_stats *stats;
    const float *weight, *bias;
    float *y; /* norm(residual) */
};

static void add_and_norm(void *context, int worker, int workers) {
    const struct norm_task *t = context;
    const struct kernels *k = kernels_get();
    const struct dropout *dropout = &t->batch->dropout;
    size_t d_model = (size_t)t->model->config.d_model, begin, end;
    pool_slice((size_t)t->batch->rows, 1, worker, workers, &begin, &end);
    for (size_t row = begin; row < end; row++) {
        float *residual = t->residual + row * d_model;
        if (dropout->rate > 0)
            k->dropout(residual, d_model, dropout_row_key(dropout, t->layer, t->site, (int)row),
                       dropout_threshold(dropout), dropout_scale(dropout));
        k->add(residual, t->x + row * d_model, d_model);
        k->layer_norm(t->y + row * d_model, &t->stats->mean[row], &t->stats->rstd[row], residual,
                      t->weight, t->bias, d_model, t->model->config.norm_eps);
    }
}

/* ---- the hidden layer's dropout ------------------------------------------- */

struct hidden_task {
    const struct batch *batch;
    int layer;
    size_t d_ff;
    float *hidden; /* [rows, d_ff] */
};

static void drop_hidden(void *context, int worker, int workers) {
    const struct hidden_task *t = context;
    const struct kernels *k = kernels_get();
    const struct dropout *dropout = &t->batch->dropout;
    size_t begin, end;
    pool_slice((size_t)t->batch->rows, 1, worker, workers, &begin, &end);
    for (size_t row = begin; row < end; row++)
        k->dropout(t->hidden + row * t->d_ff, t->d_ff,
                   dropout_row_key(dropout, t->layer, DROPOUT_HIDDEN, (int)row),
                   dropout_threshold(dropout), dropout_scale(dropout));
}

/* ---- the encoder ---------------------------------------------------------- */

static void forward_layer(const struct model *model, struct pool *pool,
                          struct activations *activations, const struct batch *batch, int layer) {
    const struct model_config *c = &model->config;
    const struct layer_parameters *p = &model->parameters.layers[layer];
    const struct layer_linears *linears = &model->linears[layer];
    const struct layer_activations *a = activations_layer(activations, layer);
    const float *x = activations_input(activations, layer);
    size_t rows = (size_t)batch->rows;

    uint64_t since_ns = start_ns(activations);
    linear_forward(&linears->in_proj, pool, &activations->linear, x, rows, a->qkv, false);
    charge(activations, PART_LINEARS, &since_ns);
    if (linears->in_proj.bf16 && attention_bf16_takes(batch))
        attention_bf16_forward(c, pool, batch, layer, a, activations->max_rows,
                               activations->scores);
    else
        attention_forward(c, pool, batch, layer, a, activations->max_rows, activations->scores);
    charge(activations, PART_ATTENTION, &since_ns);
    linear_forward(&linears->out_proj, pool, &activations->linear, a->attention, rows, a->residual1,
                   false);
    charge(activations, PART_LINEARS, &since_ns);
    struct norm_task norm1 = {model,        batch,          layer, DROPOUT_RESIDUAL1, x,
                              a->residual1, &a->norm1,      p->norm1_weight,
                              p->norm1_bias, a->middle};
    run_rows(pool, add_and_norm, &norm1, batch->rows);
    charge(activations, PART_NORMS, &since_ns);

    linear_forward(&linears->linear1, pool, &activations->linear, a->middle, rows, a->hidden, true);
    if (batch->dropout.rate > 0) {
        struct hidden_task hidden = {batch, layer, (size_t)c->d_ff, a->hidden};
        pool_run(pool, drop_hidden, &hidden);
    }
    linear_forward(&linears->linear2, pool, &activations->linear, a->hidden, rows, a->residual2,
                   false);
    charge(activations, PART_LINEARS, &since_ns);
    struct norm_task norm2 = {model,        batch,     layer, DROPOUT_RESIDUAL2, a->middle,
                              a->residual2, &a->norm2, p->norm2_weight,
                              p->norm2_bias, activations_input(activations, layer + 1)};
    run_rows(pool, add_and_norm, &norm2, batch->rows);
    charge(activations, PART_NORMS, &since_ns);
}

void forward(const struct model *model, struct pool *pool, struct activations *activations,
             const struct batch *batch) {
    assert(batch->rows > 0 && batch->rows <= activations->max_rows);
    struct embed_task task = {model, batch, activations_input(activations, 0)};
    uint64_t since_ns = start_ns(activations);
    run_rows(pool, embed, &task, batch->rows);
    charge(activations, PART_NORMS, &since_ns);
    for (int layer = 0; layer < model->config.layers; layer++)
        forward_layer(model, pool, activations, batch, layer);
}

void forward_logits_range(const struct model *model, struct pool *pool,
                          const struct activations *activations, int first, int count,
                          float *logits) {
    uint64_t since_ns = start_ns(activations);
    const float *x = activations_output(activations);
    linear_forward(&model->head, pool, &activations->linear,
                   x + (size_t)first * (size_t)model->config.d_model, (size_t)count, logits,
                   false);
    charge(activations, PART_LINEARS, &since_ns);
}

void forward_logits(const struct model *model, struct pool *pool,
                    const struct activations *activations, const int *rows, int count,
                    float *logits) {
    size_t d_model = (size_t)model->config.d_model;
    const float *x = activations_output(activations);
    if (!rows) {
        forward_logits_range(model, pool, activations, 0, count, logits);
        return;
    }
    uint64_t since_ns = start_ns(activations);
    for (int i = 0; i < count; i++)
        memcpy(activations->gathered + (size_t)i * d_model, x + (size_t)rows[i] * d_model,
               d_model * sizeof(float));
    linear_forward(&model->head, pool, &activations->linear, activations->gathered,
                   (size_t)count, logits, false);
    charge(activations, PART_LINEARS, &since_ns);
}
