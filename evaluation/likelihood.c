#include "evaluation/likelihood.h"

#include "model/forward.h"

#include <stdlib.h>
#include <string.h>

enum { SLOTS = 16, LOGIT_ROWS = 256 };

/* A question as token ids, in a slot of the cache. */
struct encoded {
    struct token_list texts[LIKELIHOOD_CHOICES];
    size_t shared; /* ids that all texts begin with */
    struct question *question;
};

struct scorer {
    const struct model *model;
    const struct tokenizer *tokenizer;
    struct pool *pool;
    struct activations activations;
    struct kv_cache cache;
    struct sampler *sampler; /* for log-probabilities, it never draws */
    float *logits;           /* [LOGIT_ROWS, vocab] */
    int32_t *ids;            /* [rows] of the batch, as are: */
    int32_t *targets;        /* the id that each row is to predict */
    double **sums;           /* where its log-probability is added */
    struct encoded encoded[SLOTS];
    int filled;
};

static void clear(struct scorer *s) {
    for (int i = 0; i < s->filled; i++)
        for (int c = 0; c < s->encoded[i].question->count; c++)
            token_list_free(&s->encoded[i].texts[c]);
    s->filled = 0;
}

static void scorer_close(struct scorer *s) {
    clear(s);
    activations_destroy(&s->activations);
    kv_cache_destroy(&s->cache);
    sampler_destroy(s->sampler);
    free(s->logits);
    free(s->ids);
    free(s->targets);
    free(s->sums);
}

static enum status scorer_open(struct scorer *s, const struct engine *model, struct pool *pool,
                               struct error *err) {
    const struct model_config *c = &model->model->config;
    size_t rows = (size_t)(SLOTS * c->positions);
    *s = (struct scorer){.model = model->model, .tokenizer = model->tokenizer, .pool = pool};
    enum status status =
        activations_create(&s->activations, c, (int)rows, false, pool_workers(pool), err);
    if (status == STATUS_OK)
        status = kv_cache_create(&s->cache, c, SLOTS, model->model->dtype, err);
    if (status == STATUS_OK)
        status = sampler_create(&s->sampler, c->vocab, NULL, 0, err);
    s->logits = malloc(LOGIT_ROWS * (size_t)c->vocab * sizeof *s->logits);
    s->ids = malloc(rows * sizeof *s->ids);
    s->targets = malloc(rows * sizeof *s->targets);
    s->sums = malloc(rows * sizeof *s->sums);
    if (status == STATUS_OK && (!s->logits || !s->ids || !s->targets || !s->sums))
        status = error_set(err, STATUS_NO_MEMORY, "no memory for log-probabilities");
    if (status != STATUS_OK)
        scorer_close(s);
    return status;
}

static size_t shared_ids(const struct encoded *e) {
    for (size_t i = 0;; i++)
        for (int c = 0; c < e->question->count; c++)
            if (i == e->texts[c].count || e->texts[c].ids[i] != e->texts[0].ids[i])
                return i;
}

static enum status encode(struct scorer *s, struct question *question, struct error *err) {
    struct encoded *e = &s->encoded[s->filled++];
    *e = (struct encoded){.question = question};
    question->fits = true;
    memset(question->sums, 0, sizeof question->sums);
    for (int c = 0; c < e->question->count; c++) {
        struct token_list *text = &e->texts[c];
        if (!token_list_append(text, s->model->config.bos_id))
            return error_set(err, STATUS_NO_MEMORY, "no memory for a question");
        enum status status = tokenizer_encode(s->tokenizer, question->texts[c],
                                              strlen(question->texts[c]), text, err);
        if (status != STATUS_OK)
            return status;
        question->fits = question->fits && text->count <= (size_t)s->model->config.positions;
    }
    e->shared = shared_ids(e);
    for (int c = 0; c < e->question->count; c++) {
        question->tokens[c] = (int)(e->texts[c].count - e->shared);
        question->fits = question->fits && question->tokens[c] > 0;
    }
    return STATUS_OK;
}

/* Runs spans of the sequences and adds up what their rows say of the targets. */
static void run(struct scorer *s, const struct span *spans, int span_count, int rows) {
    const struct forward_context context = {s->model, s->pool, &s->activations};
    struct batch batch = {
        .ids = s->ids, .rows = rows, .spans = spans, .span_count = span_count, .cache = &s->cache};
    size_t vocab = (size_t)s->model->config.vocab;
    int wanted[LOGIT_ROWS], count = 0;
    if (rows == 0)
        return;
    forward(&context, &batch);
    for (int row = 0; row < rows; row++) {
        if (s->sums[row])
            wanted[count++] = row;
        if (count < LOGIT_ROWS && row + 1 < rows)
            continue;
        forward_logits(&context, wanted, count, s->logits);
        for (int i = 0; i < count; i++) {
            sampler_compute_logprobs(s->sampler, s->logits + (size_t)i * vocab);
            *s->sums[wanted[i]] +=
                (double)sampler_logprobs(s->sampler, s->targets[wanted[i]], 0).own;
        }
        count = 0;
    }
}

/* What the texts share, up to the last id of it: its row says how the spans begin. */
static void run_shared(struct scorer *s) {
    struct span spans[SLOTS];
    int rows = 0, count = 0;
    for (int i = 0; i < s->filled; i++) {
        const struct encoded *e = &s->encoded[i];
        int length = (int)e->shared - 1;
        if (!e->question->fits || length == 0)
            continue;
        memcpy(s->ids + rows, e->texts[0].ids, (size_t)length * sizeof *s->ids);
        memset(s->sums + rows, 0, (size_t)length * sizeof *s->sums);
        spans[count++] = (struct span){.slot = i, .rows = length};
        rows += length;
    }
    run(s, spans, count, rows);
}

/* Choice c of every question: the last id of what is shared, and the span but for its last. */
static void run_choice(struct scorer *s, int c) {
    struct span spans[SLOTS];
    int rows = 0, count = 0;
    for (int i = 0; i < s->filled; i++) {
        const struct encoded *e = &s->encoded[i];
        if (!e->question->fits || c >= e->question->count)
            continue;
        int first = (int)e->shared - 1, length = e->question->tokens[c];
        memcpy(s->ids + rows, e->texts[c].ids + first, (size_t)length * sizeof *s->ids);
        memcpy(s->targets + rows, e->texts[c].ids + first + 1, (size_t)length * sizeof *s->ids);
        for (int row = 0; row < length; row++)
            s->sums[rows + row] = &e->question->sums[c];
        spans[count++] = (struct span){.slot = i, .first = first, .rows = length};
        rows += length;
    }
    run(s, spans, count, rows);
}

enum status likelihood(struct harness *harness, const struct engine *model, const char *what,
                       struct question *questions, size_t count, struct error *err) {
    struct scorer scorer;
    enum status status = scorer_open(&scorer, model, harness->pool, err);
    if (status != STATUS_OK)
        return status;
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        status = encode(&scorer, &questions[i], err);
        if (status != STATUS_OK || (scorer.filled < SLOTS && i + 1 < count))
            continue;
        harness_progress(harness, what, model->name, i + 1, count);
        run_shared(&scorer);
        for (int c = 0; c < LIKELIHOOD_CHOICES; c++)
            run_choice(&scorer, c);
        clear(&scorer);
    }
    scorer_close(&scorer);
    return status;
}
