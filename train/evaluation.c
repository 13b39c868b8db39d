#include "train/evaluation.h"

#include "base/arena.h"
#include "base/pool.h"
#include "model/forward.h"
#include "train/grad/loss.h"
#include "train/ranks.h"

#include <assert.h>
#include <math.h>

enum { EVALUATION_ROWS = 2048 }; /* per forward pass; small enough for the caches */

struct evaluator {
    struct activations activations;
    struct loss_scratch loss;
    struct data_loader *loader;
    int rows; /* at once */
    struct span *spans; /* [rows] */
    struct arena arena; /* of the spans */
};

static void layout(void *context, struct arena *arena) {
    struct evaluator *e = context;
    e->spans = arena_take(arena, (size_t)e->rows, sizeof *e->spans);
}

static enum status evaluator_open(struct evaluator *e, const struct evaluated *what,
                                  const struct dataset *dataset, int rows, struct error *err) {
    struct data_loader_options plan = {.once = true, .max_rows = (size_t)rows};
    enum status status = STATUS_OK;
    if (!what->device)
        status = activations_create(&e->activations, &what->model->config, rows, false,
                                    pool_workers(what->pool), err);
    if (status == STATUS_OK && !what->device)
        status = loss_scratch_create(&e->loss, &what->model->config, err);
    e->rows = rows;
    if (status == STATUS_OK)
        status = arena_build(&e->arena, layout, e, err);
    if (status == STATUS_OK)
        status = data_loader_open(&e->loader, dataset, &plan, (struct data_loader_state){0}, err);
    return status;
}

static void evaluator_close(struct evaluator *e) {
    activations_destroy(&e->activations);
    loss_scratch_destroy(&e->loss);
    data_loader_close(e->loader);
    arena_destroy(&e->arena);
}

/* Rows at a time: on the pool few enough for the caches, on a device as many as it takes. */
static int rows_at_once(const struct evaluated *what, const struct dataset *dataset) {
    if (what->device)
        return what->device->max_rows;
    return dataset->longest_rows > EVALUATION_ROWS ? (int)dataset->longest_rows : EVALUATION_ROWS;
}

/* Adds the losses of a batch's rows to *sum. */
static enum status add_losses(struct evaluator *e, const struct evaluated *what,
                              const struct story_batch *stories, double *sum, struct error *err) {
    for (size_t i = 0; i < stories->stories; i++)
        e->spans[i] = (struct span){.rows = stories->lengths[i]};
    const struct batch batch = {.ids = stories->inputs,
                                .rows = (int)stories->rows,
                                .spans = e->spans,
                                .span_count = (int)stories->stories,
                                .unmasked = what->unmasked};
    const struct loss_targets targets = {
        .ids = stories->targets, .rows = stories->rows, .weight = 1};
    if (what->device) {
        double loss = 0;
        enum status status = what->device->kind->loss(what->device, &batch, &targets, &loss, err);
        *sum += loss;
        return status;
    }
    const struct forward_context context = {what->model, what->pool, &e->activations};
    forward(&context, &batch);
    *sum += loss_sum(&context, &targets, &e->loss);
    return STATUS_OK;
}

enum status evaluate(const struct evaluated *what, const struct dataset *dataset,
                     struct evaluation *evaluation, struct error *err) {
    struct evaluator e = {0};
    int rows = rows_at_once(what, dataset);
    double sum = 0;
    *evaluation = (struct evaluation){.stories = dataset->stories, .tokens = dataset->rows};
    enum status status = evaluator_open(&e, what, dataset, rows, err);
    status = ranks_agree(status, err);
    if (status != STATUS_OK)
        goto cleanup;
    const struct story_batch *stories;
    for (int part = 0; status == STATUS_OK && (stories = data_loader_next(e.loader))->stories > 0;
         part++) {
        if (part % ranks_count() != ranks_index())
            continue;
        assert(stories->rows <= (size_t)rows);
        status = add_losses(&e, what, stories, &sum, err);
    }
    ranks_sum(&sum, 1);
    evaluation->loss = sum / (double)dataset->rows;
    evaluation->bits_per_byte = sum / log(2) / (double)dataset->text_bytes;
cleanup:
    evaluator_close(&e);
    return status;
}
