/* evaluate.h - `alpaca-train evaluate`: the validation figures of a model folder. */
#ifndef ALPACA_TRAIN_EVALUATE_H
#define ALPACA_TRAIN_EVALUATE_H

/* argv after the word "evaluate"; the exit status: 0, 1 failed, 2 wrong usage. */
int evaluate_command(int argc, char **argv);

#endif
