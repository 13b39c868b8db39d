/* options.h - everything an operator can set, in one table.
 *
 * Flags, ALPACA_* variables, --help and the table in docs/api.md all come
 * from the rows in options.c.
 *
 * Ownership: the texts belong to argv, the environment or the table. Read-only
 * after options_parse(), so thread-safe.
 */
#ifndef ALPACA_SERVER_OPTIONS_H
#define ALPACA_SERVER_OPTIONS_H

#include "base/status.h"

#include <stdbool.h>

struct options {
    const char *host;
    int port;
    const char *model; /* NULL: look for one */
    const char *dtype, *draft, *draft_tokens, *cpu;
    int threads, slots, queue, prompt_rows;
    int http_threads, connections, connections_per_address;
    int body_bytes, header_bytes;
    int idle_timeout_s, request_timeout_s, ping_s, stop_timeout_s;
    const char *web; /* NULL: no engine for browsers */
    const char *api_key_file;
    const char *cors_origin, *allow_host;
    const char *log_format; /* "text" or "json" */
    bool access_log, verbose;
    bool health_check, help_markdown; /* modes: do this instead of serving */
    char bare_host[64]; /* `host`, when it was an address in brackets */
};

/* *done is set when --help or --help-markdown was printed and there is nothing left to do. */
enum status options_parse(struct options *options, int argc, char **argv, bool *done,
                          struct error *err);

#endif
