#include "train/trainer.h"

#include "base/pool.h"
#include "train/grad/teacher.h"
#include "train/nonfinite.h"
#include "train/optim/weight_average.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static void layout(void *context, struct arena *arena) {
    struct trainer *t = context;
    const struct model_config *c = &t->model->config;
    size_t floats = model_buffer_floats(c), rows = (size_t)t->options.micro_rows;
    t->gradients = arena_take(arena, floats, sizeof(float));
    if (t->options.average)
        t->average = arena_take(arena, floats, sizeof(float));
    t->spans = arena_take(arena, rows, sizeof *t->spans);
    t->rows = arena_take(arena, rows, sizeof *t->rows);
}

enum status trainer_create(struct trainer *t, struct model *model, struct pool *pool,
                           const struct trainer_options *options, struct error *err) {
    *t = (struct trainer){.options = *options, .model = model, .pool = pool};
    const struct model_config *c = &model->config;
    int workers = pool_workers(pool), rows = options->micro_rows;
    enum dtype products = options->dtype == DTYPE_F32 ? DTYPE_F32 : DTYPE_BF16;
    enum status status = arena_build(&t->arena, layout, t, err);
    if (status == STATUS_OK)
        status = optimizer_create(&t->optimizer, &options->optimizer, products, c, workers, err);
    if (status == STATUS_OK)
        status = activations_create(&t->activations, c, rows, true, workers, err);
    if (status == STATUS_OK)
        status = backward_scratch_create(&t->backward, c, rows, workers, err);
    if (status == STATUS_OK)
        status = loss_scratch_create(&t->loss, c, err);
    if (status == STATUS_OK)
        status = packed_weights_create(&t->packed, model, options->dtype, true, pool, err);
    if (status != STATUS_OK) {
        trainer_destroy(t);
        return status;
    }
    parameters_bind(&t->bound_gradients, c, t->gradients);
    return STATUS_OK;
}

void trainer_destroy(struct trainer *t) {
    packed_weights_destroy(t->packed);
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
    if (t->options.average)
        state[count++] = (struct state_buffer){"average", t->average, floats};
    return count;
}

void trainer_refresh(struct trainer *t) {
    packed_weights_refresh(t->packed, t->pool);
}

void trainer_swap_average(struct trainer *t) {
    assert(t->options.average);
    weight_average_swap(t->model->buffer, t->average, model_buffer_floats(&t->model->config),
                        t->pool);
    trainer_refresh(t);
}

/* ---- micro-batches -------------------------------------------------------- */

/* Takes whole stories from *story on until the next would not fit into micro_rows. */
static struct batch next_micro_batch(const struct trainer *t, const struct story_batch *stories,
                                     size_t *story, size_t *row) {
    struct batch batch = {.ids = stories->inputs + *row, .spans = t->spans};
    while (*story < stories->stories &&
           (batch.span_count == 0 ||
            batch.rows + stories->lengths[*story] <= t->options.micro_rows)) {
        int rows = stories->lengths[*story];
        for (int r = 0; r < rows; r++)
            t->rows[batch.rows + r] = (struct dropout_row){(uint32_t)*story, (uint32_t)r};
        (*story)++;
        t->spans[batch.span_count++] = (struct span){.rows = rows};
        batch.rows += rows;
    }
    assert(batch.rows <= t->options.micro_rows);
    *row += (size_t)batch.rows;
    return batch;
}

static size_t learned_rows(const struct story_batch *batch) {
    size_t count = 0;
    for (size_t row = 0; row < batch->rows; row++)
        count += batch->targets[row] >= 0;
    return count;
}

/* Returns the mean loss. */
static double add_gradients(struct trainer *t, const struct story_batch *stories,
                            const struct step_options *o) {
    const struct forward_context context = {t->model, t->pool, &t->activations};
    double learned = (double)learned_rows(stories);
    double sum = 0;
    size_t story = 0, row = 0;
    while (story < stories->stories) {
        struct loss_targets targets = {.ids = stories->targets + row,
                                       .weight = (float)(1.0 / learned),
                                       .distillation = o->distillation};
        struct batch batch = next_micro_batch(t, stories, &story, &row);
        batch.dropout = (struct dropout){o->dropout, o->dropout_key, t->rows};
        if (o->distillation.teacher)
            teacher_run(o->distillation.teacher, t->pool, &batch);
        forward(&context, &batch);
        targets.rows = (size_t)batch.rows;
        sum += loss_and_gradient(&context, &targets, &t->loss, &t->bound_gradients,
                                 t->backward.d_output);
        backward(&context, &batch, &t->backward, &t->bound_gradients);
        if (o->on_rows)
            o->on_rows(o->context, row);
    }
    return sum / learned;
}

/* ---- the step ------------------------------------------------------------- */

static void clear_gradients(void *context, int worker, int workers) {
    const struct trainer *t = context;
    size_t begin, end;
    pool_slice(model_buffer_floats(&t->model->config), 16, worker, workers, &begin, &end);
    memset(t->gradients + begin, 0, (end - begin) * sizeof(float));
}

static void update(struct trainer *t, float scale, const struct step_options *o) {
    float *parameters = t->model->buffer;
    optimizer_step(&t->optimizer, t->pool, parameters, t->gradients, scale, o->rates);
    if (t->options.average && o->average_share > 0)
        weight_average_add(t->average, parameters, model_buffer_floats(&t->model->config),
                           (double)o->average_share, t->pool);
    trainer_refresh(t);
}

static enum status refuse(const struct trainer *t, const struct step_result *result,
                          struct error *err) {
    char text[160];
    nonfinite_describe(t, text, sizeof text);
    return error_set(err, STATUS_INVALID, "the loss is %g and the gradient's norm %g: %s",
                     result->loss, result->gradient_norm, text);
}

enum status trainer_step(struct trainer *t, const struct story_batch *batch,
                         const struct step_options *options, struct step_result *result,
                         struct error *err) {
    assert(batch->rows > 0);
    pool_run(t->pool, clear_gradients, t);
    result->loss = add_gradients(t, batch, options);
    result->gradient_norm =
        gradient_norm(t->pool, t->gradients, model_buffer_floats(&t->model->config));
    if (!isfinite(result->loss) || !isfinite(result->gradient_norm))
        return refuse(t, result, err);
    float scale = 1;
    if (options->clip > 0 && result->gradient_norm > (double)options->clip)
        scale = (float)((double)options->clip / result->gradient_norm);
    update(t, scale, options);
    return STATUS_OK;
}
