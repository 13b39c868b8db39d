#include "train/trainer.h"

#include "base/pool.h"
#include "base/rng.h"
#include "engine/linear_bf16.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static void layout(struct trainer *t, struct arena *arena) {
    t->gradients = arena_take(arena, model_buffer_floats(&t->model->config), sizeof(float));
    t->spans = arena_take(arena, (size_t)t->micro_rows, sizeof *t->spans);
}

enum status trainer_create(struct trainer *t, struct model *model, struct pool *pool,
                           const struct trainer_options *options, struct error *err) {
    int micro_rows = options->micro_rows;
    *t = (struct trainer){.model = model, .pool = pool, .micro_rows = micro_rows};
    const struct model_config *c = &model->config;
    int workers = pool_workers(pool);
    struct arena measure = {0};
    layout(t, &measure);
    enum status status = arena_create(&t->arena, measure.used, err);
    if (status == STATUS_OK)
        status = optimizer_create(&t->optimizer, &options->optimizer, c, workers, err);
    if (status == STATUS_OK)
        status = activations_create(&t->activations, c, micro_rows, true, workers, err);
    if (status == STATUS_OK)
        status = backward_scratch_create(&t->backward, c, micro_rows, workers, err);
    if (status == STATUS_OK)
        status = loss_scratch_create(&t->loss, c, err);
    if (status == STATUS_OK && options->numeric == NUMERIC_BF16)
        status = bf16_set_create(&t->bf16, model, pool, true, err);
    if (status != STATUS_OK) {
        trainer_destroy(t);
        return status;
    }
    layout(t, &t->arena);
    parameters_bind(&t->bound_gradients, c, t->gradients);
    return STATUS_OK;
}

void trainer_destroy(struct trainer *t) {
    bf16_set_destroy(t->bf16);
    optimizer_destroy(&t->optimizer);
    activations_destroy(&t->activations);
    backward_scratch_destroy(&t->backward);
    loss_scratch_destroy(&t->loss);
    arena_destroy(&t->arena);
    *t = (struct trainer){0};
}

int trainer_state(const struct trainer *t, struct state_buffer *state) {
    size_t floats = model_buffer_floats(&t->model->config);
    int count = 0;
    state[count++] = (struct state_buffer){"parameters", t->model->buffer, floats};
    state[count++] = (struct state_buffer){"moment1", t->optimizer.moment1, floats};
    state[count++] = (struct state_buffer){"moment2", t->optimizer.moment2, floats};
    return count;
}

void trainer_refresh(struct trainer *t) {
    if (t->bf16)
        bf16_set_refresh(t->bf16, t->pool);
}

/* Takes whole stories from *story on until the next would not fit into max_rows. */
static struct batch next_micro_batch(const struct story_batch *stories, size_t *story, size_t *row,
                                     int max_rows, struct span *spans) {
    struct batch batch = {.ids = stories->inputs + *row, .spans = spans};
    while (*story < stories->stories &&
           (batch.span_count == 0 || batch.rows + stories->lengths[*story] <= max_rows)) {
        int rows = stories->lengths[(*story)++];
        spans[batch.span_count++] = (struct span){.rows = rows};
        batch.rows += rows;
    }
    *row += (size_t)batch.rows;
    return batch;
}

static double add_gradients(struct trainer *t, const struct story_batch *stories,
                            const struct step_options *options) {
    float weight = (float)(1.0 / (double)stories->rows);
    double sum = 0;
    size_t story = 0, row = 0;
    for (uint64_t part = 0; story < stories->stories; part++) {
        const int32_t *targets = stories->targets + row;
        struct batch batch = next_micro_batch(stories, &story, &row, t->micro_rows, t->spans);
        batch.dropout = (struct dropout){options->dropout, rng_derive(options->dropout_key, part)};
        forward(t->model, t->pool, &t->activations, &batch);
        sum += loss_and_gradient(t->model, t->pool, &t->activations, targets, (size_t)batch.rows,
                                 weight, &t->loss, &t->bound_gradients, t->backward.d_output);
        backward(t->model, t->pool, &t->activations, &batch, &t->backward, &t->bound_gradients);
    }
    return sum;
}

static void clear_gradients(void *context, int worker, int workers) {
    struct trainer *t = context;
    size_t begin, end;
    pool_slice(model_buffer_floats(&t->model->config), 16, worker, workers, &begin, &end);
    memset(t->gradients + begin, 0, (end - begin) * sizeof(float));
}

enum status trainer_step(struct trainer *t, const struct story_batch *batch,
                         const struct step_options *options, struct step_result *result,
                         struct error *err) {
    assert(batch->rows > 0);
    size_t floats = model_buffer_floats(&t->model->config);
    pool_run(t->pool, clear_gradients, t);
    result->loss = add_gradients(t, batch, options) / (double)batch->rows;
    result->gradient_norm = gradient_norm(t->pool, t->gradients, floats);
    if (!isfinite(result->loss) || !isfinite(result->gradient_norm))
        return error_set(err, STATUS_INVALID, "the loss is %g and the gradient's norm %g",
                         result->loss, result->gradient_norm);
    float scale = 1;
    if (options->clip > 0 && result->gradient_norm > (double)options->clip)
        scale = (float)((double)options->clip / result->gradient_norm);
    optimizer_step(&t->optimizer, t->pool, t->model->buffer, t->gradients, scale, options->rates);
    trainer_refresh(t);
    return STATUS_OK;
}

/* ---- validation ----------------------------------------------------------- */

enum { EVALUATION_ROWS = 2048 }; /* per forward pass; small enough for the caches */

struct evaluator {
    struct activations activations;
    struct loss_scratch loss;
    struct batch_cutter *cutter;
    struct arena arena; /* of the spans */
};

static enum status evaluator_open(struct evaluator *e, const struct model *model,
                                  struct pool *pool, const struct dataset *dataset, int rows,
                                  struct error *err) {
    struct batch_plan plan = {.once = true, .max_rows = (size_t)rows};
    enum status status = activations_create(&e->activations, &model->config, rows, false,
                                            pool_workers(pool), err);
    if (status == STATUS_OK)
        status = loss_scratch_create(&e->loss, &model->config, err);
    if (status == STATUS_OK)
        status = arena_create(&e->arena, (size_t)rows * sizeof(struct span), err);
    if (status == STATUS_OK)
        status = batch_cutter_open(&e->cutter, dataset, &plan, (struct batch_cursor){0}, err);
    return status;
}

static void evaluator_close(struct evaluator *e) {
    activations_destroy(&e->activations);
    loss_scratch_destroy(&e->loss);
    batch_cutter_close(e->cutter);
    arena_destroy(&e->arena);
}

enum status evaluate(const struct model *model, struct pool *pool, const struct dataset *dataset,
                     struct evaluation *evaluation, struct error *err) {
    struct evaluator e = {0};
    int rows = dataset->longest_rows > EVALUATION_ROWS ? (int)dataset->longest_rows
                                                       : EVALUATION_ROWS;
    double sum = 0;
    *evaluation = (struct evaluation){.stories = dataset->stories, .tokens = dataset->rows};
    enum status status = evaluator_open(&e, model, pool, dataset, rows, err);
    if (status != STATUS_OK)
        goto cleanup;
    struct span *spans = arena_take(&e.arena, (size_t)rows, sizeof *spans);
    const struct story_batch *stories;
    while ((stories = batch_cutter_next(e.cutter))->stories > 0) {
        size_t story = 0, row = 0;
        struct batch batch = next_micro_batch(stories, &story, &row, rows, spans);
        assert(story == stories->stories);
        forward(model, pool, &e.activations, &batch);
        sum += loss_sum(model, pool, &e.activations, stories->targets, (size_t)batch.rows,
                        &e.loss);
    }
    evaluation->loss = sum / (double)dataset->rows;
    evaluation->bits_per_byte = sum / log(2) / (double)dataset->text_bytes;
cleanup:
    evaluator_close(&e);
    return status;
}
