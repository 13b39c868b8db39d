/* health_check.h - asks a running server for /health, for containers that have no curl.
 *
 * Ownership: the options are borrowed during the call. For one thread.
 */
#ifndef ALPACA_SERVER_HEALTH_CHECK_H
#define ALPACA_SERVER_HEALTH_CHECK_H

#include "base/status.h"
#include "server/options.h"

/* Reads the options again, behind those of the server whose command line is in that file, so that
 * the check needs none of the options that the server was given. "/proc/1/cmdline" is that of a
 * container's program, which a small init may have started. Without a server there, nothing
 * changes. */
enum status health_check_options(struct options *options, const char *command_line, int argc,
                                 char **argv, struct error *err);

/* STATUS_OK when the server at the options' host and port answers 200. The error names the host and
 * the port, and says why there is no connection or what was answered instead. */
enum status health_check(const struct options *options, struct error *err);

#endif
