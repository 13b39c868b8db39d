#include "model/sampler.h"

#include "base/rng.h"
#include "model/kernels/kernels.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 64, LANES = 8 };

struct sampler {
    int vocab, suppressed_count;
    int32_t *suppressed; /* [suppressed_count] */
    int32_t *candidates; /* [vocab] ids that the filters so far have left */
    uint32_t *seen;      /* [vocab] the round in which a token was last marked */
    uint32_t round;
    bool measures_lead;
    float lead;          /* of the last token over the runner-up */
    float *row;          /* [vocab] the logits of the log-probabilities; -infinity for NaN */
    float row_max;
    double row_log_sum;  /* log of the sum of e^(row - row_max) */
};

struct sampling sampling_defaults(void) {
    return (struct sampling){.temperature = 0.7f, .top_p = 1.0f, .repetition_penalty = 1.0f};
}

static enum status check_biases(const struct sampling *s, int vocab, struct error *err) {
    if (s->bias_count < 0 || s->bias_count > SAMPLING_BIASES_MAX)
        return error_set_field(err, STATUS_INVALID, "logit_bias",
                               "logit_bias must have at most %d ids, not %d", SAMPLING_BIASES_MAX,
                               s->bias_count);
    for (int i = 0; i < s->bias_count; i++) {
        const struct logit_bias *b = &s->biases[i];
        if (b->id < 0 || b->id >= vocab)
            return error_set_field(err, STATUS_INVALID, "logit_bias",
                                   "the token ids of logit_bias must be 0 to %d, not %d",
                                   vocab - 1, b->id);
        if (!(b->bias >= -SAMPLING_BIAS_MAX && b->bias <= SAMPLING_BIAS_MAX)) /* NaN too */
            return error_set_field(err, STATUS_INVALID, "logit_bias",
                                   "the biases of logit_bias must be %g to %g, not %g",
                                   -SAMPLING_BIAS_MAX, SAMPLING_BIAS_MAX, (double)b->bias);
    }
    return STATUS_OK;
}

enum status sampling_check(const struct sampling *s, int vocab, struct error *err) {
    const struct {
        const char *field;
        double value, min, max;
    } ranges[] = {
        {"temperature", s->temperature, 0, SAMPLING_TEMPERATURE_MAX},
        {"top_k", s->top_k, 0, SAMPLING_TOP_K_MAX},
        {"top_p", s->top_p, 0, 1},
        {"min_p", s->min_p, 0, 1},
        {"repetition_penalty", s->repetition_penalty, SAMPLING_REPETITION_MIN,
         SAMPLING_REPETITION_MAX},
        {"presence_penalty", s->presence_penalty, -SAMPLING_PENALTY_MAX, SAMPLING_PENALTY_MAX},
        {"frequency_penalty", s->frequency_penalty, -SAMPLING_PENALTY_MAX, SAMPLING_PENALTY_MAX},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        if (!(ranges[i].value >= ranges[i].min && ranges[i].value <= ranges[i].max)) /* NaN too */
            return error_set_field(err, STATUS_INVALID, ranges[i].field,
                                   "%s must be %g to %g, not %g", ranges[i].field, ranges[i].min,
                                   ranges[i].max, ranges[i].value);
    }
    return check_biases(s, vocab, err);
}

enum status sampler_create(struct sampler **out, int vocab, const int32_t *suppressed,
                           int suppressed_count, struct error *err) {
    assert(vocab > 0);
    *out = NULL;
    struct sampler *sampler = calloc(1, sizeof *sampler);
    size_t count = (size_t)vocab;
    if (sampler) {
        sampler->vocab = vocab;
        sampler->suppressed = calloc((size_t)suppressed_count + 1, sizeof *sampler->suppressed);
        sampler->candidates = malloc(count * sizeof *sampler->candidates);
        sampler->seen = calloc(count, sizeof *sampler->seen);
        sampler->row = calloc(count, sizeof *sampler->row);
    }
    if (!sampler || !sampler->suppressed || !sampler->candidates ||
        !sampler->seen || !sampler->row) {
        sampler_destroy(sampler);
        return error_set(err, STATUS_NO_MEMORY, "no memory for a sampler");
    }
    for (int i = 0; i < suppressed_count; i++)
        if (suppressed[i] >= 0 && suppressed[i] < vocab)
            sampler->suppressed[sampler->suppressed_count++] = suppressed[i];
    *out = sampler;
    return STATUS_OK;
}

void sampler_destroy(struct sampler *sampler) {
    if (!sampler)
        return;
    free(sampler->suppressed);
    free(sampler->candidates);
    free(sampler->seen);
    free(sampler->row);
    free(sampler);
}

void sampler_measure_lead(struct sampler *sampler) {
    sampler->measures_lead = true;
}

float sampler_lead(const struct sampler *sampler) {
    return sampler->lead;
}

/* ---- the logits, before they become weights ---------------------------------- */

/* Forgets all marks. */
static void begin_round(struct sampler *sampler) {
    if (++sampler->round == 0) { /* wrapped: old marks could look fresh */
        memset(sampler->seen, 0, (size_t)sampler->vocab * sizeof *sampler->seen);
        sampler->round = 1;
    }
}

/* Whether it is the first mark of this token in this round. */
static bool mark(struct sampler *sampler, int32_t id) {
    assert(id >= 0 && id < sampler->vocab);
    bool first = sampler->seen[id] != sampler->round;
    sampler->seen[id] = sampler->round;
    return first;
}

/* Each token once, however often it occurs. */
static void penalize_repetition(struct sampler *sampler, float penalty, float *logits,
                                const int32_t *history, int count) {
    begin_round(sampler);
    for (int i = 0; i < count; i++) {
        int32_t id = history[i];
        if (mark(sampler, id))
            logits[id] = logits[id] < 0 ? logits[id] * penalty : logits[id] / penalty;
    }
}

static void penalize_generated(struct sampler *sampler, const struct sampling *s, float *logits,
                               const int32_t *generated, int count) {
    begin_round(sampler);
    for (int i = 0; i < count; i++) {
        bool first = mark(sampler, generated[i]);
        logits[generated[i]] -= s->frequency_penalty + (first ? s->presence_penalty : 0);
    }
}

/* A token that is impossible anyway can be forced by nobody. */
static void apply_biases(struct sampler *sampler, const struct sampling *s, float *logits) {
    bool forced = false;
    begin_round(sampler);
    for (int i = 0; i < s->bias_count; i++) {
        int32_t id = s->biases[i].id;
        float bias = s->biases[i].bias;
        logits[id] = bias <= (float)-SAMPLING_BIAS_MAX ? -INFINITY : logits[id] + bias;
        if (bias >= (float)SAMPLING_BIAS_MAX && logits[id] > -INFINITY)
            forced |= mark(sampler, id);
    }
    for (int32_t id = 0; id < sampler->vocab && forced; id++)
        logits[id] = sampler->seen[id] == sampler->round ? logits[id] : -INFINITY;
}

static bool contains(const int32_t *ids, int count, int32_t id) {
    for (int i = 0; i < count; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

/* The first token that has the maximum; when nothing is possible (the maximum is
 * -infinity), the first that is not suppressed. */
static int32_t first_best(const struct sampler *sampler, const float *logits, float max) {
    for (int32_t id = 0; id < sampler->vocab; id++) {
        if (logits[id] == max && !contains(sampler->suppressed, sampler->suppressed_count, id))
            return id;
    }
    return 0;
}

static float greatest_beside(const float *logits, int count, int32_t id) {
    float greatest = -INFINITY;
    for (int32_t i = 0; i < count; i++)
        greatest = i != id && logits[i] > greatest ? logits[i] : greatest;
    return greatest;
}

/* ---- filters over the candidates --------------------------------------------- */

/* The order of preference: heavier first, then the lower id. */
static bool precedes(const float *weights, int32_t a, int32_t b) {
    return weights[a] > weights[b] || (weights[a] == weights[b] && a < b);
}

static void swap(int32_t *a, int32_t *b) {
    int32_t id = *a;
    *a = *b;
    *b = id;
}

/* Reorders ids[begin, end) around one of them; returns its place: those before it precede it. */
static int partition(const float *weights, int32_t *ids, int begin, int end) {
    int middle = begin + (end - begin) / 2, last = end - 1;
    if (precedes(weights, ids[middle], ids[begin])) /* median of three to ids[last] */
        swap(&ids[middle], &ids[begin]);
    if (precedes(weights, ids[last], ids[begin]))
        swap(&ids[last], &ids[begin]);
    if (precedes(weights, ids[middle], ids[last]))
        swap(&ids[middle], &ids[last]);
    int place = begin;
    for (int i = begin; i < last; i++) {
        if (precedes(weights, ids[i], ids[last]))
            swap(&ids[i], &ids[place++]);
    }
    swap(&ids[place], &ids[last]);
    return place;
}

/* The shortest prefix, in order of preference, whose measure reaches `limit`: moves it to
 * the front of ids[count] and returns its length, at least 1. The measure of a token is
 * its weight, or 1 when `counting`. Takes linear time, unlike a sort. */
static int select_prefix(const float *weights, int32_t *ids, int count, bool counting,
                         double limit) {
    double before = 0; /* measure of ids[0, begin), which all belong to the prefix */
    int begin = 0, end = count;
    while (begin < end) {
        int place = partition(weights, ids, begin, end);
        double sum = 0;
        for (int i = begin; i < place; i++)
            sum += counting ? 1.0 : (double)weights[ids[i]];
        double own = counting ? 1.0 : (double)weights[ids[place]];
        if (before + sum >= limit) {
            end = place;
        } else if (before + sum + own >= limit) {
            return place + 1;
        } else {
            before += sum + own;
            begin = place + 1;
        }
    }
    return begin > 0 ? begin : 1;
}

static int keep_at_least(const float *weights, int32_t *ids, int count, float minimum) {
    int kept = 0;
    for (int i = 0; i < count; i++) {
        if (weights[ids[i]] >= minimum)
            ids[kept++] = ids[i];
    }
    return kept;
}

static int keep_top_p(const float *weights, int32_t *ids, int count, float top_p) {
    double total = 0;
    for (int i = 0; i < count; i++)
        total += (double)weights[ids[i]];
    /* The less probable ones make up at most 1 - top_p together, so none of them is needed. */
    double cutoff = (1.0 - (double)top_p) * total / count;
    int kept = keep_at_least(weights, ids, count, (float)cutoff * 0.999f);
    return select_prefix(weights, ids, kept, false, (double)top_p * total);
}

/* Sets the weights of everything the filters drop to 0. The largest is 1. */
static void filter(struct sampler *sampler, const struct sampling *s, float *weights) {
    int32_t *ids = sampler->candidates;
    int count = 0;
    for (int32_t id = 0; id < sampler->vocab; id++) {
        if (weights[id] > 0)
            ids[count++] = id;
    }
    if (s->top_k > 0 && s->top_k < count)
        count = select_prefix(weights, ids, count, true, s->top_k);
    if (s->top_p < 1)
        count = keep_top_p(weights, ids, count, s->top_p);
    count = keep_at_least(weights, ids, count, s->min_p);

    int32_t last = ids[0];
    for (int i = 1; i < count; i++) {
        if (precedes(weights, last, ids[i]))
            last = ids[i];
    }
    float least = weights[last];
    for (int32_t id = 0; id < sampler->vocab; id++)
        weights[id] = weights[id] > least || (weights[id] == least && id <= last) ? weights[id] : 0;
}

/* ---- the draw ---------------------------------------------------------------- */

/* The natural logarithm of a finite x >= 1, from x = m * 2^e and log(m) = 2 artanh((m - 1) /
 * (m + 1)), whose series needs 11 terms between sqrt(1/2) and sqrt(2). The C library's own rounds
 * otherwise on another machine. */
static double natural_log(double x) {
    int exponent;
    double m = frexp(x, &exponent);
    if (m < 0.70710678118654752) {
        m *= 2;
        exponent--;
    }
    double s = (m - 1) / (m + 1), square = s * s, series = 0;
    for (int k = 21; k >= 1; k -= 2)
        series = series * square + 1.0 / k;
    return exponent * 0.69314718055994531 + 2 * s * series;
}

/* A token's time in the race: exponentially distributed, with its weight as the rate. */
static double time_of(uint32_t noise, float weight) {
    double u = ((double)(noise >> 1) + 0.5) * 0x1p-31; /* between 0 and 1, and never one of them */
    return natural_log(1 / (1 - u)) / (double)weight;
}

/* The token that arrives first. Since -log(1 - u) >= u, a token can arrive before `limit` only if
 * u < limit * weight: that spares almost all of them the logarithm. The largest weight is 1, so
 * there is one that arrives in the end. */
static int32_t draw(struct sampler *sampler, const float *weights, uint32_t key,
                    float temperature) {
    const struct kernels *kernels = kernels_get();
    int32_t first = -1;
    double earliest = 0, second = 0; /* times; the second one only for the lead */
    for (double limit = sampler->measures_lead ? 4096 : 2; first < 0; limit *= 8) {
        earliest = second = limit;
        for (int32_t begin = 0; begin < sampler->vocab; begin += BLOCK) {
            int left = sampler->vocab - begin;
            double until = sampler->measures_lead ? second : earliest;
            uint64_t may_win =
                kernels->below(weights + begin, (size_t)(left < BLOCK ? left : BLOCK), key,
                               (uint32_t)begin, (float)until * 1.00001f); /* rounding is less */
            for (; may_win; may_win &= may_win - 1) {
                int32_t id = begin + __builtin_ctzll(may_win);
                double time = time_of(rng_bits32(key, (uint32_t)id), weights[id]);
                if (time < earliest) { /* ties go to the lower id */
                    second = earliest;
                    earliest = time;
                    first = id;
                } else if (time < second) {
                    second = time;
                }
            }
        }
    }
    if (sampler->measures_lead)
        sampler->lead = temperature * (float)natural_log(second / earliest);
    return first;
}

int32_t sampler_next(struct sampler *sampler, const struct sampling *sampling, float *logits,
                     const int32_t *history, int prompt, int count) {
    int vocab = sampler->vocab;
    if (sampling->repetition_penalty != 1.0f)
        penalize_repetition(sampler, sampling->repetition_penalty, logits, history, count);
    if (sampling->presence_penalty != 0 || sampling->frequency_penalty != 0)
        penalize_generated(sampler, sampling, logits, history + prompt, count - prompt);
    for (int i = 0; i < sampler->suppressed_count; i++)
        logits[sampler->suppressed[i]] = -INFINITY;
    if (sampling->bias_count > 0)
        apply_biases(sampler, sampling, logits);
    /* A broken model must not break the service: NaN counts as impossible. */
    float max = kernels_get()->repair(logits, (size_t)vocab);
    if (sampling->temperature <= 0 || max == -INFINITY) {
        int32_t best = first_best(sampler, logits, max);
        if (sampler->measures_lead)
            sampler->lead = max - greatest_beside(logits, vocab, best);
        return best;
    }

    float *weights = logits; /* from here on e^((logit - max) / temperature) */
    kernels_get()->exp_scaled(weights, max, sampling->temperature, (size_t)vocab);
    if (sampling->top_k > 0 || sampling->top_p < 1 || sampling->min_p > 0)
        filter(sampler, sampling, weights);
    return draw(sampler, weights, (uint32_t)rng_bits(sampling->seed, (uint64_t)count),
                sampling->temperature);
}

/* ---- log-probabilities -------------------------------------------------------- */

static double block_sum(const float *weights, int count) {
    double lane[LANES] = {0};
    int i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (int l = 0; l < LANES; l++)
            lane[l] += (double)weights[i + l];
    }
    for (; i < count; i++)
        lane[0] += (double)weights[i];
    for (int l = 1; l < LANES; l++)
        lane[0] += lane[l];
    return lane[0];
}

void sampler_compute_logprobs(struct sampler *sampler, const float *logits) {
    int vocab = sampler->vocab;
    double sum = 0;
    memcpy(sampler->row, logits, (size_t)vocab * sizeof *logits);
    sampler->row_max = kernels_get()->repair(sampler->row, (size_t)vocab);
    if (sampler->row_max == -INFINITY)
        return; /* nothing is possible, and nothing below asks for the sum */
    for (int begin = 0; begin < vocab; begin += BLOCK) {
        float weights[BLOCK];
        int count = vocab - begin < BLOCK ? vocab - begin : BLOCK;
        memcpy(weights, sampler->row + begin, (size_t)count * sizeof *weights);
        kernels_get()->exp_minus(weights, sampler->row_max, (size_t)count);
        sum += block_sum(weights, count);
    }
    sampler->row_log_sum = natural_log(sum); /* at least 1: the maximum's own share */
}

static float logprob_of(const struct sampler *sampler, int32_t id) {
    float logit = sampler->row[id];
    if (logit == -INFINITY)
        return -INFINITY;
    return (float)((double)logit - (double)sampler->row_max - sampler->row_log_sum);
}

/* The ids of the `count` highest logits, in order; returns how many there are. */
static int find_top(const float *row, int vocab, int32_t *ids, int count) {
    int found = 0;
    for (int32_t id = 0; id < vocab && count > 0; id++) {
        if (found == count && !(row[id] > row[ids[count - 1]]))
            continue;
        int place = found < count ? found++ : count - 1;
        for (; place > 0 && row[id] > row[ids[place - 1]]; place--)
            ids[place] = ids[place - 1];
        ids[place] = id;
    }
    return found;
}

struct token_logprobs sampler_logprobs(const struct sampler *sampler, int32_t token, int top) {
    assert(token >= 0 && token < sampler->vocab && top >= 0 && top <= TOP_LOGPROBS_MAX);
    struct token_logprobs logprobs = {.own = logprob_of(sampler, token)};
    int found = find_top(sampler->row, sampler->vocab, logprobs.top_ids, top);
    for (int i = 0; i < found; i++)
        logprobs.top[i] = logprob_of(sampler, logprobs.top_ids[i]);
    for (int i = found; i < TOP_LOGPROBS_MAX; i++)
        logprobs.top_ids[i] = -1;
    return logprobs;
}
