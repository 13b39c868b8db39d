/* flags.h - command-line options from one table per program.
 *
 * A table row says everything about an option once: name, kind, default, range,
 * unit and help. Parsing, range errors, environment variables, --help and the
 * documentation all come from it. The caller owns the struct that the values
 * are written to; text values point into argv, the environment or the table.
 * Thread-safe as long as nobody changes the environment.
 */
#ifndef ALPACA_BASE_FLAGS_H
#define ALPACA_BASE_FLAGS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum flag_kind {
    FLAG_TEXT,   /* const char *, not empty */
    FLAG_INT,    /* int */
    FLAG_U64,    /* uint64_t */
    FLAG_REAL,   /* double */
    FLAG_FLOAT,  /* float */
    FLAG_SWITCH, /* bool; on the command line without a value, --no-NAME turns it off */
};

struct flag {
    const char *name; /* without the dashes: "batch-tokens" */
    enum flag_kind kind;
    size_t offset;        /* of the value in the options struct */
    const char *fallback; /* the default as one would type it; NULL leaves NULL, 0 or false */
    double min, max;      /* inclusive range of numbers */
    const char *unit;     /* "tokens", "ms", "FILE"; "" for none */
    const char *help;     /* one sentence without a full stop */
};

struct flag_table {
    const char *usage;      /* "alpaca-train fit [options]" */
    const char *summary;    /* one paragraph for --help */
    const struct flag *flags;
    size_t count;
    const char *env_prefix; /* "ALPACA_" reads --port from ALPACA_PORT too; or NULL */
    int max_arguments;      /* that are no options, such as file names */
};

/* Fills *options with the defaults, then the environment, then argv (program
 * name excluded; both "--name value" and "--name=value"; "--" ends options).
 * The arguments that are no options are moved to the front of argv, and *argc
 * becomes their number. On --help prints the help and sets *help_shown.
 * A variable that holds an address ("tcp://10.0.0.1:80") where a number belongs is ignored:
 * Kubernetes and Docker's links set ALPACA_PORT so for a service called alpaca.
 * Errors: STATUS_INVALID with error.field naming the flag and its range. */
enum status flags_parse(const struct flag_table *table, void *options, int *argc, char **argv,
                        bool *help_shown, struct error *err);

/* Names the option in the error of what was done with its value: the message begins with it, as in
 * "--model: cannot open ...", and error.field becomes its name. Returns `status`. An error that
 * names a field already stays as it is, and so does STATUS_NO_MEMORY. */
enum status flags_used(const char *name, enum status status, struct error *err);

/* Takes the first item off *list, the value of an option that has commas between its items, without
 * the spaces around it; *list becomes NULL behind the last. STATUS_INVALID, naming the option, for
 * an item that is empty or does not fit into item[size]. */
enum status flags_next_item(const char **list, const char *name, char *item, size_t size,
                            struct error *err);

void flags_print_help(const struct flag_table *table, FILE *out);
/* The rows as a Markdown table, for the docs. */
void flags_print_markdown(const struct flag_table *table, FILE *out);

#endif
