#include "train/grad/second_head.h"

#include "base/pool.h"

static void layout(struct second_head *h, struct arena *arena) {
    h->values = arena_take(arena, h->floats, sizeof(float));
    h->gradients = arena_take(arena, h->floats, sizeof(float));
    h->moment1 = arena_take(arena, h->floats, sizeof(float));
    h->moment2 = arena_take(arena, h->floats, sizeof(float));
}

enum status second_head_create(struct second_head *h, const struct model_config *c,
                               struct error *err) {
    size_t vocab = (size_t)c->vocab, weights = vocab * (size_t)c->d_model;
    *h = (struct second_head){.floats = weights + vocab};
    struct arena measure = {0};
    layout(h, &measure);
    enum status status = arena_create(&h->arena, measure.used, err);
    if (status != STATUS_OK)
        return status;
    layout(h, &h->arena);
    h->bias_gradients = h->gradients + weights;
    h->linear = (struct linear){.dtype = DTYPE_F32,
                                .in = c->d_model,
                                .out = c->vocab,
                                .weight = h->values,
                                .bias = h->values + weights};
    return STATUS_OK;
}

void second_head_destroy(struct second_head *h) {
    arena_destroy(&h->arena);
    *h = (struct second_head){0};
}

struct task {
    struct second_head *head;
    const struct adam *adam;
};

static void step_worker(void *context, int worker, int workers) {
    const struct task *t = context;
    struct second_head *h = t->head;
    size_t begin, end;
    pool_slice(h->floats, 16, worker, workers, &begin, &end);
    adam_update(t->adam, h->values + begin, h->gradients + begin, h->moment1 + begin,
                h->moment2 + begin, end - begin);
}

void second_head_step(struct second_head *head, const struct adam *adam, struct pool *pool) {
    struct task task = {head, adam};
    pool_run(pool, step_worker, &task);
}
