/* commands.h - the commands of alpaca-train.
 *
 * Each takes argv after its own name and returns the exit status: 0 done (or, for `fit`,
 * interrupted with a checkpoint), 1 failed, 2 wrong usage (1 from `prepare`). Not thread-safe.
 */
#ifndef ALPACA_TRAIN_COMMANDS_H
#define ALPACA_TRAIN_COMMANDS_H

int prepare_command(int argc, char **argv);
int fit_command(int argc, char **argv);
int grow_command(int argc, char **argv);
int evaluate_command(int argc, char **argv);
int truecase_command(int argc, char **argv);

#endif
