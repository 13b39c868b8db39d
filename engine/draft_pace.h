/* draft_pace.h - which proposals (draft.h) pay at the load there is.
 *
 * A proposal costs the time in which the draft computes it and the time in which the model checks a
 * row more; it brings a token with a certain chance. It pays when that chance is greater than the
 * number of tokens which the engine generates in that time anyway. While one story is
 * generated, the model waits for its weights, and a row more costs little; with many, each row
 * costs as much as any other. Where that changes depends on the machine, and on what else runs
 * there. So for each number of sequences the times are measured as steps go by, and what decides in
 * the end is which steps generate more tokens a second: those with proposals, for a while, or the
 * steps without that follow. Where proposals lose they are tried again, after ever longer rests.
 *
 * The chance is that of earlier proposals of which the draft was as sure: by the lead of
 * a draw over the runner-up (model/sampler.h).
 *
 * Ownership: a value of its owner. Thread-safety: one thread at a time changes it; others may
 * call draft_pace_chance() meanwhile only while none does.
 */
#ifndef ALPACA_ENGINE_DRAFT_PACE_H
#define ALPACA_ENGINE_DRAFT_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum { PACE_LEADS = 10, PACE_LOADS = 48 };

struct draft_pace {
    /* By lead: proposals that were checked, and those of them that were right; old ones fade. */
    struct pace_lead {
        double checked, right;
    } leads[PACE_LEADS];
    double checked; /* the sum over the leads */
    unsigned settled; /* steps without proposals since the last one with them */
    unsigned warm;    /* steps with proposals so far, up to those that count */
    /* By load: sums over the last steps with about as many sequences; old ones fade. */
    struct pace_load {
        double plain_steps, plain_ns; /* without proposals */
        struct pace_sums {            /* with proposals */
            double steps, draft_ns, model_ns; /* the draft's part, and the rest */
            double rounds, checked, tokens;   /* see pace_step */
            double checked_squares, checked_ns; /* of each: checked^2; checked times model_ns */
        } sums;
        /* In tokens: what is left of this turn with proposals (draft_pace.c), and how long it is;
         * what is left of this rest, and how long the next will be. */
        int proposing, turn, rest, next_rest;
        double turn_tokens, turn_ns; /* in the turn's steps with proposals */
    } loads[PACE_LOADS];
};

void draft_pace_open(struct draft_pace *pace);

/* 0 to PACE_LEADS - 1. */
int draft_pace_lead(float lead);
/* That a proposal with this lead is right, if all before it are. */
double draft_pace_chance(const struct draft_pace *pace, int lead);
void draft_pace_judge(struct draft_pace *pace, int lead, bool right);

/* What costs as much time as so many tokens that are generated. */
struct pace_price {
    double round; /* of drafting: one more proposal for each of the sequences */
    double check; /* by the model, of one proposal */
};

/* What one more proposal brings on average beyond the price of checking it, if it turns out to be
 * worth that; `chance` is that all before it are right. */
double draft_pace_gain(const struct draft_pace *pace, double chance, double check);

/* What a step with `sequences` that are generating is to do. */
struct pace_plan {
    bool proposes; /* tokens for them, while they gain more than the price */
    struct pace_price price;
};
struct pace_plan draft_pace_plan(const struct draft_pace *pace, int sequences);

/* What a step has done, in which no prompt was read. */
struct pace_step {
    int sequences; /* that are generating */
    int rounds, checked; /* of drafting; proposals that were checked */
    bool catches_up; /* the draft read tokens that were not new */
    int tokens; /* generated */
    uint64_t draft_ns, model_ns;
};
void draft_pace_learn(struct draft_pace *pace, const struct pace_step *step);

#endif
