/* draft.h - a small model that proposes what the large one may say next.
 *
 * The large model then checks all proposals in one forward pass, which reads its
 * weights once for several tokens. A proposal counts only where the large
 * model's own draw is the same token, so what is generated does not depend on the
 * draft in any bit. Both draw with the same noise (model/sampler.h), and therefore
 * agree on most tokens.
 *
 * A draft keeps the keys and values of each slot's sequence in a cache of its own,
 * beside the scheduler's, and catches up by itself with tokens that it has not seen.
 * Each worker of the pool drafts for some of the sequences, alone: the model is so small
 * that waiting for each other would take longer than the work.
 * Sources: Leviathan et al. 2023, "Fast inference from transformers via speculative decoding";
 * for shared noise, Daliri et al. 2025, "Coupling without communication and
 * drafter-invariant speculative decoding".
 *
 * Ownership: a draft owns its cache and its scratch memory; it borrows its model.
 * Thread-safety: one caller at a time, the scheduler's thread.
 */
#ifndef ALPACA_ENGINE_DRAFT_H
#define ALPACA_ENGINE_DRAFT_H

#include "base/status.h"
#include "model/model.h"
#include "model/sampler.h"

struct draft;
struct pool;

enum { DRAFT_MAX_TOKENS = 16 }; /* proposed at a time for one sequence */

/* "auto" gives 0, which stands for as many as are worth their while; else 1 to DRAFT_MAX_TOKENS. */
enum status draft_tokens_parse(const char *text, int *tokens, struct error *err);

/* STATUS_INVALID unless ids and positions of `draft` mean the same to `model`. */
enum status draft_check(const struct model *draft, const struct model *model, struct error *err);
/* `model` runs in INT8. Proposes `tokens` at a time, 0 for as many as pay (draft_pace.h), for
 * sequences in `slots` slots, with the workers of `pool`. */
enum status draft_create(struct draft **draft, const struct model *model, int tokens, int slots,
                         struct pool *pool, struct error *err);
void draft_destroy(struct draft *draft); /* NULL is allowed */

/* A sequence has got `slot`; its first `shared` tokens are those of the sequence in `source`. */
void draft_begin(struct draft *draft, int slot, int source, int shared);

/* A sequence that proposals are wanted for. */
struct proposal {
    const struct sampling *sampling;
    int slot;
    int32_t *tokens;  /* prompt_count of the prompt, then generated ones, `total` in all, of which
                         the model has computed all but the last; proposals come behind them */
    int prompt_count, total;
    int limit;        /* proposals at most, up to DRAFT_MAX_TOKENS */
    int count;        /* out: proposals */
    double chance;    /* that all of them are right, as far as the draft can tell */
    unsigned char leads[DRAFT_MAX_TOKENS]; /* of each (draft_pace.h) */
};

/* A step takes these three calls, in this order: proposals for all sequences that generate, ... */
void draft_propose(struct draft *draft, struct pool *pool, struct proposal *proposals, int count);
/* ... for each with proposals, how many of them were right, and ... */
void draft_judge(struct draft *draft, const struct proposal *proposal, int right);
/* ... when nothing else was done in the step, the tokens that it generated and its duration from
 * draft_propose() on. */
void draft_learn(struct draft *draft, int tokens, uint64_t ns);

#endif
