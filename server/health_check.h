/* health_check.h - asks a running server for /health, for containers that have no curl.
 *
 * Ownership: the options are borrowed during the call. Thread-safe.
 */
#ifndef ALPACA_SERVER_HEALTH_CHECK_H
#define ALPACA_SERVER_HEALTH_CHECK_H

#include "base/status.h"
#include "server/options.h"

/* STATUS_OK when the server at the options' host and port answers 200. The error names the host and
 * the port, and says why there is no connection or what was answered instead. */
enum status health_check(const struct options *options, struct error *err);

#endif
