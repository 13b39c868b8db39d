#include "engine/best_of.h"

#include <assert.h>
#include <math.h>

uint64_t best_of_seed(uint64_t seed, int index) {
    return (seed + (uint64_t)index) & SAMPLING_SEED_MAX;
}

double best_of_score(const struct completion *candidate) {
    assert(candidate->finish != FINISH_NONE);
    int count = completion_listed(candidate);
    double sum = 0;
    for (int i = 0; i < count; i++)
        sum += (double)candidate->tokens[i].logprobs->own;
    return count > 0 ? sum / count : (double)-INFINITY;
}

void best_of_rank(const double *scores, int count, int *ranking) {
    for (int i = 0; i < count; i++) {
        int place = i;
        for (; place > 0 && scores[ranking[place - 1]] < scores[i]; place--)
            ranking[place] = ranking[place - 1];
        ranking[place] = i;
    }
}
