/* fit.h - `alpaca-train fit`: trains a model, from a checkpoint when there is one. */
#ifndef ALPACA_TRAIN_FIT_H
#define ALPACA_TRAIN_FIT_H

/* argv after the word "fit"; the exit status: 0 done or interrupted with a
 * checkpoint, 1 failed, 2 wrong usage. */
int fit_command(int argc, char **argv);

#endif
