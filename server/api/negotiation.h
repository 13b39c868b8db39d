/* negotiation.h - what a request's Host and Accept headers ask for.
 *
 * Ownership: texts are borrowed during the call. Thread-safe.
 */
#ifndef ALPACA_SERVER_API_NEGOTIATION_H
#define ALPACA_SERVER_API_NEGOTIATION_H

#include "base/status.h"

#include <stdbool.h>

/* Whether an Accept header (NULL: none) prefers plain text to JSON. The larger q wins (RFC 9110,
 * 12.5.1), of two equals the one that is named first, and JSON where neither is named. */
bool accept_prefers_text(const char *accept);

/* Whether a server that only this machine can reach may answer to this authority, NAME[:PORT]. A
 * web page can let a name of its own point to this machine, and so ask what it may not (DNS
 * rebinding); it has no power over addresses, localhost, and names without a dot. `allowed`, the
 * value of --allow-host (NULL: none), lists more names; their ports do not matter. */
bool host_is_local(const char *authority, const char *allowed);
/* STATUS_INVALID, naming the option, unless `hosts` (NULL: none) is such a list. */
enum status hosts_check(const char *hosts, struct error *err);

#endif
