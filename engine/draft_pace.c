#include "engine/draft_pace.h"

/* ---- how sure -------------------------------------------------------------------- */

static const float lead_bounds[PACE_LEADS - 1] = {0.25f, 0.5f, 0.75f, 1, 1.5f, 2, 3, 4, 6};
/* About what the weights that ship show, to begin with. */
static const double first_chances[PACE_LEADS] = {0.52, 0.62, 0.8,  0.85,  0.92,
                                                 0.96, 0.98, 0.99, 0.995, 0.998};
#define CHECKED_AT_FIRST 16.0 /* each */
#define CHECKED_AT_MOST 4096.0 /* all */

int draft_pace_lead(float lead) {
    int i = 0;
    while (i < PACE_LEADS - 1 && lead >= lead_bounds[i])
        i++;
    return i;
}

double draft_pace_chance(const struct draft_pace *pace, int lead) {
    return pace->leads[lead].right / pace->leads[lead].checked;
}

void draft_pace_judge(struct draft_pace *pace, int lead, bool right) {
    pace->leads[lead].checked += 1;
    pace->leads[lead].right += right;
    pace->checked += 1;
    if (pace->checked < CHECKED_AT_MOST)
        return;
    pace->checked /= 2;
    for (int i = 0; i < PACE_LEADS; i++) {
        pace->leads[i].checked /= 2;
        pace->leads[i].right /= 2;
    }
}

/* ---- what it costs --------------------------------------------------------------- */

/* One for each number up to 8, and four for each doubling from there on. */
static int load_of(int sequences) {
    int index = sequences - 1, base = 8;
    if (sequences > 8) {
        index = 8;
        for (; sequences >= 2 * base && index + 4 < PACE_LOADS; base *= 2)
            index += 4;
        index += (sequences - base) * 4 / base;
    }
    return index < PACE_LOADS ? index : PACE_LOADS - 1;
}

/* Before anything is measured: low enough that there is something to measure. */
static struct pace_price first_price(int sequences) {
    return (struct pace_price){0.5 * sequences, 0.25};
}

#define FIRST_PRICE_COUNTS 4.0 /* steps */

/* What one more proposal adds to a step: what those with more and with fewer of them show (least
 * squares), or if all have about as many, what they take longer than steps without. */
static double check_ns(const struct pace_load *load) {
    const struct pace_sums *sums = &load->sums;
    double n = sums->steps, mean = sums->checked / n;
    double spread = sums->checked_squares / n - mean * mean;
    double most = sums->model_ns / n / (mean + 1); /* as if nothing but proposals were checked */
    double ns = spread < 1 ? (sums->model_ns / n - load->plain_ns / load->plain_steps) / mean
                           : (sums->checked_ns / n - mean * sums->model_ns / n) / spread;
    return ns < 0 ? 0 : ns < most ? ns : most;
}

static struct pace_price price_of(const struct pace_load *load, int sequences) {
    const struct pace_sums *sums = &load->sums;
    struct pace_price first = first_price(sequences);
    if (load->plain_steps < 1 || sums->checked < 1)
        return first;
    double plain_rate = sequences * load->plain_steps / load->plain_ns;
    double rate = sums->tokens / (sums->draft_ns + sums->model_ns);
    rate = rate > plain_rate ? rate : plain_rate;
    double round = sums->draft_ns / sums->rounds * rate, check = check_ns(load) * rate;
    double weight = sums->steps / (sums->steps + FIRST_PRICE_COUNTS);
    return (struct pace_price){first.round + (round - first.round) * weight,
                               first.check + (check - first.check) * weight};
}

/* ---- what to do ------------------------------------------------------------------ */

double draft_pace_gain(const struct draft_pace *pace, double chance, double check) {
    double gain = 0;
    for (int i = 0; i < PACE_LEADS; i++) {
        double next = chance * draft_pace_chance(pace, i);
        gain += next > check ? pace->leads[i].checked * (next - check) : 0;
    }
    return gain / pace->checked;
}

/* Proposals must win clearly: what they gain and lose over few steps is never quite right. */
#define MUST_WIN 1.05 /* times the tokens a second without proposals */

/* The steps at a load go in turns: some with proposals, then some without, by which those are
 * judged. If they won, twice as many follow; else a rest, eight times as long as the last. */
enum {
    TRIED_TOKENS = 128, /* that steps with proposals generate, at first and after a rest */
    PROPOSING_TOKENS = 2048, /* likewise, at most */
    REST_TOKENS = 256,       /* when proposals lost for the first time */
    LONGEST_REST = 64 * REST_TOKENS,
    /* Steps until one is measured: so long those without proposals are slower, by up to a
     * third, as the draft's weights have pushed the model's out of the caches. */
    SETTLING_STEPS = 8,
    JUDGING_STEPS = 8, /* that are measured then */
};

void draft_pace_open(struct draft_pace *pace) {
    *pace = (struct draft_pace){.checked = PACE_LEADS * CHECKED_AT_FIRST,
                                .settled = SETTLING_STEPS};
    for (int i = 0; i < PACE_LEADS; i++)
        pace->leads[i] =
            (struct pace_lead){CHECKED_AT_FIRST, CHECKED_AT_FIRST * first_chances[i]};
    for (int i = 0; i < PACE_LOADS; i++)
        pace->loads[i] = (struct pace_load){.turn = TRIED_TOKENS, .next_rest = REST_TOKENS};
}

struct pace_plan draft_pace_plan(const struct draft_pace *pace, int sequences) {
    const struct pace_load *load = &pace->loads[load_of(sequences)];
    return (struct pace_plan){load->proposing > 0, price_of(load, sequences)};
}

/* After a turn with proposals, when the steps without them have been measured. */
static void judge(struct pace_load *load, int sequences) {
    double rate = load->turn_tokens / load->turn_ns;
    if (rate > MUST_WIN * sequences * load->plain_steps / load->plain_ns) {
        load->turn = 2 * load->turn < PROPOSING_TOKENS ? 2 * load->turn : PROPOSING_TOKENS;
        load->proposing = load->turn;
        load->next_rest = REST_TOKENS;
    } else if (load->turn > TRIED_TOKENS) {
        load->turn = load->proposing = TRIED_TOKENS;
    } else {
        load->sums = (struct pace_sums){0}; /* by the next time prices may have changed */
        load->rest = load->next_rest;
        load->next_rest = 8 * load->rest < LONGEST_REST ? 8 * load->rest : LONGEST_REST;
    }
    load->turn_tokens = load->turn_ns = 0;
}

/* ---- what it was ----------------------------------------------------------------- */

#define STEPS_AT_MOST 64.0
/* The first steps with proposals read the draft's weights and touch its memory for the first time:
 * what they take says nothing of those to come. */
#define WARM_STEPS 8

/* Of a step that was interrupted, as it took far longer than the mean of `steps` others, only what
 * it may have taken. */
static double usual_ns(const struct pace_step *step, double steps, double ns) {
    double most = steps >= 1 ? 4 * ns / steps : (double)step->model_ns;
    return (double)step->model_ns < most ? (double)step->model_ns : most;
}

static void learn_plain(struct draft_pace *pace, struct pace_load *load,
                        const struct pace_step *step) {
    double ns = usual_ns(step, load->plain_steps, load->plain_ns);
    if (pace->settled >= SETTLING_STEPS && ns == (double)step->model_ns) {
        double keep = load->plain_steps < STEPS_AT_MOST ? 1 : 0.5;
        load->plain_steps = load->plain_steps * keep + 1;
        load->plain_ns = load->plain_ns * keep + ns;
    }
    pace->settled++;
    if (load->rest > 0)
        load->rest -= step->tokens;
    if (load->rest > 0 || load->proposing > 0 || load->plain_steps < JUDGING_STEPS)
        return;
    if (load->turn_tokens > 0)
        judge(load, step->sequences);
    else
        load->proposing = load->turn;
}

static void learn_price(struct pace_sums *sums, const struct pace_step *step, double ns) {
    double checked = step->checked, keep = sums->steps < STEPS_AT_MOST ? 1 : 0.5;
    sums->steps = sums->steps * keep + 1;
    sums->draft_ns = sums->draft_ns * keep + (double)step->draft_ns;
    sums->model_ns = sums->model_ns * keep + ns;
    sums->rounds = sums->rounds * keep + step->rounds;
    sums->checked = sums->checked * keep + checked;
    sums->checked_squares = sums->checked_squares * keep + checked * checked;
    sums->checked_ns = sums->checked_ns * keep + checked * ns;
    sums->tokens = sums->tokens * keep + step->tokens;
}

void draft_pace_learn(struct draft_pace *pace, const struct pace_step *step) {
    struct pace_load *load = &pace->loads[load_of(step->sequences)];
    if (step->rounds == 0) {
        learn_plain(pace, load, step);
        return;
    }
    pace->settled = 0;
    if (pace->warm < WARM_STEPS) {
        pace->warm++;
        return;
    }
    /* When a turn begins the draft must catch up. That counts only if it happens again. */
    if (step->catches_up && load->turn_tokens < 1)
        return;
    double ns = usual_ns(step, load->sums.steps, load->sums.model_ns);
    load->turn_tokens += step->tokens;
    load->turn_ns += (double)step->draft_ns + ns;
    if (!step->catches_up)
        learn_price(&load->sums, step, ns);
    load->proposing -= step->tokens;
    if (load->proposing <= 0)
        load->plain_steps = load->plain_ns = 0;
}
