#include "train/ranks.h"

#include "base/log.h"

#include <assert.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* MPI's own errors (a lost connection, say) end the job, with MPI's words: its default, and nothing
 * that a rank could do better. */

enum { MOST_BYTES = 1 << 30 }; /* of one message; MPI counts in int */

static int count = 1, own;       /* ranks, and this one */
static double *gathered;         /* [count, RANKS_SUMS] */
static int *lengths, *positions; /* [count] of the parts of an exchange */

static int as_int(size_t number) {
    if (number > INT32_MAX) { /* a model of more than 2^31 parameters for each rank */
        fprintf(stderr, "alpaca-train: %zu numbers are too many for a message\n", number);
        abort();
    }
    return (int)number;
}

enum status ranks_begin(struct error *err) {
    int provided;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
        return error_set(err, STATUS_UNSUPPORTED, "MPI cannot start");
    MPI_Comm_size(MPI_COMM_WORLD, &count);
    MPI_Comm_rank(MPI_COMM_WORLD, &own);
    gathered = calloc((size_t)count * RANKS_SUMS, sizeof *gathered);
    lengths = calloc((size_t)count, sizeof *lengths);
    positions = calloc((size_t)count, sizeof *positions);
    if (!gathered || !lengths || !positions)
        return error_set(err, STATUS_NO_MEMORY, "no memory for %d ranks", count);
    if (own == 0)
        return STATUS_OK;
    log_set_level(LOG_ERROR);
    if (!freopen("/dev/null", "w", stdout))
        return error_set_errno(err, "rank %d cannot write to /dev/null", own);
    return STATUS_OK;
}

void ranks_end(void) {
    MPI_Finalize();
    free(gathered);
    free(lengths);
    free(positions);
}

int ranks_count(void) {
    return count;
}

int ranks_index(void) {
    return own;
}

/* Rank `from`'s bytes everywhere. */
static void copy_from(int from, void *bytes, size_t size) {
    for (char *at = bytes; size > 0;) {
        size_t part = size < MOST_BYTES ? size : MOST_BYTES;
        MPI_Bcast(at, (int)part, MPI_BYTE, from, MPI_COMM_WORLD);
        at += part;
        size -= part;
    }
}

void ranks_copy(void *bytes, size_t size) {
    copy_from(0, bytes, size);
}

int ranks_max(int number) {
    int most;
    MPI_Allreduce(&number, &most, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    return most;
}

/* The lowest rank that says so; `count` when none does. */
static int first_of(bool says) {
    int candidate = says ? own : count, lowest;
    MPI_Allreduce(&candidate, &lowest, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    return lowest;
}

enum status ranks_agree(enum status status, struct error *err) {
    int failed = first_of(status != STATUS_OK);
    if (failed == count)
        return STATUS_OK;
    struct error its = {0};
    if (own == failed && err)
        its = *err;
    its.status = own == failed ? status : STATUS_OK;
    copy_from(failed, &its, sizeof its);
    if (failed > 0)
        return error_set_field(err, its.status, its.field, "rank %d: %.380s", failed, its.message);
    if (err)
        *err = its;
    return its.status;
}

enum status ranks_compare(uint64_t number, const char *what, struct error *err) {
    uint64_t first = number;
    ranks_copy(&first, sizeof first);
    return ranks_agree(first == number
                           ? STATUS_OK
                           : error_set(err, STATUS_INVALID, "%s differ from those of rank 0", what),
                       err);
}

void ranks_sum(double *values, size_t n) {
    assert(n <= RANKS_SUMS);
    MPI_Allgather(values, as_int(n), MPI_DOUBLE, gathered, as_int(n), MPI_DOUBLE, MPI_COMM_WORLD);
    memcpy(values, gathered, n * sizeof *values);
    for (size_t i = n; i < n * (size_t)count; i++)
        values[i % n] += gathered[i];
}

/* ---- many numbers --------------------------------------------------------- */

/* A rank's part of the sums, in whole cache lines. */
static size_t part_floats(size_t n) {
    size_t part = (n + (size_t)count - 1) / (size_t)count;
    return (part + 15) / 16 * 16;
}

size_t ranks_sum_floats(size_t n) {
    return count > 1 ? part_floats(n) * (size_t)count : n;
}

struct sum_task {
    float *sum;         /* [part] */
    const float *parts; /* [ranks, part] */
    size_t part;
};

static void sum_worker(void *context, int worker, int workers) {
    const struct sum_task *t = context;
    size_t begin, end;
    pool_slice(t->part, 16, worker, workers, &begin, &end);
    memcpy(t->sum + begin, t->parts + begin, (end - begin) * sizeof(float));
    for (int r = 1; r < count; r++) {
        const float *part = t->parts + (size_t)r * t->part;
        for (size_t i = begin; i < end; i++)
            t->sum[i] += part[i];
    }
}

/* Every rank gets all ranks' numbers of its own part, adds them up in their order, and gives the
 * sums to all. Each sends and gets 2 (N - 1) / N of the numbers, the least that any way takes
 * (Patarasuk & Yuan, "Bandwidth optimal all-reduce algorithms", 2009). */
void ranks_sum_many(struct pool *pool, float *values, size_t n, float *scratch) {
    if (count == 1)
        return;
    size_t part = part_floats(n);
    memset(values + n, 0, (part * (size_t)count - n) * sizeof(float));
    MPI_Alltoall(values, as_int(part), MPI_FLOAT, scratch, as_int(part), MPI_FLOAT,
                 MPI_COMM_WORLD);
    struct sum_task task = {values + (size_t)own * part, scratch, part};
    pool_run(pool, sum_worker, &task);
    MPI_Allgather(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values, as_int(part), MPI_FLOAT,
                  MPI_COMM_WORLD);
}

void ranks_exchange(float *values, const size_t *bounds) {
    for (int r = 0; r < count; r++) {
        lengths[r] = as_int(bounds[r + 1] - bounds[r]);
        positions[r] = as_int(bounds[r]);
    }
    MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, values, lengths, positions, MPI_FLOAT,
                   MPI_COMM_WORLD);
}
