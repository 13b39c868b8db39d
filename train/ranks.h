/* ranks.h - the processes that train one model together: ranks 0 to ranks_count() - 1.
 *
 * `make MPI=1` builds them on Open MPI (train/ranks_mpi.c), and `mpirun -np N alpaca-train fit ...`
 * then starts N. Without it (train/ranks_alone.c) there is one rank, and nothing here does
 * anything. MPI only carries numbers: all sums are made here, in the order of the ranks, so that
 * they round alike whatever network lies between.
 *
 * Every function but those that ask for a number is collective: all ranks call it with arguments
 * that fit, and it returns when all have. A rank that dies ends the others (mpirun says which).
 * Ownership: nothing is kept. Only the main thread may call these.
 */
#ifndef ALPACA_TRAIN_RANKS_H
#define ALPACA_TRAIN_RANKS_H

#include "base/pool.h"
#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Before anything else here; ranks_end() last. Of what the ranks print on standard output and log,
 * only rank 0's is seen; their errors all are. */
enum status ranks_begin(struct error *err);
void ranks_end(void);

int ranks_count(void);
int ranks_index(void); /* of this process */
static inline bool ranks_lead(void) {
    return ranks_index() == 0; /* who writes files, and speaks for all */
}

/* The status of the lowest rank whose status is not STATUS_OK, with its error, which names the
 * rank; so all go on, or none. */
enum status ranks_agree(enum status status, struct error *err);
/* STATUS_INVALID, naming a rank, when a rank's number is not rank 0's; `what` names the number. */
enum status ranks_compare(uint64_t number, const char *what, struct error *err);
/* The largest of the ranks' numbers. */
int ranks_max(int number);
/* bytes[count] become rank 0's. */
void ranks_copy(void *bytes, size_t count);
enum { RANKS_SUMS = 8 };
/* Each of values[count], at most RANKS_SUMS, becomes the sum over the ranks; the same bits
 * everywhere. */
void ranks_sum(double *values, size_t count);

/* The same for many: values[count] with room for ranks_sum_floats(count); as much scratch. */
size_t ranks_sum_floats(size_t count);
void ranks_sum_many(struct pool *pool, float *values, size_t count, float *scratch);
/* values[bounds[r] .. bounds[r + 1]) become rank r's, for every r; bounds[ranks_count() + 1]. */
void ranks_exchange(float *values, const size_t *bounds);

#endif
