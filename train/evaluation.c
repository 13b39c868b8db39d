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
    struct span *spans; /* [rows] */
    struct arena arena; /* of the spans */
};

static enum status evaluator_open(struct evaluator *e, const struct model *model,
                                  struct pool *pool, const struct dataset *dataset, int rows,
                                  struct error *err) {
    struct data_loader_options plan = {.once = true, .max_rows = (size_t)rows};
    enum status status = activations_create(&e->activations, &model->config, rows, false,
                                            pool_workers(pool), err);
    if (status == STATUS_OK)
        status = loss_scratch_create(&e->loss, &model->config, err);
    if (status == STATUS_OK)
        status = arena_create(&e->arena, (size_t)rows * sizeof *e->spans, err);
    if (status == STATUS_OK)
        status = data_loader_open(&e->loader, dataset, &plan, (struct data_loader_state){0}, err);
    if (status == STATUS_OK)
        e->spans = arena_take(&e->arena, (size_t)rows, sizeof *e->spans);
    return status;
}

static void evaluator_close(struct evaluator *e) {
    activations_destroy(&e->activations);
    loss_scratch_destroy(&e->loss);
    data_loader_close(e->loader);
    arena_destroy(&e->arena);
}

enum status evaluate(const struct model *model, struct pool *pool, const struct dataset *dataset,
                     bool unmasked, struct evaluation *evaluation, struct error *err) {
    struct evaluator e = {0};
    const struct forward_context context = {model, pool, &e.activations};
    int rows = dataset->longest_rows > EVALUATION_ROWS ? (int)dataset->longest_rows
                                                       : EVALUATION_ROWS;
    double sum = 0;
    *evaluation = (struct evaluation){.stories = dataset->stories, .tokens = dataset->rows};
    enum status status = evaluator_open(&e, model, pool, dataset, rows, err);
    status = ranks_agree(status, err);
    if (status != STATUS_OK)
        goto cleanup;
    const struct story_batch *stories;
    for (int part = 0; (stories = data_loader_next(e.loader))->stories > 0; part++) {
        if (part % ranks_count() != ranks_index())
            continue;
        assert(stories->rows <= (size_t)rows);
        for (size_t i = 0; i < stories->stories; i++)
            e.spans[i] = (struct span){.rows = stories->lengths[i]};
        struct batch batch = {.ids = stories->inputs,
                              .rows = (int)stories->rows,
                              .spans = e.spans,
                              .span_count = (int)stories->stories,
                              .unmasked = unmasked};
        struct loss_targets targets = {.ids = stories->targets, .rows = stories->rows, .weight = 1};
        forward(&context, &batch);
        sum += loss_sum(&context, &targets, &e.loss);
    }
    ranks_sum(&sum, 1);
    evaluation->loss = sum / (double)dataset->rows;
    evaluation->bits_per_byte = sum / log(2) / (double)dataset->text_bytes;
cleanup:
    evaluator_close(&e);
    return status;
}
