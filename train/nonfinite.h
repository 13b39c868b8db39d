/* nonfinite.h - which tensor was the first to hold a NaN or an infinity.
 *
 * A NaN or an infinity spreads: through forward to the loss, and back from there into every
 * gradient that comes after it. So the weights are looked at first, and then the gradients in the
 * order in which backward() reaches them.
 * Thread-safety: reads the trainer, between its steps.
 */
#ifndef ALPACA_TRAIN_NONFINITE_H
#define ALPACA_TRAIN_NONFINITE_H

#include "train/trainer.h"

/* Describes it in words, with its name in the model's file, after a step that was refused:
 * "the gradient of encoder.layers.3.linear1.weight is not finite". */
void nonfinite_describe(const struct trainer *trainer, char *text, size_t size);

#endif
