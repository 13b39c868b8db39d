#include "model/forward.h"

#include "base/clock.h"
#include "base/pool.h"
#include "model/attention.h"
#include "model/attention_int8.h"
#include "model/kernels/dropout.h"
#include "model/kernels/int8.h"
#include "model/kernels/kernels.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { FETCHING_ROWS = 8 };

/* Adds the time of the caller's thread since *since_ns to a part, where time is measured. */
static void charge(const struct activations *a, int worker, enum forward_part part,
                   uint64_t *since_ns) {
    if (worker > 0 || !a->part_ns)
        return;
    uint64_t now_ns = clock_now_ns();
    a->part_ns[part] += now_ns - *since_ns;
    *since_ns = now_ns;
}

static uint64_t start_ns(const struct activations *a, int worker) {
    return worker == 0 && a->part_ns ? clock_now_ns() : 0;
}

/* A forward pass as the threads walk through it: each of them has this, and everything that it
 * points at but for results is there before and stays the same. */
struct forward_walk {
    const struct forward_context *f;
    const struct batch *batch;
    const int *rows; /* [count] whose logits are wanted in place of the output; NULL: the output */
    int count;
    float *logits;
};

/* ---- embedding ------------------------------------------------------------ */

static void embed(const void *context, size_t row, float *x) {
    const struct forward_walk *w = context;
    const struct model *model = w->f->model;
    const struct span *span = w->batch->spans;
    size_t d_model = (size_t)model->config.d_model, first = 0;
    float scale = sqrtf((float)d_model);
    for (; row - first >= (size_t)span->rows; span++)
        first += (size_t)span->rows;
    size_t position = (size_t)(w->batch->cache ? span->first : 0) + row - first;
    const float *e = model->parameters.embedding + (size_t)w->batch->ids[row] * d_model;
    const float *p = model->position_table + position * d_model;
    for (size_t i = 0; i < d_model; i++)
        x[i] = e[i] * scale + p[i];
}

/* ---- residual and norm ---------------------------------------------------- */

struct norm_source {
    const struct forward_walk *walk;
    int layer;
    enum dropout_site site;
    const float *x;  /* [rows, d_model] what the sublayer got */
    float *residual; /* in: what the sublayer gave; out, where layers are kept: x + dropout(that) */
    const struct norm_stats *stats;
    const float *weight, *bias;
};

/* y[d_model] = norm(x + dropout(what the sublayer gave)) of a row. Unless layers are kept, several
 * workers may do that for the same row, each to its own y. */
static void add_and_norm(const void *context, size_t row, float *y) {
    const struct norm_source *n = context;
    const struct forward_walk *w = n->walk;
    const struct kernels *k = kernels_get();
    const struct dropout *dropout = &w->batch->dropout;
    bool keeps = w->f->activations->keeps_layers;
    float rate = dropout->rate, mean, rstd;
    size_t d_model = (size_t)w->f->model->config.d_model;
    float *residual = n->residual + row * d_model;
    if (!keeps)
        residual = memcpy(y, residual, d_model * sizeof *y);
    if (rate > 0)
        k->dropout(residual, d_model, dropout_row_key(dropout, n->layer, n->site, (int)row),
                   dropout_threshold(rate), dropout_scale(rate));
    k->add(residual, n->x + row * d_model, d_model);
    k->layer_norm(y, keeps ? &n->stats->mean[row] : &mean, keeps ? &n->stats->rstd[row] : &rstd,
                  residual, n->weight, n->bias, d_model, w->f->model->config.norm_eps);
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
    float rate = dropout->rate;
    size_t begin, end;
    pool_slice((size_t)t->batch->rows, 1, worker, workers, &begin, &end);
    for (size_t row = begin; row < end; row++)
        k->dropout(t->hidden + row * t->d_ff, t->d_ff,
                   dropout_row_key(dropout, t->layer, DROPOUT_HIDDEN, (int)row),
                   dropout_threshold(rate), dropout_scale(rate));
}

/* ---- the encoder ---------------------------------------------------------- */

/* Returns where this worker has the rows of x. */
static const float *run_linear(const struct forward_context *f, int worker,
                               const struct linear_product *product) {
    const struct activations *a = f->activations;
    uint64_t since_ns = start_ns(a, worker);
    linear_prepare(f->pool, worker, product);
    charge(a, worker, PART_NORMS, &since_ns);
    const float *x = linear_multiply(f->pool, worker, product);
    charge(a, worker, PART_LINEARS, &since_ns);
    return x;
}

/* Which of two inputs that are needed at the same time it is. */
static float *own_x(const struct activations *a, int worker, int which) {
    return a->own_x + (size_t)(2 * worker + which) * LINEAR_FEW_ROWS * (size_t)a->config.d_model;
}

/* Between two attentions the linear layers fetch what the later one reads, by their work; the
 * last layer's fetch for the next step's first, which has mostly the same sequences. */
struct wanted {
    const struct forward_walk *walk;
    int layer;            /* whose attention it is */
    size_t begin, end, of; /* this product's part of the work between the two */
};

/* The share of who does [begin, end) of `total` equal pieces of the product. */
static struct fetch_list list_wanted(const void *context, int worker, size_t begin, size_t end,
                                     size_t total) {
    const struct wanted *w = context;
    const struct batch *batch = w->walk->batch;
    const struct activations *a = w->walk->f->activations;
    size_t items = (size_t)batch->span_count * (size_t)batch->cache->heads;
    size_t first = items * w->begin / w->of, count = items * w->end / w->of - first;
    return attention_int8_reads(batch, w->layer, first + count * begin / total,
                                first + count * end / total,
                                a->fetch_runs + (size_t)worker * a->fetch_runs_each);
}

/* Nothing for a few rows: there the linear layers wait for memory themselves, and the caches keep
 * so few keys and values anyway. */
static struct linear_wanted wanted(const struct wanted *w) {
    const struct batch *batch = w->walk->batch;
    if (!batch->cache || batch->cache->dtype != DTYPE_INT8 || batch->rows < FETCHING_ROWS ||
        (size_t)batch->rows >= int8_kernels_get()->fetching_rows)
        return (struct linear_wanted){0};
    return (struct linear_wanted){list_wanted, w};
}

/* What makes the input of a layer, or the output behind the last. */
static struct norm_source input_norm(const struct forward_walk *w, int layer) {
    const struct layer_parameters *p = &w->f->model->parameters.layers[layer - 1];
    const struct layer_activations *a = activations_layer(w->f->activations, layer - 1);
    return (struct norm_source){w, layer - 1, DROPOUT_RESIDUAL2, a->middle, a->residual2,
                                &a->norm2, p->norm2_weight, p->norm2_bias};
}

static struct linear_product product_of(const struct forward_context *f,
                                        const struct linear *linear, float *x, size_t rows,
                                        float *y) {
    const struct linear_scratch *scratch = &f->activations->linear;
    return (struct linear_product){
        .linear = linear, .scratch = scratch, .x = x, .rows = rows, .y = y};
}

/* The products of a layer, from input to output, and what they need. */
struct layer_products {
    struct linear_product in_proj, out_proj, linear1, linear2;
    struct norm_source input, middle;
    struct wanted wanted[4];
};

static void layer_products(const struct forward_walk *w, int worker, int layer,
                           struct layer_products *l) {
    const struct forward_context *f = w->f;
    const struct model_config *c = &f->model->config;
    const struct layer_parameters *p = &f->model->parameters.layers[layer];
    const struct layer_activations *a = activations_layer(f->activations, layer);
    const struct layer_linears *linears = &f->model->linears[layer];
    const size_t d_model = (size_t)c->d_model, d_ff = (size_t)c->d_ff;
    const size_t rows = (size_t)w->batch->rows;
    const size_t parts[] = {0, d_model, d_model + d_ff, d_model + 2 * d_ff, 4 * d_model + 2 * d_ff};
    float *x = activations_input(f->activations, layer);
    float *own[] = {own_x(f->activations, worker, 0), own_x(f->activations, worker, 1)};
    for (int i = 0; i < 4; i++)
        l->wanted[i] = (struct wanted){w, i < 3 ? (layer + 1) % c->layers : layer, parts[i],
                                       parts[i + 1], parts[4]};
    l->in_proj = product_of(f, &linears->in_proj, x, rows, a->qkv);
    l->in_proj.source = (struct linear_source){embed, w, own[0]};
    if (layer > 0) {
        l->input = input_norm(w, layer);
        l->in_proj.source = (struct linear_source){add_and_norm, &l->input, own[0]};
    }
    l->in_proj.wanted = wanted(&l->wanted[3]);
    l->out_proj = product_of(f, &linears->out_proj, a->attention, rows, a->residual1);
    l->out_proj.wanted = wanted(&l->wanted[0]);
    l->middle = (struct norm_source){w, layer, DROPOUT_RESIDUAL1, x, a->residual1, &a->norm1,
                                     p->norm1_weight, p->norm1_bias};
    l->linear1 = product_of(f, &linears->linear1, a->middle, rows, a->hidden);
    l->linear1.source = (struct linear_source){add_and_norm, &l->middle, own[1]};
    l->linear1.relu = true;
    l->linear1.wanted = wanted(&l->wanted[1]);
    l->linear2 = product_of(f, &linears->linear2, a->hidden, rows, a->residual2);
    l->linear2.wanted = wanted(&l->wanted[2]);
}

static void attend(const struct forward_walk *w, int worker, const struct attention_pass *pass) {
    uint64_t since_ns = start_ns(w->f->activations, worker);
    attention_stage(w->f->pool, worker, pass);
    charge(w->f->activations, worker, PART_ATTENTION, &since_ns);
}

/* ---- the output, or logits ------------------------------------------------- */

static void make_output(const struct forward_walk *w, int worker, const struct norm_source *last) {
    const struct forward_context *f = w->f;
    uint64_t since_ns = start_ns(f->activations, worker);
    float *output = activations_output(f->activations);
    size_t begin, end;
    while (pool_take_last(f->pool, worker, (size_t)w->batch->rows, 1, &begin, &end))
        add_and_norm(last, begin, output + begin * (size_t)f->model->config.d_model);
    charge(f->activations, worker, PART_NORMS, &since_ns);
}

/* The head ends a walk. Its x is `gathered` unless there is another. */
static struct linear_product head_product(const struct forward_context *f, int worker, int count,
                                          float *logits) {
    struct linear_product head =
        product_of(f, &f->model->head, f->activations->gathered, (size_t)count, logits);
    head.source.own_x = own_x(f->activations, worker, 0);
    head.ends_walk = true;
    return head;
}

struct wanted_output {
    const struct norm_source *last;
    const int *rows;
};

static void make_wanted(const void *context, size_t row, float *x) {
    const struct wanted_output *wanted = context;
    add_and_norm(wanted->last, (size_t)wanted->rows[row], x);
}

static void make_logits(const struct forward_walk *w, int worker, const struct norm_source *last) {
    const struct wanted_output output = {last, w->rows};
    struct linear_product head = head_product(w->f, worker, w->count, w->logits);
    head.source.make = make_wanted;
    head.source.context = &output;
    run_linear(w->f, worker, &head);
}

/* ---- the walk --------------------------------------------------------------- */

/* Each product is dealt out by its outputs: the weights are the bulk, and each worker reads its own
 * part of them. */
static void walk_layers(void *context, struct pool *pool, int worker) {
    const struct forward_walk *w = context;
    const struct forward_context *f = w->f;
    struct norm_source last = input_norm(w, f->model->config.layers);
    struct layer_products l;
    const float *middle = NULL;
    for (int layer = 0; layer < f->model->config.layers; layer++) {
        struct attention_pass pass = attention_pass(f->model, f->activations, w->batch, layer);
        layer_products(w, worker, layer, &l);
        l.input.x = middle;
        l.middle.x = run_linear(f, worker, &l.in_proj);
        attend(w, worker, &pass);
        l.out_proj.quantized = pass.quantized != NULL;
        run_linear(f, worker, &l.out_proj);
        middle = run_linear(f, worker, &l.linear1);
        if (w->batch->dropout.rate > 0) {
            struct hidden_task hidden = {w->batch, layer, (size_t)f->model->config.d_ff,
                                         l.linear2.x};
            pool_stage(pool, worker, drop_hidden, &hidden);
        }
        run_linear(f, worker, &l.linear2);
    }
    last.x = middle;
    if (!w->rows)
        make_output(w, worker, &last);
    else if (w->count > 0)
        make_logits(w, worker, &last);
}

void forward(const struct forward_context *f, const struct batch *batch) {
    assert(batch->rows > 0 && batch->rows <= f->activations->max_rows);
    struct forward_walk walk = {.f = f, .batch = batch};
    pool_walk(f->pool, walk_layers, &walk);
}

void forward_to_logits(const struct forward_context *f, const struct batch *batch, const int *rows,
                       int count, float *logits) {
    assert(batch->rows > 0 && batch->rows <= f->activations->max_rows);
    assert(!f->activations->keeps_layers);
    struct forward_walk walk = {f, batch, rows, count, logits};
    pool_walk(f->pool, walk_layers, &walk);
}

/* ---- logits of an output that is there --------------------------------------- */

struct logits_walk {
    const struct forward_context *f;
    float *x; /* NULL: what `rows` gathers */
    const int *rows; /* of the output */
    int count;
    float *logits;
};

static void gather(const void *context, size_t row, float *x) {
    const struct logits_walk *w = context;
    size_t d_model = (size_t)w->f->model->config.d_model;
    memcpy(x, activations_output(w->f->activations) + (size_t)w->rows[row] * d_model,
           d_model * sizeof *x);
}

static void walk_logits(void *context, struct pool *pool, int worker) {
    const struct logits_walk *w = context;
    struct linear_product head = head_product(w->f, worker, w->count, w->logits);
    (void)pool; /* f's */
    if (w->x) {
        head.x = w->x;
    } else {
        head.source.make = gather;
        head.source.context = w;
    }
    run_linear(w->f, worker, &head);
}

void forward_logits_range(const struct forward_context *f, int first, int count, float *logits) {
    size_t d_model = (size_t)f->model->config.d_model;
    float *x = activations_output(f->activations) + (size_t)first * d_model;
    struct logits_walk walk = {.f = f, .x = x, .count = count, .logits = logits};
    pool_walk(f->pool, walk_logits, &walk);
}

void forward_logits(const struct forward_context *f, const int *rows, int count, float *logits) {
    struct logits_walk walk = {.f = f, .rows = rows, .count = count, .logits = logits};
    pool_walk(f->pool, walk_logits, &walk);
}
