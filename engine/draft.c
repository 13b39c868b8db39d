#include "engine/draft.h"

#include "base/clock.h"
#include "base/pool.h"
#include "engine/draft_pace.h"
#include "model/forward.h"
#include "model/kv_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROWS = 64, /* of a worker's batch */
    SEQUENCES_A_WORKER = 4, /* with more, every row costs as any other does, and nothing is tried */
};

/* What drafting works with: a worker's alone, or that of all together. */
struct drafter {
    struct pool *own_pool; /* of one; NULL when all workers draft together */
    struct activations activations;
    struct forward_context forward;
    struct sampler *sampler;
    int32_t ids[ROWS];
    struct span spans[ROWS];
    struct proposal *open[ROWS]; /* whose next token comes of the batch ... */
    int rows[ROWS];              /* ... from these of its rows */
    float *logits;               /* [ROWS, vocab] */
    int rounds;                  /* in the step under way ... */
    bool catches_up;             /* ... and whether tokens are read that are not new */
};

struct draft {
    const struct model *model;
    struct kv_cache cache;
    int *cached; /* [slots] tokens whose rows are in the cache; may be more than there are */
    struct drafter *drafters; /* [drafter_count] of each worker, and last that of all together */
    int drafter_count;
    struct draft_pace pace;
    int tokens; /* proposed at a time; 0: the pace says */
    struct arena arena;
    int slots;

    struct proposal *proposals; /* of the step under way */
    int proposal_count;
    struct pace_plan plan;
    uint64_t draft_ns;
    int64_t lasted; /* tokens that were generated since there are as many sequences as now */
};

enum status draft_check(const struct model *draft, const struct model *model, struct error *err) {
    const struct model_config *d = &draft->config, *m = &model->config;
    if (d->vocab != m->vocab || d->unk_id != m->unk_id || d->bos_id != m->bos_id ||
        d->eos_id != m->eos_id || d->pad_id != m->pad_id)
        return error_set_field(err, STATUS_INVALID, "draft",
                               "the draft's token ids are not those of the model");
    if (d->positions < m->positions)
        return error_set_field(err, STATUS_INVALID, "draft",
                               "the draft has %d positions, fewer than the model's %d",
                               d->positions, m->positions);
    return STATUS_OK;
}

enum status draft_tokens_parse(const char *text, int *tokens, struct error *err) {
    char *end;
    long number = strtol(text, &end, 10);
    *tokens = 0;
    if (strcmp(text, "auto") == 0)
        return STATUS_OK;
    if (end == text || *end || number < 1 || number > DRAFT_MAX_TOKENS)
        return error_set_field(err, STATUS_INVALID, "draft-tokens",
                               "--draft-tokens must be auto or a whole number, 1 to %d, not \"%s\"",
                               DRAFT_MAX_TOKENS, text);
    *tokens = (int)number;
    return STATUS_OK;
}

/* ---- creation and destruction ----------------------------------------------------- */

static void layout(void *context, struct arena *arena) {
    struct draft *d = context;
    d->cached = arena_take(arena, (size_t)d->slots, sizeof *d->cached);
    d->drafters = arena_take(arena, (size_t)d->drafter_count, sizeof *d->drafters);
    for (int i = 0; i < d->drafter_count; i++) {
        float *logits = arena_take(arena, (size_t)ROWS * (size_t)d->model->config.vocab,
                                   sizeof *logits);
        if (d->drafters)
            d->drafters[i].logits = logits;
    }
}

/* `pool` is NULL for a worker's own. */
static enum status drafter_open(struct drafter *w, const struct model *model, struct pool *pool,
                                struct error *err) {
    int32_t suppressed[MODEL_SUPPRESSED];
    model_suppressed(&model->config, suppressed);
    enum status status = pool ? STATUS_OK : pool_create(&w->own_pool, 1, err);
    pool = pool ? pool : w->own_pool;
    if (status == STATUS_OK)
        status = activations_create(&w->activations, &model->config, ROWS, false,
                                    pool_workers(pool), err);
    if (status == STATUS_OK)
        status = sampler_create(&w->sampler, model->config.vocab, suppressed, MODEL_SUPPRESSED,
                                err);
    if (status == STATUS_OK)
        sampler_measure_lead(w->sampler);
    w->forward = (struct forward_context){model, pool, &w->activations};
    return status;
}

enum status draft_create(struct draft **out, const struct model *model, int tokens, int slots,
                         struct pool *pool, struct error *err) {
    assert(model->dtype == DTYPE_INT8);
    *out = NULL;
    struct draft *d = calloc(1, sizeof *d);
    if (!d)
        return error_set(err, STATUS_NO_MEMORY, "no memory for the draft");
    d->model = model;
    d->slots = slots;
    d->drafter_count = pool_workers(pool) + 1;
    d->tokens = tokens;
    draft_pace_open(&d->pace);
    enum status status = arena_build(&d->arena, layout, d, err);
    for (int i = 0; i < d->drafter_count && status == STATUS_OK; i++)
        status = drafter_open(&d->drafters[i], model, i == d->drafter_count - 1 ? pool : NULL, err);
    if (status == STATUS_OK)
        status = kv_cache_create(&d->cache, &model->config, slots, DTYPE_INT8, err);
    if (status != STATUS_OK) {
        draft_destroy(d);
        return status;
    }
    *out = d;
    return STATUS_OK;
}

void draft_destroy(struct draft *d) {
    if (!d)
        return;
    for (int i = 0; i < d->drafter_count && d->drafters; i++) {
        pool_destroy(d->drafters[i].own_pool);
        activations_destroy(&d->drafters[i].activations);
        sampler_destroy(d->drafters[i].sampler);
    }
    kv_cache_destroy(&d->cache);
    arena_destroy(&d->arena);
    free(d);
}

void draft_begin(struct draft *d, int slot, int source, int shared) {
    int cached = d->cached[source] < shared ? d->cached[source] : shared;
    if (source != slot && cached > 0)
        kv_cache_copy(&d->cache, source, slot, cached);
    d->cached[slot] = cached;
}

/* ---- proposing -------------------------------------------------------------------- */

/* Adds to the batch what the draft has not seen of a sequence, as far as there is room. */
static void add_rows(struct draft *d, struct drafter *w, struct batch *batch,
                     struct proposal *proposal, int *open) {
    int end = proposal->total + proposal->count, first = d->cached[proposal->slot];
    int left = ROWS - batch->rows, rows = end - first < left ? end - first : left;
    if (rows == 0)
        return;
    w->catches_up |= end - first > 2;
    w->spans[batch->span_count++] =
        (struct span){.slot = proposal->slot, .first = first, .rows = rows};
    memcpy(w->ids + batch->rows, proposal->tokens + first, (size_t)rows * sizeof *w->ids);
    batch->rows += rows;
    d->cached[proposal->slot] += rows;
    if (first + rows == end) {
        w->open[*open] = proposal;
        w->rows[(*open)++] = batch->rows - 1;
    }
}

/* Draws the sequence's next token from its logits, and ends its proposals when this one is not
 * worth checking, or no other can be. */
static void draw(struct draft *d, struct drafter *w, struct proposal *p, float *logits) {
    int end = p->total + p->count;
    double check = d->plan.price.check;
    int32_t id = sampler_next(w->sampler, p->sampling, logits, p->tokens, p->prompt_count, end);
    int lead = draft_pace_lead(sampler_lead(w->sampler));
    p->chance *= draft_pace_chance(&d->pace, lead);
    if (id == d->model->config.eos_id || p->chance < check) {
        p->limit = p->count;
        return;
    }
    p->leads[p->count] = (unsigned char)lead;
    p->tokens[p->total + p->count++] = id;
}

/* For the sequences first, first + stride and so on: reads what is unread of them, proposes a token
 * for each, and more while they gain more than their share of what a round costs. */
static void propose_with(struct draft *d, struct drafter *w, int first, int stride) {
    size_t vocab = (size_t)d->model->config.vocab;
    double price = d->plan.price.round / d->proposal_count;
    bool full = true; /* the last batch: there may be more to read */
    for (;; w->rounds++) {
        struct batch batch = {.ids = w->ids, .spans = w->spans, .cache = &d->cache};
        int open = 0;
        double gain = 0;
        for (int i = first; i < d->proposal_count; i += stride) {
            struct proposal *p = &d->proposals[i];
            gain -= price;
            if (p->count < p->limit)
                gain += draft_pace_gain(&d->pace, p->chance, d->plan.price.check);
        }
        if (!full && gain < 0)
            return;
        for (int i = first; i < d->proposal_count; i += stride)
            if (d->proposals[i].count < d->proposals[i].limit)
                add_rows(d, w, &batch, &d->proposals[i], &open);
        if (batch.rows == 0)
            return;
        full = batch.rows == ROWS;
        forward_to_logits(&w->forward, &batch, w->rows, open, w->logits);
        for (int i = 0; i < open; i++)
            draw(d, w, w->open[i], w->logits + (size_t)i * vocab);
    }
}

/* A pool task: each worker alone, for every so many-th sequence. */
static void propose(void *context, int worker, int workers) {
    struct draft *d = context;
    propose_with(d, &d->drafters[worker], worker, workers);
}

/* Returns how many tokens the draft has not read. */
static int begin_proposals(struct draft *d) {
    int unread = 0;
    for (int i = 0; i < d->drafter_count; i++) {
        d->drafters[i].rounds = 0;
        d->drafters[i].catches_up = false;
    }
    for (int i = 0; i < d->proposal_count; i++) {
        struct proposal *p = &d->proposals[i];
        int *cached = &d->cached[p->slot];
        *cached = *cached < p->total - 1 ? *cached : p->total - 1; /* without what was wrong */
        unread += p->total - *cached;
        p->count = 0;
        p->chance = 1;
    }
    return unread;
}

void draft_propose(struct draft *d, struct pool *pool, struct proposal *proposals, int count) {
    uint64_t begun_ns = clock_now_ns();
    d->proposals = proposals;
    if (count != d->proposal_count)
        d->lasted = 0;
    d->proposal_count = count;
    int unread = begin_proposals(d);
    d->plan = (struct pace_plan){.proposes = d->tokens > 0};
    /* Much to read is worth it only where this many sequences stay long, as they may if they have
     * stayed a while. */
    if (d->tokens == 0 && count <= SEQUENCES_A_WORKER * pool_workers(pool) &&
        unread <= ROWS + 2 * d->lasted)
        d->plan = draft_pace_plan(&d->pace, count);
    if (d->plan.proposes && 2 * count > pool_workers(pool))
        pool_run(pool, propose, d);
    else if (d->plan.proposes) /* too few to occupy the workers one by one */
        propose_with(d, &d->drafters[d->drafter_count - 1], 0, 1);
    d->draft_ns = clock_now_ns() - begun_ns;
}

void draft_judge(struct draft *d, const struct proposal *proposal, int right) {
    for (int i = 0; i < proposal->count && i <= right; i++)
        draft_pace_judge(&d->pace, proposal->leads[i], i < right);
}

void draft_learn(struct draft *d, int tokens, uint64_t ns) {
    struct pace_step step = {.sequences = d->proposal_count,
                             .tokens = tokens,
                             .draft_ns = d->draft_ns,
                             .model_ns = ns - d->draft_ns};
    for (int i = 0; i < d->drafter_count; i++) {
        const struct drafter *w = &d->drafters[i];
        step.rounds = w->rounds > step.rounds ? w->rounds : step.rounds;
        step.catches_up |= w->catches_up;
    }
    for (int i = 0; i < d->proposal_count; i++)
        step.checked += d->proposals[i].count;
    d->lasted += tokens;
    if (d->proposal_count > 0 && d->tokens == 0)
        draft_pace_learn(&d->pace, &step);
}
