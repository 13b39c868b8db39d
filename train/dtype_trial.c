#include "train/dtype_trial.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/pool.h"
#include "base/rng.h"
#include "model/kernels/bf16.h"
#include "train/ranks.h"
#include "train/trainer.h"

enum { LAYERS = 2, STORY_ROWS = 200 };
static const double SECONDS = 0.3; /* of each type, beside a first pass that warms up */

/* One micro-batch of stories for every rank. */
struct stories {
    size_t count, rows;
    int32_t *lengths, *inputs, *targets;
    struct arena arena;
};

static void layout(void *context, struct arena *arena) {
    struct stories *s = context;
    s->lengths = arena_take(arena, s->count, sizeof *s->lengths);
    s->inputs = arena_take(arena, s->rows, sizeof *s->inputs);
    s->targets = arena_take(arena, s->rows, sizeof *s->targets);
}

static enum status make_stories(struct stories *s, const struct dtype_trial *trial,
                                struct error *err) {
    size_t longest = (size_t)trial->config->positions - 1;
    size_t length = longest < STORY_ROWS ? longest : STORY_ROWS;
    size_t each = (size_t)trial->micro_rows / length;
    *s = (struct stories){.count = each * (size_t)ranks_count()};
    s->rows = s->count * length;
    enum status status = arena_build(&s->arena, layout, s, err);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < s->count; i++)
        s->lengths[i] = (int32_t)length;
    for (size_t i = 0; i < s->rows; i++) {
        s->inputs[i] = (int32_t)(rng_bits(1, i) % (uint64_t)trial->config->vocab);
        s->targets[i] = (int32_t)(rng_bits(2, i) % (uint64_t)trial->config->vocab);
    }
    return STATUS_OK;
}

/* Seconds of the fastest pass, which other processes disturbed least. */
static double fastest_pass(struct trainer *trainer, const struct stories *stories, float dropout) {
    const struct story_batch batch = {.stories = stories->count, .rows = stories->rows,
                                      .lengths = stories->lengths, .inputs = stories->inputs,
                                      .targets = stories->targets};
    const struct step_options options = {.dropout = dropout};
    double best = 0;
    (void)trainer_gradients(trainer, &batch, &options);
    for (double start = clock_seconds(), now = start; now < start + SECONDS;) {
        double before = now;
        (void)trainer_gradients(trainer, &batch, &options);
        now = clock_seconds();
        best = best > 0 && best < now - before ? best : now - before;
    }
    return best;
}

static enum status try_one(const struct dtype_trial *trial, enum dtype dtype, struct pool *pool,
                           double *speed, struct error *err) {
    struct model_config config = *trial->config;
    struct trainer_options options = {.optimizer = {.kind = OPTIMIZER_ADAM},
                                      .dtype = dtype,
                                      .micro_rows = trial->micro_rows};
    struct model *model = NULL;
    struct trainer trainer = {0};
    struct stories stories = {0};
    config.layers = config.layers < LAYERS ? config.layers : LAYERS;
    enum status status = model_create(&model, &config, err);
    if (status != STATUS_OK)
        return status;
    model_initialize(model, 1);
    status = trainer_create(&trainer, model, pool, &options, err);
    if (status == STATUS_OK)
        status = make_stories(&stories, trial, err);
    if (status == STATUS_OK)
        *speed = (double)stories.rows / fastest_pass(&trainer, &stories, trial->dropout);
    arena_destroy(&stories.arena);
    trainer_destroy(&trainer);
    model_destroy(model);
    return status;
}

enum status dtype_trial_run(const struct dtype_trial *trial, struct pool *pool,
                            struct dtype_speeds *speeds, struct error *err) {
    *speeds = (struct dtype_speeds){0};
    enum status status = try_one(trial, DTYPE_F32, pool, &speeds->f32, err);
    if (status == STATUS_OK && bf16_available())
        status = try_one(trial, DTYPE_BF16, pool, &speeds->bf16, err);
    return status;
}
