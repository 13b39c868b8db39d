/* attention_check.h - the BF16 kernels of attention beside those in F32, on the same numbers.
 *
 * Owns nothing that outlives a call. One thread.
 */
#ifndef ALPACA_TESTS_CUDA_ATTENTION_CHECK_H
#define ALPACA_TESTS_CUDA_ATTENTION_CHECK_H

#include <stdbool.h>

struct attention_case {
    const int *lengths; /* [spans] rows of each */
    int spans, d_model, heads;
    float dropout;
    bool unmasked;
};

/* ||a - b|| / ||b|| of each result, b being in F32. */
struct attention_differences {
    double out, logsumexp, dq, dk, dv;
};
struct attention_differences attention_check(const struct attention_case *what);

/* In emulation threads get their turns from the last to the first; a card decides for itself. */
void device_turns_backwards(bool backwards);

#endif
