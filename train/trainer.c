#include "train/trainer.h"

#include "base/pool.h"
#include "train/data/share.h"
#include "train/grad/teacher.h"
#include "train/nonfinite.h"
#include "train/optim/muon.h"
#include "train/optim/weight_average.h"
#include "train/ranks.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static void layout(void *context, struct arena *arena) {
    struct trainer *t = context;
    const struct model_config *c = &t->model->config;
    size_t floats = model_buffer_floats(c), rows = (size_t)t->options.micro_rows;
    t->gradients = arena_take(arena, ranks_sum_floats(floats), sizeof(float));
    if (ranks_count() > 1)
        t->exchanged = arena_take(arena, ranks_sum_floats(floats), sizeof(float));
    if (t->options.average)
        t->average = arena_take(arena, floats, sizeof(float));
    t->spans = arena_take(arena, rows, sizeof *t->spans);
    t->rows = arena_take(arena, rows, sizeof *t->rows);
    t->ids = arena_take(arena, rows, sizeof *t->ids);
    t->targets = arena_take(arena, rows, sizeof *t->targets);
    t->bounds = arena_take(arena, (size_t)ranks_count() + 1, sizeof *t->bounds);
    t->loads = arena_take(arena, (size_t)ranks_count(), sizeof *t->loads);
}

static bool divides_matrices(const struct trainer *t) {
    return ranks_count() > 1 && t->options.optimizer.kind == OPTIMIZER_MUON;
}

/* The device computes, so nothing of the CPU's scratch is needed. */
static enum status create_on_device(struct trainer *t, struct error *err) {
    const struct device_options options = {&t->model->config, t->options.dtype,
                                           t->options.micro_rows, &t->options.optimizer,
                                           t->options.average};
    if (ranks_count() > 1)
        return error_set_field(err, STATUS_UNSUPPORTED, "device",
                               "a device trains in one process, not in %d", ranks_count());
    enum status status = t->options.device->open(&t->device, &options, err);
    return status == STATUS_OK ? trainer_refresh(t, err) : status;
}

enum status trainer_create(struct trainer *t, struct model *model, struct pool *pool,
                           const struct trainer_options *options, struct error *err) {
    *t = (struct trainer){.options = *options, .model = model, .pool = pool};
    const struct model_config *c = &model->config;
    int workers = pool_workers(pool), rows = options->micro_rows;
    enum dtype products = options->dtype == DTYPE_F32 ? DTYPE_F32 : DTYPE_BF16;
    enum status status = arena_build(&t->arena, layout, t, err);
    if (status == STATUS_OK && divides_matrices(t)) {
        muon_bounds(c, ranks_count(), t->bounds);
        t->options.optimizer.bounds = t->bounds;
        t->options.optimizer.part = ranks_index();
    }
    if (status == STATUS_OK)
        status = optimizer_create(&t->optimizer, &t->options.optimizer, products, c, workers, err);
    if (status == STATUS_OK && options->device) {
        status = create_on_device(t, err);
        if (status != STATUS_OK)
            trainer_destroy(t);
        return status;
    }
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
    if (t->device)
        t->device->kind->close(t->device);
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

/* Which of the device's buffers trainer_state() lists, in its order. */
static const enum device_buffer state_on_device[TRAINER_STATE_MAX] = {
    DEVICE_PARAMETERS, DEVICE_MOMENT1, DEVICE_MOMENT2, DEVICE_AVERAGE};

enum status trainer_refresh(struct trainer *t, struct error *err) {
    struct state_buffer state[TRAINER_STATE_MAX];
    enum status status = STATUS_OK;
    packed_weights_refresh(t->packed, t->pool);
    for (int i = trainer_state(t, state); t->device && status == STATUS_OK && i-- > 0;)
        status = t->device->kind->send(t->device, state_on_device[i], state[i].values, err);
    return status;
}

enum status trainer_fetch(const struct trainer *t, struct error *err) {
    struct state_buffer state[TRAINER_STATE_MAX];
    enum status status = STATUS_OK;
    for (int i = trainer_state(t, state); t->device && status == STATUS_OK && i-- > 0;)
        status = t->device->kind->fetch(t->device, state_on_device[i], state[i].values, err);
    return status;
}

enum status trainer_fetch_weights(const struct trainer *t, struct error *err) {
    return t->device ? t->device->kind->fetch(t->device, DEVICE_PARAMETERS, t->model->buffer, err)
                     : STATUS_OK;
}

enum status trainer_set_teacher(struct trainer *t, const struct teacher *teacher,
                                struct error *err) {
    const struct model *models[TEACHER_MAX_MODELS];
    return t->device ? t->device->kind->set_teachers(t->device, models,
                                                     teacher_models(teacher, models), err)
                     : STATUS_OK;
}

void trainer_swap_average(struct trainer *t) {
    assert(t->options.average);
    if (t->device) {
        t->device->kind->swap_average(t->device);
        return;
    }
    weight_average_swap(t->model->buffer, t->average, model_buffer_floats(&t->model->config),
                        t->pool);
    packed_weights_refresh(t->packed, t->pool);
}

/* ---- micro-batches -------------------------------------------------------- */

/* The stories of this rank that are still to be worked off. */
struct feed {
    struct share share;
    struct shared_story story; /* the next, unless there is none */
    bool more;
};

static struct feed open_feed(const struct trainer *t, const struct story_batch *stories) {
    struct feed feed;
    share_begin(&feed.share, stories, ranks_index(), ranks_count(), t->loads);
    feed.more = share_next(&feed.share, &feed.story);
    return feed;
}

static void add_story(struct trainer *t, struct batch *batch, const struct story_batch *stories,
                      const struct shared_story *story) {
    size_t count = (size_t)story->rows;
    memcpy(t->ids + batch->rows, stories->inputs + story->row, count * sizeof *t->ids);
    memcpy(t->targets + batch->rows, stories->targets + story->row, count * sizeof *t->targets);
    for (size_t row = 0; row < count; row++)
        t->rows[(size_t)batch->rows + row] =
            (struct dropout_row){(uint32_t)story->place, (uint32_t)row};
    t->spans[batch->span_count++] = (struct span){.rows = story->rows};
    batch->rows += story->rows;
}

/* Takes whole stories until the next would not fit into micro_rows. */
static struct batch next_micro_batch(struct trainer *t, struct feed *feed) {
    struct batch batch = {.ids = t->ids, .spans = t->spans};
    while (feed->more && batch.rows + feed->story.rows <= t->options.micro_rows) {
        add_story(t, &batch, feed->share.batch, &feed->story);
        feed->more = share_next(&feed->share, &feed->story);
    }
    assert(batch.rows > 0); /* no story is longer than micro_rows */
    return batch;
}

static size_t learned_rows(const struct story_batch *batch) {
    size_t count = 0;
    for (size_t row = 0; row < batch->rows; row++)
        count += batch->targets[row] >= 0;
    return count;
}

/* A micro-batch on the pool; returns the sum of its rows' losses. */
static double add_on_pool(struct trainer *t, const struct batch *batch,
                          const struct loss_targets *targets) {
    const struct forward_context context = {t->model, t->pool, &t->activations};
    if (targets->distillation.teacher)
        teacher_run(targets->distillation.teacher, t->pool, batch);
    forward(&context, batch);
    double sum = loss_and_gradient(&context, targets, &t->loss, &t->bound_gradients,
                                   t->backward.d_output);
    backward(&context, batch, &t->backward, &t->bound_gradients);
    return sum;
}

/* A micro-batch on the device, which keeps the sum. It is waited for but at the last one, so that
 * on_rows() counts what is done. */
static enum status add_on_device(struct trainer *t, const struct batch *batch,
                                 const struct loss_targets *targets, bool last,
                                 struct error *err) {
    const struct device_kind *kind = t->device->kind;
    enum status status = kind->add_gradients(t->device, batch, targets, err);
    return status == STATUS_OK && !last ? kind->wait(t->device, err) : status;
}

/* Adds this rank's losses to *sum, but for what a device keeps. Only a device can fail. */
static enum status add_gradients(struct trainer *t, const struct story_batch *stories,
                                 const struct step_options *o, double *sum, struct error *err) {
    double learned = (double)learned_rows(stories);
    enum status status = STATUS_OK;
    size_t done = 0;
    for (struct feed feed = open_feed(t, stories); feed.more && status == STATUS_OK;) {
        struct batch batch = next_micro_batch(t, &feed);
        batch.dropout = (struct dropout){o->dropout, o->dropout_key, t->rows};
        const struct loss_targets targets = {.ids = t->targets,
                                             .rows = (size_t)batch.rows,
                                             .weight = (float)(1.0 / learned),
                                             .distillation = o->distillation};
        if (t->device)
            status = add_on_device(t, &batch, &targets, !feed.more, err);
        else
            *sum += add_on_pool(t, &batch, &targets);
        done += (size_t)batch.rows * (size_t)ranks_count();
        if (o->on_rows)
            o->on_rows(o->context, done < stories->rows ? done : stories->rows);
    }
    return status;
}

static void clear_gradients(void *context, int worker, int workers) {
    const struct trainer *t = context;
    size_t begin, end;
    pool_slice(model_buffer_floats(&t->model->config), 16, worker, workers, &begin, &end);
    memset(t->gradients + begin, 0, (end - begin) * sizeof(float));
}

double trainer_gradients(struct trainer *t, const struct story_batch *stories,
                         const struct step_options *o) {
    double sum = 0;
    assert(!t->device);
    pool_run(t->pool, clear_gradients, t);
    (void)add_gradients(t, stories, o, &sum, NULL);
    return sum / (double)learned_rows(stories);
}

/* ---- the step ------------------------------------------------------------- */

static void sum_on_pool(struct trainer *t, const struct story_batch *stories,
                        const struct step_options *o, struct step_result *result) {
    size_t floats = model_buffer_floats(&t->model->config);
    result->loss = trainer_gradients(t, stories, o);
    ranks_sum(&result->loss, 1);
    ranks_sum_many(t->pool, t->gradients, floats, t->exchanged);
    result->gradient_norm = gradient_norm(t->pool, t->gradients, floats);
}

static enum status sum_on_device(struct trainer *t, const struct story_batch *stories,
                                 const struct step_options *o, struct step_result *result,
                                 struct error *err) {
    const struct device_kind *device = t->device->kind;
    double sum = 0;
    enum status status = device->clear(t->device, err);
    if (status == STATUS_OK)
        status = add_gradients(t, stories, o, &sum, err);
    if (status == STATUS_OK)
        status = device->sums(t->device, &sum, &result->gradient_norm, err);
    result->loss = sum / (double)learned_rows(stories);
    return status;
}

static enum status update_on_device(struct trainer *t, float scale, const struct step_options *o,
                                    struct error *err) {
    const struct device_update update = {o->rates, scale, t->optimizer.steps + 1,
                                         t->options.average ? o->average_share : 0};
    enum status status = t->device->kind->update(t->device, &update, err);
    t->optimizer.steps += status == STATUS_OK;
    return status;
}

static void update_on_pool(struct trainer *t, float scale, const struct step_options *o) {
    float *parameters = t->model->buffer;
    optimizer_step(&t->optimizer, t->pool, parameters, t->gradients, scale, o->rates);
    if (divides_matrices(t))
        ranks_exchange(parameters, t->bounds);
    if (t->options.average && o->average_share > 0)
        weight_average_add(t->average, parameters, model_buffer_floats(&t->model->config),
                           (double)o->average_share, t->pool);
    packed_weights_refresh(t->packed, t->pool);
}

static enum status refuse(const struct trainer *t, const struct step_result *result,
                          struct error *err) {
    char text[160];
    enum status status = trainer_fetch(t, err);
    if (status == STATUS_OK && t->device)
        status = t->device->kind->fetch(t->device, DEVICE_GRADIENTS, t->gradients, err);
    if (status != STATUS_OK)
        return status;
    nonfinite_describe(t, text, sizeof text);
    return error_set(err, STATUS_INVALID, "the loss is %g and the gradient's norm %g: %s",
                     result->loss, result->gradient_norm, text);
}

enum status trainer_step(struct trainer *t, const struct story_batch *batch,
                         const struct step_options *options, struct step_result *result,
                         struct error *err) {
    assert(batch->rows > 0);
    enum status status = STATUS_OK;
    if (t->device)
        status = sum_on_device(t, batch, options, result, err);
    else
        sum_on_pool(t, batch, options, result);
    if (status != STATUS_OK)
        return status;
    if (!isfinite(result->loss) || !isfinite(result->gradient_norm))
        return refuse(t, result, err);
    float scale = 1;
    if (options->clip > 0 && result->gradient_norm > (double)options->clip)
        scale = (float)((double)options->clip / result->gradient_norm);
    if (t->device)
        return update_on_device(t, scale, options, err);
    update_on_pool(t, scale, options);
    return STATUS_OK;
}
