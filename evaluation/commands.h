/* commands.h - the commands of alpaca-eval.
 *
 * Each takes argv after its own name and returns the exit status: 0 done, 1 failed, 2 wrong usage.
 * Not thread-safe.
 */
#ifndef ALPACA_EVALUATION_COMMANDS_H
#define ALPACA_EVALUATION_COMMANDS_H

int prompts_command(int argc, char **argv);
int choices_command(int argc, char **argv);
int texture_command(int argc, char **argv);
int grade_command(int argc, char **argv);
int report_command(int argc, char **argv);

#endif
