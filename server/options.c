#include "server/options.h"

#include "base/flags.h"
#include "server/api/negotiation.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define AT(member) offsetof(struct options, member)

static const struct flag rows[] = {
    {"host", FLAG_TEXT, AT(host), "127.0.0.1", 0, 0, "ADDRESS",
     "Address to listen on; localhost for 127.0.0.1 and ::1, 0.0.0.0 for every IPv4 address, :: "
     "for IPv6 too"},
    {"port", FLAG_INT, AT(port), "8080", 0, 65535, "PORT", "Port to listen on; 0 takes a free one"},
    {"model", FLAG_TEXT, AT(model), NULL, 0, 0, "FOLDER",
     "Model folder; by default the best one in weights/ here or beside the program"},
    {"numeric", FLAG_TEXT, AT(dtype), "int8", 0, 0, "FORM",
     "Numbers that the model computes with: int8, or f32, which is slower and for comparisons"},
    {"draft", FLAG_TEXT, AT(draft), "auto", 0, 0, "FOLDER",
     "Model folder that proposes tokens for the model to check, several in one step: the same "
     "stories, sooner. auto takes a much smaller model beside it that has its tokenizer, off none"},
    {"draft-tokens", FLAG_TEXT, AT(draft_tokens), "auto", 0, 0, "tokens",
     "Tokens that the draft proposes at a time for each story, 1 to 16; auto: as many as pay, at "
     "high load none"},
    {"cpu", FLAG_TEXT, AT(cpu), NULL, 0, 0, "NAME",
     "Instructions to use: portable, avx2, avx512 or amx; by default the best there are"},
    {"threads", FLAG_INT, AT(threads), "0", 0, 1024, "threads",
     "Compute threads; 0 for as many as the process may use"},
    {"slots", FLAG_INT, AT(slots), "32", 1, 1024, "stories", "Stories generated at the same time"},
    {"queue", FLAG_INT, AT(queue), "256", 1, 100000, "stories",
     "Stories waiting for a slot; more are refused with 503"},
    {"prompt-rows", FLAG_INT, AT(prompt_rows), "64", 1, 4096, "tokens",
     "Prompt tokens read per step at most, so that long prompts do not stall others"},
    {"http-threads", FLAG_INT, AT(http_threads), "0", 0, 64, "threads",
     "Threads that speak HTTP; 0 for one for every four cores"},
    {"connections", FLAG_INT, AT(connections), "4096", 2, 1000000, "connections",
     "Open connections at most, on each address that is listened on"},
    {"connections-per-address", FLAG_INT, AT(connections_per_address), "0", 0, 1000000,
     "connections", "The same for each client address; 0 for no limit of its own"},
    {"body-bytes", FLAG_INT, AT(body_bytes), "65536", 256, 16777216, "bytes",
     "Largest request body"},
    {"header-bytes", FLAG_INT, AT(header_bytes), "16384", 4096, 1048576, "bytes",
     "A request's line and headers at most"},
    {"idle-timeout", FLAG_INT, AT(idle_timeout_s), "75", 1, 86400, "s",
     "Closes a connection that neither sends nor takes anything for so long"},
    {"request-timeout", FLAG_INT, AT(request_timeout_s), "30", 1, 86400, "s",
     "Time for a request to arrive completely"},
    {"ping-interval", FLAG_INT, AT(ping_s), "10", 1, 3600, "s",
     "Comment lines in a stream that has nothing to say, so that proxies keep it open"},
    {"stop-timeout", FLAG_INT, AT(stop_timeout_s), "8", 0, 86400, "s",
     "Time for running stories to finish after SIGTERM"},
    {"web", FLAG_TEXT, AT(web), NULL, 0, 0, "FOLDER",
     "Folder of `make web`: the page then offers to go on in the browser when the server is busy"},
    {"api-key-file", FLAG_TEXT, AT(api_key_file), NULL, 0, 0, "FILE",
     "Accepts only requests with a key from this file, one a line, as \"Authorization: Bearer "
     "KEY\""},
    {"cors-origin", FLAG_TEXT, AT(cors_origin), NULL, 0, 0, "ORIGIN",
     "Lets pages of this origin call the API; * for all"},
    {"allow-host", FLAG_TEXT, AT(allow_host), NULL, 0, 0, "NAMES",
     "Names, separated by commas, by which a proxy asks a server that only this machine can reach"},
    {"log-format", FLAG_TEXT, AT(log_format), "text", 0, 0, "FORM",
     "Lines on standard error, the access log's and all others: text or json"},
    {"access-log", FLAG_SWITCH, AT(access_log), "on", 0, 0, "",
     "One line per request on standard error, never with the prompt"},
    {"verbose", FLAG_SWITCH, AT(verbose), NULL, 0, 0, "", "More lines for finding faults"},
    {"health-check", FLAG_SWITCH, AT(health_check), NULL, 0, 0, "",
     "Asks the server at --host and --port for /health, by default the container's, and exits with "
     "0 when it is healthy"},
    {"help-markdown", FLAG_SWITCH, AT(help_markdown), NULL, 0, 0, "",
     "Prints this table as Markdown"},
};

static const struct flag_table table = {
    .usage = "alpaca-server [options]",
    .summary = "Tells children's stories over HTTP: POST /generate, and a page at /.",
    .flags = rows,
    .count = sizeof rows / sizeof *rows,
    .env_prefix = "ALPACA_",
};

/* Whether browsers may send it as an Origin, which is compared byte by byte (RFC 6454, 6.2): null,
 * or scheme://host[:port] in lower case, without a path. */
static bool is_origin(const char *text) {
    const char *host = strstr(text, "://");
    if (strcmp(text, "null") == 0)
        return true;
    if (!host || host == text || !host[3])
        return false;
    for (const char *at = text; *at; at++)
        if (*at <= ' ' || *at > '~' || strchr(",?#@\"", *at) || (*at >= 'A' && *at <= 'Z') ||
            (*at == '/' && at != host + 1 && at != host + 2))
            return false;
    return true;
}

enum status options_parse(struct options *options, int argc, char **argv, bool *done,
                          struct error *err) {
    int arguments = argc - 1;
    enum status status = flags_parse(&table, options, &arguments, argv + 1, done, err);
    size_t length = status == STATUS_OK ? strlen(options->host) : 0;
    if (length > 2 && length - 2 < sizeof options->bare_host && options->host[0] == '[' &&
        options->host[length - 1] == ']') { /* [::1], as in a URL */
        memcpy(options->bare_host, options->host + 1, length - 2);
        options->host = options->bare_host;
    }
    if (status == STATUS_OK && strcmp(options->log_format, "text") != 0 &&
        strcmp(options->log_format, "json") != 0)
        status = error_set_field(err, STATUS_INVALID, "log-format",
                                 "--log-format is text or json, not \"%s\"", options->log_format);
    if (status == STATUS_OK && options->cors_origin && strcmp(options->cors_origin, "*") != 0 &&
        !is_origin(options->cors_origin))
        status = error_set_field(err, STATUS_INVALID, "cors-origin",
                                 "--cors-origin is * or one origin as browsers send it, such as "
                                 "https://app.example or http://localhost:5173, not \"%s\"",
                                 options->cors_origin);
    if (status == STATUS_OK)
        status = hosts_check(options->allow_host, err);
    if (status == STATUS_OK && options->help_markdown && !*done) {
        flags_print_markdown(&table, stdout);
        *done = true;
    }
    return status;
}
