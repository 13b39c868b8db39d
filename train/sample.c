#include "train/sample.h"

#include "model/activations.h"
#include "model/forward.h"

#include <stdlib.h>
#include <string.h>

struct sample {
    const struct sample_options *options;
    struct activations activations;
    struct sampler *sampler;
    float *logits; /* [vocab] */
    int32_t *ids;  /* [positions] */
    int prompt, count; /* ids of the beginning; of it and the story so far */
};

static enum status sample_open(struct sample *s, struct error *err) {
    const struct model_config *c = &s->options->model->config;
    int32_t suppressed[MODEL_SUPPRESSED];
    model_suppressed(c, suppressed);
    enum status status = activations_create(&s->activations, c, c->positions, false,
                                            pool_workers(s->options->pool), err);
    if (status == STATUS_OK)
        status = sampler_create(&s->sampler, c->vocab, suppressed, MODEL_SUPPRESSED, err);
    s->logits = malloc((size_t)c->vocab * sizeof *s->logits);
    s->ids = malloc((size_t)c->positions * sizeof *s->ids);
    if (status == STATUS_OK && (!s->logits || !s->ids))
        status = error_set(err, STATUS_NO_MEMORY, "no memory for a story");
    return status;
}

static void sample_close(struct sample *s) {
    activations_destroy(&s->activations);
    sampler_destroy(s->sampler);
    free(s->logits);
    free(s->ids);
}

static enum status read_prompt(struct sample *s, const char *prompt, struct error *err) {
    const struct model_config *c = &s->options->model->config;
    struct token_list pieces = {0};
    enum status status =
        tokenizer_encode(s->options->tokenizer, prompt, strlen(prompt), &pieces, err);
    if (status == STATUS_OK && pieces.count + 1 >= (size_t)c->positions)
        status = error_set_field(err, STATUS_INVALID, "tell",
                                 "the beginning has %zu tokens, at most %d leave room for a story",
                                 pieces.count, c->positions - 2);
    if (status == STATUS_OK) {
        s->ids[s->count++] = c->bos_id;
        for (size_t i = 0; i < pieces.count; i++)
            s->ids[s->count++] = pieces.ids[i];
        s->prompt = s->count;
    }
    token_list_free(&pieces);
    return status;
}

static int32_t next_token(struct sample *s) {
    struct span span = {.rows = s->count};
    struct batch batch = {.ids = s->ids, .rows = s->count, .spans = &span, .span_count = 1,
                          .unmasked = s->options->unmasked};
    const struct forward_context context = {s->options->model, s->options->pool, &s->activations};
    forward(&context, &batch);
    forward_logits_range(&context, s->count - 1, 1, s->logits);
    return sampler_next(s->sampler, s->options->sampling, s->logits, s->ids, s->prompt, s->count);
}

enum status sample_story(const struct sample_options *options, const char *prompt,
                         struct buffer *text, struct error *err) {
    const struct model_config *c = &options->model->config;
    struct sample s = {.options = options};
    enum status status = sampling_check(options->sampling, c->vocab, err);
    if (status != STATUS_OK)
        return status;
    status = sample_open(&s, err);
    if (status == STATUS_OK)
        status = read_prompt(&s, prompt, err);
    while (status == STATUS_OK && s.count < c->positions) {
        int32_t id = next_token(&s);
        if (id == c->eos_id)
            break;
        s.ids[s.count++] = id;
    }
    if (status == STATUS_OK)
        status = tokenizer_decode(options->tokenizer, s.ids, (size_t)s.count, text, err);
    sample_close(&s);
    return status;
}
