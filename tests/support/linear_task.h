/* linear_task.h - a linear layer as a task of its own, which in the model is stages of a walk.
 *
 * Ownership: everything is the caller's. One thread at a time for a pool.
 */
#ifndef ALPACA_TESTS_SUPPORT_LINEAR_TASK_H
#define ALPACA_TESTS_SUPPORT_LINEAR_TASK_H

#include "model/linear.h"

struct pool;

void linear_task(struct pool *pool, struct linear_product product);

#endif
