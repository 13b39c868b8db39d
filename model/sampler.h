/* sampler.h - from a row of logits to the next token.
 *
 * In this order: repetition penalty on every token that already occurs, presence
 * and frequency penalties on those that were generated, never a suppressed token,
 * logit biases, greedy at temperature 0, else temperature, then top-k, then top-p
 * (nucleus), then min-p, each on what the one before left, and a draw. The biases
 * come last of what changes a logit, so that no penalty weakens a ban or a force.
 * Ties go to the lower id, in every filter. Logits that are NaN are never drawn.
 *
 * The draw is a race: each token that is left arrives at a random time, which is
 * exponentially distributed with the token's weight as its rate, and the first one
 * is taken. That gives each token its probability (it is the Gumbel-max trick,
 * without the logarithms). The randomness is a pure function of (seed, position,
 * id), so a story depends on nothing but its prompt, settings and seed; and two
 * models that think nearly the same draw the same token nearly always.
 * Sources: Maddison et al. 2014, "A* sampling" (Gumbel-max); Keskar et al. 2019
 * (repetition penalty, CTRL); Fan et al. 2018 (top-k); Holtzman et al. 2019
 * (top-p); Nguyen et al. 2024 (min-p); OpenAI's API reference (presence_penalty,
 * frequency_penalty, logit_bias).
 *
 * Log-probabilities are the model's own: natural logarithms of the softmax of
 * its logits, before all of the above. They are computed row by row in one
 * fixed order, without the C library's functions, so the same logits give the
 * same bits on every machine. In a scheduler with an INT8 model they are
 * therefore the same, bit for bit, at any load, with any number of threads and
 * on any instruction set, as stories are.
 *
 * Ownership: a sampler owns its scratch memory, allocated once. One thread
 * uses a sampler at a time; samplers are independent.
 */
#ifndef ALPACA_MODEL_SAMPLER_H
#define ALPACA_MODEL_SAMPLER_H

#include "base/status.h"

#include <stddef.h>
#include <stdint.h>

/* Added to a token's logit: -100 bans the token, and as soon as one has 100, only those that have
 * it can come. */
struct logit_bias {
    int32_t id;
    float bias;
};

struct sampling {
    float temperature;        /* 0: the most likely token */
    int top_k;                /* 0: off */
    float top_p;              /* 1: off */
    float min_p;              /* 0: off */
    float repetition_penalty; /* 1: off */
    uint64_t seed;
    /* Subtracted from the logit of every token that was generated: `presence_penalty` once,
     * `frequency_penalty` as often as it was. The prompt's tokens do not count. 0: off */
    float presence_penalty, frequency_penalty;
    const struct logit_bias *biases; /* [bias_count] the setter's, who keeps them while in use */
    int bias_count;
};

/* What each field may be; the API's and the flags' ranges come from here. */
#define SAMPLING_TEMPERATURE_MAX 2.0
#define SAMPLING_TOP_K_MAX 4000
#define SAMPLING_REPETITION_MIN 0.5
#define SAMPLING_REPETITION_MAX 2.0
#define SAMPLING_PENALTY_MAX 2.0 /* presence and frequency; the least is its negative */
#define SAMPLING_BIAS_MAX 100.0  /* likewise */
enum { SAMPLING_BIASES_MAX = 300 };
#define SAMPLING_SEED_MAX UINT64_C(9007199254740991) /* 2^53 - 1: exact in JSON */

/* Which draw this is; raise it whenever the same logits, settings and seed give another token. It
 * is part of a model's fingerprint (engine/engine.h), by which a link to a story knows that its
 * seed would tell another one now. */
enum { SAMPLER_DRAW_VERSION = 1 };

struct sampling sampling_defaults(void); /* temperature 0.7, everything else off, seed 0 */
/* STATUS_INVALID naming the field and its range. `vocab` is what ids of biases must be below. */
enum status sampling_check(const struct sampling *sampling, int vocab, struct error *err);

struct sampler;
/* `suppressed[suppressed_count]` are ids that are never drawn (-1 entries are skipped); copied. */
enum status sampler_create(struct sampler **sampler, int vocab, const int32_t *suppressed,
                           int suppressed_count, struct error *err);
void sampler_destroy(struct sampler *sampler); /* NULL is allowed */

/* The next token for `logits[vocab]` (overwritten). `history[count]` are the
 * sequence's tokens so far, from `prompt` on those that were generated; the draw's position is
 * `count`. */
int32_t sampler_next(struct sampler *sampler, const struct sampling *sampling, float *logits,
                     const int32_t *history, int prompt, int count);

/* From now on each sampler_next() also finds out the lead of its token over the runner-up: by how
 * much the runner-up's logit would have had to be higher for it to be taken instead. A model that
 * thinks nearly the same takes the same token the more surely, the greater the lead is. */
void sampler_measure_lead(struct sampler *sampler);
float sampler_lead(const struct sampler *sampler); /* of the last token */

enum { TOP_LOGPROBS_MAX = 5 };

/* The log-probability of a token that was taken, and the highest ones. -infinity is what a
 * logit of -infinity or NaN gives. */
struct token_logprobs {
    float own;
    float top[TOP_LOGPROBS_MAX]; /* the highest first; ties in the order of ids */
    int32_t top_ids[TOP_LOGPROBS_MAX]; /* -1 where there are fewer, or fewer were asked for */
};

/* Takes note of `logits[vocab]`, which stay as they are; the log-probabilities below are theirs
 * until the next call. In between the sampler may draw. */
void sampler_compute_logprobs(struct sampler *sampler, const float *logits);
struct token_logprobs sampler_logprobs(const struct sampler *sampler, int32_t token, int top);

#endif
