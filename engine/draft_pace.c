#include "engine/draft_pace.h"

/* ---- how sure -------------------------------------------------------------------- */

static const float lead_bounds[PACE_LEADS - 1] = {0.25f, 0.5f, 0.75f, 1, 1.5f, 2, 3, 4, 6};
/* What the weights that ship show, to begin with. */
static const double first_chances[PACE_LEADS] = {0.52, 0.62, 0.8,  0.85,  0.92,
                                                 0.96, 0.98, 0.99, 0.995, 0.998};
#define CHECKED_AT_FIRST 16.0 /* each */
#define CHECKED_AT_MOST 4096.0 /* all */

void draft_pace_open(struct draft_pace *pace) {
    *pace = (struct draft_pace){.checked = PACE_LEADS * CHECKED_AT_FIRST};
    for (int i = 0; i < PACE_LEADS; i++)
        pace->leads[i] =
            (struct pace_lead){CHECKED_AT_FIRST, CHECKED_AT_FIRST * first_chances[i]};
}

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
static struct pace_load *load_of(struct draft_pace *pace, int sequences) {
    int index = sequences - 1, base = 8;
    if (sequences > 8) {
        index = 8;
        for (; sequences >= 2 * base && index + 4 < PACE_LOADS; base *= 2)
            index += 4;
        index += (sequences - base) * 4 / base;
    }
    return &pace->loads[index < PACE_LOADS ? index : PACE_LOADS - 1];
}

/* Before anything is measured: a row costs the more, the fewer weights are waited for. These are
 * those of two cores of a Zen 4. */
static struct pace_price first_price(int sequences) {
    double check = 0.12 + 0.09 * sequences;
    return (struct pace_price){0.15 + 0.2 * sequences, check < 1 ? check : 1};
}

#define FIRST_PRICE_COUNTS 4.0 /* steps */

/* What one more proposal adds to a step: at least the mean of all, and what the steps with more
 * and with fewer of them show (least squares), since the last ones cost most. */
static double check_ns(const struct pace_load *load) {
    double n = load->steps, mean = load->checked / n;
    double rise = (load->model_ns / n - load->plain_ns / load->plain_steps) / mean;
    double spread = load->checked_squares / n - mean * mean;
    double slope = spread < 1 ? 0 : (load->checked_ns / n - mean * load->model_ns / n) / spread;
    double most = load->model_ns / n / (mean + 1); /* as if nothing but proposals were checked */
    double ns = rise > slope ? rise : slope;
    return ns < 0 ? 0 : ns < most ? ns : most;
}

static struct pace_price price_of(const struct pace_load *load, int sequences) {
    struct pace_price first = first_price(sequences);
    if (load->plain_steps < 1 || load->checked < 1)
        return first;
    double plain_rate = sequences * load->plain_steps / load->plain_ns;
    double rate = load->tokens / (load->draft_ns + load->model_ns);
    rate = rate > plain_rate ? rate : plain_rate;
    double round = load->draft_ns / load->rounds * rate, check = check_ns(load) * rate;
    double weight = load->steps / (load->steps + FIRST_PRICE_COUNTS);
    return (struct pace_price){first.round + (round - first.round) * weight,
                               first.check + (check - first.check) * weight};
}

/* Lets the steps with proposals count as `keep` times as many. */
static void fade(struct pace_load *load, double keep) {
    load->steps *= keep;
    load->draft_ns *= keep;
    load->model_ns *= keep;
    load->rounds *= keep;
    load->checked *= keep;
    load->checked_squares *= keep;
    load->checked_ns *= keep;
    load->tokens *= keep;
}

/* ---- what to do ------------------------------------------------------------------ */

enum {
    PLAIN_AFTER = 128, /* steps, where proposals pay; ... */
    PLAIN_STEPS = 3,   /* ... so many, of which the first still suffers from the draft's weights */
    TRY_AFTER = 1024, /* steps, where they do not, ... */
    FIRST_TRY_AFTER = 32, /* ... and at first; ... */
    TRIED_STEPS = 4,  /* ... so many, ... */
    TRIED_SEQUENCES = 4, /* ... for so many at most, as the draft must catch up first */
};

double draft_pace_gain(const struct draft_pace *pace, double chance, double check) {
    double gain = 0;
    for (int i = 0; i < PACE_LEADS; i++) {
        double next = chance * draft_pace_chance(pace, i);
        gain += next > check ? pace->leads[i].checked * (next - check) : 0;
    }
    return gain / pace->checked;
}

/* The draft must catch up when it begins, and times are never quite right: a small gain is none. */
#define MUST_GAIN 1.2 /* times the price of the first round */
#define MUST_WIN 1.05 /* times the tokens a second without proposals */
#define JUDGING_STEPS 4.0 /* without proposals; fewer say too little */

/* Whether steps with proposals hardly generated more tokens in their time than those without. */
static bool loses(const struct pace_load *load, int sequences) {
    return load->steps >= 16 && load->plain_steps >= JUDGING_STEPS &&
           load->tokens / (load->draft_ns + load->model_ns) <
               MUST_WIN * sequences * load->plain_steps / load->plain_ns;
}

struct pace_plan draft_pace_plan(struct draft_pace *pace, int sequences) {
    struct pace_load *load = load_of(pace, sequences);
    struct pace_price price = price_of(load, sequences);
    bool pays = sequences * draft_pace_gain(pace, 1, price.check) > MUST_GAIN * price.round;
    if (load->rest > 0) {
        load->rest--;
        return (struct pace_plan){.sequences = 0};
    }
    /* Whatever the prices say; but perhaps the machine was only faster when the steps without
     * proposals were measured, so these are measured again before it counts. */
    if (loses(load, sequences)) {
        if (load->doubted) {
            fade(load, 0);
            load->rest = TRY_AFTER;
        } else {
            load->plain_steps = load->plain_ns = 0;
        }
        load->doubted = !load->doubted;
        return (struct pace_plan){.sequences = 0};
    }
    if (load->doubted && load->plain_steps < JUDGING_STEPS)
        return (struct pace_plan){.sequences = 0};
    load->doubted = false;
    unsigned since = load->since++;
    if (pays) {
        if (load->plain_steps >= PLAIN_STEPS - 1 && since < PLAIN_AFTER)
            return (struct pace_plan){.sequences = sequences, .price = price};
        if (since + 1 >= PLAIN_AFTER + PLAIN_STEPS)
            load->since = 0;
        return (struct pace_plan){.sequences = 0};
    }
    unsigned try_after = load->steps < TRIED_STEPS ? FIRST_TRY_AFTER : TRY_AFTER;
    if (since < try_after)
        return (struct pace_plan){.sequences = 0};
    if (since == try_after && load->steps > TRIED_STEPS)
        fade(load, TRIED_STEPS / load->steps); /* so that what is tried now says as much */
    if (since + 1 >= try_after + TRIED_STEPS)
        load->since = 0;
    int tried = sequences < TRIED_SEQUENCES ? sequences : TRIED_SEQUENCES;
    return (struct pace_plan){tried, true, {.round = 0.5 * tried, .check = 0.25}};
}

/* ---- what it was ----------------------------------------------------------------- */

#define STEPS_AT_MOST 64.0
/* The first steps with proposals read the draft's weights and touch its memory for the first time:
 * what they take says nothing of those to come. */
#define WARM_STEPS 8
#define OUTLIER 4.0 /* times the mean: the step was interrupted */

static void learn_plain(struct pace_load *load, double ns) {
    if (load->plain_steps >= 1 && ns > OUTLIER * load->plain_ns / load->plain_steps)
        return;
    double keep = load->plain_steps < STEPS_AT_MOST ? 1 : 0.5;
    load->plain_steps = load->plain_steps * keep + 1;
    load->plain_ns = load->plain_ns * keep + ns;
}

void draft_pace_learn(struct draft_pace *pace, const struct pace_step *step) {
    struct pace_load *load = load_of(pace, step->sequences);
    double ns = (double)step->model_ns, checked = step->checked;
    bool plain = step->rounds == 0, plain_before = pace->plain_before;
    pace->plain_before = plain;
    if (plain) {
        if (plain_before)
            learn_plain(load, ns);
        return;
    }
    if (pace->warm < WARM_STEPS) {
        pace->warm++;
        return;
    }
    if (load->steps >= 1 && ns > OUTLIER * load->model_ns / load->steps)
        return;
    if (load->steps >= STEPS_AT_MOST)
        fade(load, 0.5);
    load->steps += 1;
    load->draft_ns += (double)step->draft_ns;
    load->model_ns += ns;
    load->rounds += step->rounds;
    load->checked += checked;
    load->checked_squares += checked * checked;
    load->checked_ns += checked * ns;
    load->tokens += step->tokens;
}

void draft_pace_put_off(struct draft_pace *pace, int sequences) {
    struct pace_load *load = load_of(pace, sequences);
    load->since -= load->since > 0;
}
