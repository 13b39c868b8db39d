/* program.h - what every program does at its start and end, to find its command, and when it is
 * asked to stop.
 *
 * Ownership: nothing is kept. Only main()'s thread may call these, but for program_hurries(), which
 * signal handlers on any thread may.
 */
#ifndef ALPACA_BASE_PROGRAM_H
#define ALPACA_BASE_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

/* Call first in main(). Where standard input, output or error is closed, something that can be
 * neither read nor written takes its number, which the next file or socket would get otherwise. */
void program_start(void);

/* Call last in main(), with what it would return: closes standard output. When something could not
 * be written there and `status` is 0, says so on standard error and returns 1. */
int program_end(const char *name, int status);

/* Lets `handler` have the signals that ask a program to stop: SIGINT, SIGTERM, and SIGHUP unless it
 * was ignored at the start, as nohup makes it be. Nor does SIGPIPE end the program from here on. */
void program_catch_stops(void (*handler)(int signal_number));

/* For such handlers: false for the first signal and for those less than half a second after it,
 * true later. GNU timeout signals a process and then its group with it, so two signals at once
 * count as one. Never for SIGHUP, which shells and the kernel both send when a terminal closes. */
bool program_hurries(int signal_number);

/* A program of several commands, each with options of its own. */
struct program_command {
    const char *name, *help;
    int (*run)(int argc, char **argv); /* what follows the command's name; the exit status */
};

/* Runs the command that argv[1] names and returns its exit status; help, or what is wrong and
 * status 2, where it names none. */
int program_run_command(const char *program, const struct program_command *commands, size_t count,
                        int argc, char **argv);

#endif
