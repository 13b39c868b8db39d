#include "engine/best_of.h"

#include <assert.h>
#include <math.h>

enum { RUN_TOKENS = 4 };

uint64_t best_of_seed(uint64_t seed, int index) {
    return (seed + (uint64_t)index) & SAMPLING_SEED_MAX;
}

double best_of_likelihood(const struct completion *candidate) {
    assert(candidate->finish != FINISH_NONE);
    int count = completion_listed(candidate);
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += (double)candidate->tokens[i].logprobs->own;
    return count > 0 ? sum / count : (double)-INFINITY;
}

static bool is_same_run(const struct completion_token *a, const struct completion_token *b) {
    for (int i = 0; i < RUN_TOKENS; i++)
        if (a[i].id != b[i].id)
            return false;
    return true;
}

/* Of the runs of tokens, the share of those that were there before. */
static double repetition(const struct completion *candidate) {
    int runs = completion_listed(candidate) - RUN_TOKENS + 1, repeated = 0;
    for (int i = 0; i < runs; i++) {
        int before = 0;
        while (before < i && !is_same_run(candidate->tokens + before, candidate->tokens + i))
            before++;
        repeated += before < i;
    }
    return runs > 0 ? (double)repeated / runs : 0;
}

double best_of_score(const struct completion *candidate) {
    bool is_part =
        candidate->finish == FINISH_LENGTH || completion_listed(candidate) < BEST_OF_STORY;
    return best_of_likelihood(candidate) - BEST_OF_REPETITION * repetition(candidate) -
           (is_part ? BEST_OF_PART : 0);
}

void best_of_rank(const double *scores, int count, int *ranking) {
    for (int i = 0; i < count; i++) {
        int place = i;
        for (; place > 0 && scores[ranking[place - 1]] < scores[i]; place--)
            ranking[place] = ranking[place - 1];
        ranking[place] = i;
    }
}
