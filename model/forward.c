#include "model/forward.h"

#include "base/clock.h"
#include "base/pool.h"
#include "model/attention.h"
#include "model/attention_int8.h"
#include "model/kernels/dropout.h"
#include "model/kernels/kernels.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { FEW_ROWS = 12, FETCHING_ROWS = 8 };

/* Adds the time since *since_ns to a part, where time is measured. */
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
    float rate = dropout->rates.units;
    size_t d_model = (size_t)t->model->config.d_model, begin, end;
    pool_slice((size_t)t->batch->rows, 1, worker, workers, &begin, &end);
    for (size_t row = begin; row < end; row++) {
        float *residual = t->residual + row * d_model;
        if (rate > 0)
            k->dropout(residual, d_model, dropout_row_key(dropout, t->layer, t->site, (int)row),
                       dropout_threshold(rate), dropout_scale(rate));
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
    float rate = dropout->rates.units;
    size_t begin, end;
    pool_slice((size_t)t->batch->rows, 1, worker, workers, &begin, &end);
    for (size_t row = begin; row < end; row++)
        k->dropout(t->hidden + row * t->d_ff, t->d_ff,
                   dropout_row_key(dropout, t->layer, DROPOUT_HIDDEN, (int)row),
                   dropout_threshold(rate), dropout_scale(rate));
}

/* ---- the encoder ---------------------------------------------------------- */

static void run_linear(const struct forward_context *f, struct linear_product product) {
    linear_forward(f->pool, &f->activations->linear, product);
}

/* What attention will read of a layer's cache. Nothing for a few rows: there the linear layers wait
 * for memory themselves, and the caches keep so few keys and values anyway. */
static struct fetch_list reads_of(const struct forward_context *f, const struct batch *batch,
                                  int layer) {
    if (!batch->cache || batch->cache->dtype != DTYPE_INT8 || batch->rows < FETCHING_ROWS)
        return (struct fetch_list){0};
    return attention_int8_reads(batch, layer, f->activations->fetch_runs);
}

static void forward_layer(const struct forward_context *f, const struct batch *batch, int layer) {
    const struct model *model = f->model;
    const struct layer_parameters *p = &model->parameters.layers[layer];
    const struct layer_linears *linears = &model->linears[layer];
    const struct layer_activations *a = activations_layer(f->activations, layer);
    const struct attention_pass attention = attention_pass(model, f->activations, batch, layer);
    const float *x = activations_input(f->activations, layer);
    size_t rows = (size_t)batch->rows;

    /* Between two attentions the linear layers fetch what the later one reads, by their work; the
     * last layer's fetch for the next step's first, which has mostly the same sequences. */
    const size_t d_model = (size_t)model->config.d_model, d_ff = (size_t)model->config.d_ff;
    const size_t part1 = d_model, part2 = part1 + d_ff, part3 = part2 + d_ff, work = part3 + 3 * d_model;
    struct fetch_list reads = reads_of(f, batch, layer);

    uint64_t since_ns = start_ns(f->activations);
    run_linear(f, (struct linear_product){&linears->in_proj, x, rows, a->qkv, false,
                                          fetch_list_share(reads, part3, work, work)});
    charge(f->activations, PART_LINEARS, &since_ns);
    attention_forward(f->pool, &attention);
    charge(f->activations, PART_ATTENTION, &since_ns);
    reads = reads_of(f, batch, (layer + 1) % model->config.layers);
    run_linear(f, (struct linear_product){&linears->out_proj, a->attention, rows, a->residual1,
                                          false, fetch_list_share(reads, 0, part1, work)});
    charge(f->activations, PART_LINEARS, &since_ns);
    struct norm_task norm1 = {model,        batch,          layer, DROPOUT_RESIDUAL1, x,
                              a->residual1, &a->norm1,      p->norm1_weight,
                              p->norm1_bias, a->middle};
    run_rows(f->pool, add_and_norm, &norm1, batch->rows);
    charge(f->activations, PART_NORMS, &since_ns);

    run_linear(f, (struct linear_product){&linears->linear1, a->middle, rows, a->hidden, true,
                                          fetch_list_share(reads, part1, part2, work)});
    if (batch->dropout.rates.units > 0) {
        struct hidden_task hidden = {batch, layer, (size_t)model->config.d_ff, a->hidden};
        pool_run(f->pool, drop_hidden, &hidden);
    }
    run_linear(f, (struct linear_product){&linears->linear2, a->hidden, rows, a->residual2, false,
                                          fetch_list_share(reads, part2, part3, work)});
    charge(f->activations, PART_LINEARS, &since_ns);
    struct norm_task norm2 = {model,        batch,     layer, DROPOUT_RESIDUAL2, a->middle,
                              a->residual2, &a->norm2, p->norm2_weight,
                              p->norm2_bias, activations_input(f->activations, layer + 1)};
    run_rows(f->pool, add_and_norm, &norm2, batch->rows);
    charge(f->activations, PART_NORMS, &since_ns);
}

void forward(const struct forward_context *f, const struct batch *batch) {
    assert(batch->rows > 0 && batch->rows <= f->activations->max_rows);
    struct embed_task task = {f->model, batch, activations_input(f->activations, 0)};
    uint64_t since_ns = start_ns(f->activations);
    run_rows(f->pool, embed, &task, batch->rows);
    charge(f->activations, PART_NORMS, &since_ns);
    for (int layer = 0; layer < f->model->config.layers; layer++)
        forward_layer(f, batch, layer);
}

void forward_logits_range(const struct forward_context *f, int first, int count, float *logits) {
    uint64_t since_ns = start_ns(f->activations);
    const float *x = activations_output(f->activations);
    run_linear(f, (struct linear_product){&f->model->head,
                                          x + (size_t)first * (size_t)f->model->config.d_model,
                                          (size_t)count, logits, false, {0}});
    charge(f->activations, PART_LINEARS, &since_ns);
}

void forward_logits(const struct forward_context *f, const int *rows, int count, float *logits) {
    size_t d_model = (size_t)f->model->config.d_model;
    const float *x = activations_output(f->activations);
    float *gathered = f->activations->gathered;
    uint64_t since_ns = start_ns(f->activations);
    for (int i = 0; i < count; i++)
        memcpy(gathered + (size_t)i * d_model, x + (size_t)rows[i] * d_model,
               d_model * sizeof(float));
    run_linear(f, (struct linear_product){&f->model->head, gathered, (size_t)count, logits, false,
                                          {0}});
    charge(f->activations, PART_LINEARS, &since_ns);
}
