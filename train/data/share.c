#include "train/data/share.h"

#include <string.h>

static int32_t longest(const struct story_batch *batch) {
    int32_t most = 0;
    for (size_t i = 0; i < batch->stories; i++)
        most = batch->lengths[i] > most ? batch->lengths[i] : most;
    return most;
}

void share_begin(struct share *s, const struct story_batch *batch, int rank, int ranks,
                 size_t *loads) {
    int32_t band = (longest(batch) - 1) / SHARE_BAND * SHARE_BAND;
    memset(loads, 0, (size_t)ranks * sizeof *loads);
    *s = (struct share){.batch = batch, .loads = loads, .rank = rank, .ranks = ranks,
                        .shortest = ranks > 1 ? band + 1 : 1};
}

static bool in_band(const struct share *s, int32_t rows) {
    return rows >= s->shortest && (s->ranks == 1 || rows < s->shortest + SHARE_BAND);
}

/* The rank that has the fewest rows gets so many more. */
static int deal(struct share *s, int32_t rows) {
    int least = 0;
    for (int r = 1; r < s->ranks; r++)
        if (s->loads[r] < s->loads[least])
            least = r;
    s->loads[least] += (size_t)rows;
    return least;
}

bool share_next(struct share *s, struct shared_story *story) {
    while (s->shortest > 0) {
        while (s->next < s->batch->stories) {
            size_t place = s->next++, row = s->row;
            int32_t rows = s->batch->lengths[place];
            s->row += (size_t)rows;
            if (in_band(s, rows) && deal(s, rows) == s->rank) {
                *story = (struct shared_story){place, row, rows};
                return true;
            }
        }
        s->shortest -= SHARE_BAND;
        s->next = s->row = 0;
    }
    return false;
}
