#include "base/flags.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const struct flag *find(const struct flag_table *table, const char *name, size_t length) {
    for (size_t i = 0; i < table->count; i++) {
        const struct flag *flag = &table->flags[i];
        if (strlen(flag->name) == length && memcmp(flag->name, name, length) == 0)
            return flag;
    }
    return NULL;
}

static bool is_real(enum flag_kind kind) {
    return kind == FLAG_REAL || kind == FLAG_FLOAT;
}

static bool is_number(enum flag_kind kind) {
    return kind == FLAG_INT || kind == FLAG_U64 || is_real(kind);
}

static void describe_range(const struct flag *flag, char *text, size_t size) {
    if (!is_number(flag->kind))
        snprintf(text, size, "%s", "");
    else if (flag->max >= 1e18) /* all that there are */
        snprintf(text, size, "%.10g or more", flag->min);
    else if (is_real(flag->kind))
        snprintf(text, size, "%.10g to %.10g", flag->min, flag->max);
    else
        snprintf(text, size, "%.0f to %.0f", flag->min, flag->max);
}

static enum status bad_value(const struct flag *flag, const char *text, struct error *err) {
    if (flag->kind == FLAG_SWITCH)
        return error_set_field(err, STATUS_INVALID, flag->name,
                               "--%s is on or off, not \"%s\"", flag->name, text);
    if (flag->kind == FLAG_TEXT)
        return error_set_field(err, STATUS_INVALID, flag->name, "--%s needs a value, %s, not \"\"",
                               flag->name, *flag->unit ? flag->unit : "a text");
    char range[80];
    describe_range(flag, range, sizeof range);
    return error_set_field(err, STATUS_INVALID, flag->name,
                           "--%s must be %s number, %s, not \"%s\"", flag->name,
                           is_real(flag->kind) ? "a" : "a whole", range, text);
}

static enum status assign(const struct flag *flag, void *options, const char *text,
                          struct error *err) {
    void *value = (char *)options + flag->offset;
    char *end = NULL;
    errno = 0;
    switch (flag->kind) {
    case FLAG_TEXT:
        if (!*text)
            return bad_value(flag, text, err);
        *(const char **)value = text;
        return STATUS_OK;
    case FLAG_SWITCH: {
        bool on = !strcmp(text, "on") || !strcmp(text, "true") || !strcmp(text, "1");
        if (!on && strcmp(text, "off") && strcmp(text, "false") && strcmp(text, "0"))
            return bad_value(flag, text, err);
        *(bool *)value = on;
        return STATUS_OK;
    }
    case FLAG_INT: {
        long long number = strtoll(text, &end, 10);
        if (end == text || *end || errno || (double)number < flag->min ||
            (double)number > flag->max)
            return bad_value(flag, text, err);
        *(int *)value = (int)number;
        return STATUS_OK;
    }
    case FLAG_U64: {
        unsigned long long number = strtoull(text, &end, 10);
        if (end == text || *end || errno || strchr(text, '-') || (double)number < flag->min ||
            (double)number > flag->max)
            return bad_value(flag, text, err);
        *(uint64_t *)value = number;
        return STATUS_OK;
    }
    case FLAG_REAL:
    case FLAG_FLOAT: {
        double number = strtod(text, &end);
        if (end == text || *end || !isfinite(number) || number < flag->min || number > flag->max)
            return bad_value(flag, text, err);
        if (flag->kind == FLAG_REAL)
            *(double *)value = number;
        else
            *(float *)value = (float)number;
        return STATUS_OK;
    }
    }
    return STATUS_OK;
}

static void environment_name(const struct flag_table *table, const struct flag *flag, char *name,
                             size_t size) {
    snprintf(name, size, "%s%s", table->env_prefix, flag->name);
    for (char *c = name; *c; c++)
        *c = *c == '-' ? '_' : (char)toupper((unsigned char)*c);
}

static void keep_first(enum status *first, enum status status) {
    if (*first == STATUS_OK)
        *first = status;
}

static enum status assign_defaults(const struct flag_table *table, void *options,
                                   struct error *err) {
    for (size_t i = 0; i < table->count; i++) {
        const struct flag *flag = &table->flags[i];
        const char *text = flag->fallback;
        if (!text && is_number(flag->kind))
            text = "0";
        if (!text && flag->kind == FLAG_SWITCH)
            text = "off";
        if (!text) {
            *(const char **)((char *)options + flag->offset) = NULL;
            continue;
        }
        struct flag unchecked = *flag; /* an "unset" default may lie outside the range */
        unchecked.min = -INFINITY;
        unchecked.max = INFINITY;
        enum status status = assign(&unchecked, options, text, err);
        if (status != STATUS_OK)
            return status;
    }
    if (!table->env_prefix)
        return STATUS_OK;
    enum status first = STATUS_OK;
    for (size_t i = 0; i < table->count; i++) {
        char name[96];
        environment_name(table, &table->flags[i], name, sizeof name);
        const char *text = getenv(name);
        if (text && *text && !(is_number(table->flags[i].kind) && strstr(text, "://")))
            keep_first(&first, assign(&table->flags[i], options, text, first ? NULL : err));
    }
    return first;
}

/* Reads one option, "--name" or "--name=value". Its value may also be `next`, the argument after
 * it or NULL; *next_taken says whether it is. */
static enum status parse_option(const struct flag_table *table, void *options,
                                const char *argument, const char *next, bool *next_taken,
                                struct error *err) {
    const char *name = argument + 2, *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    const struct flag *flag = find(table, name, length);
    const char *text = equals ? equals + 1 : NULL;
    if (!flag && !equals && strncmp(name, "no-", 3) == 0) {
        flag = find(table, name + 3, length - 3);
        text = "off";
        if (flag && flag->kind != FLAG_SWITCH)
            flag = NULL;
    }
    if (!flag)
        return error_set_field(err, STATUS_INVALID, name, "unknown option --%.*s; see --help",
                               (int)length, name);
    if (!text && flag->kind == FLAG_SWITCH)
        text = "on";
    *next_taken = !text && next;
    if (!text && !next)
        return error_set_field(err, STATUS_INVALID, flag->name, "--%s needs a value", flag->name);
    return assign(flag, options, text ? text : next, err);
}

/* Reads on behind a mistake, which is then reported in the form that the rest asks for. */
enum status flags_parse(const struct flag_table *table, void *options, int *argc, char **argv,
                        bool *help_shown, struct error *err) {
    int count = *argc;
    bool options_ended = false, next_taken = false;
    *help_shown = false;
    *argc = 0;
    enum status first = assign_defaults(table, options, err);
    for (int i = 0; i < count; i += 1 + next_taken) {
        char *argument = argv[i];
        next_taken = false;
        struct error *target = first == STATUS_OK ? err : NULL;
        if (options_ended || (strncmp(argument, "--", 2) != 0 && strcmp(argument, "-h") != 0)) {
            if (*argc < table->max_arguments)
                argv[(*argc)++] = argument;
            else
                keep_first(&first, error_set(target, STATUS_INVALID,
                                             "unexpected argument \"%s\"; see --help", argument));
        } else if (strcmp(argument, "--") == 0) {
            options_ended = true;
        } else if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0) {
            flags_print_help(table, stdout);
            *help_shown = true;
            return STATUS_OK;
        } else {
            const char *next = i + 1 < count ? argv[i + 1] : NULL;
            keep_first(&first,
                       parse_option(table, options, argument, next, &next_taken, target));
        }
    }
    return first;
}

enum status flags_used(const char *name, enum status status, struct error *err) {
    if (status == STATUS_OK || status == STATUS_NO_MEMORY || !err || *err->field)
        return status;
    struct error reason = *err;
    return error_set_field(err, status, name, "--%s: %.*s", name,
                           (int)(sizeof err->message - sizeof err->field), reason.message);
}

enum status flags_next_item(const char **list, const char *name, char *item, size_t size,
                            struct error *err) {
    const char *begin = *list + strspn(*list, " "), *end = begin + strcspn(begin, ",");
    *list = *end ? end + 1 : NULL;
    while (end > begin && end[-1] == ' ')
        end--;
    size_t length = (size_t)(end - begin);
    if (length == 0 || length >= size)
        return error_set_field(err, STATUS_INVALID, name,
                               "--%s is a list with commas between its items, each of 1 to %zu "
                               "bytes; one has %zu", name, size - 1, length);
    memcpy(item, begin, length);
    item[length] = '\0';
    return STATUS_OK;
}

/* What is on by itself; its help shows how to switch it off. */
static bool is_on_switch(const struct flag *flag) {
    return flag->kind == FLAG_SWITCH && flag->fallback && strcmp(flag->fallback, "on") == 0;
}

void flags_print_help(const struct flag_table *table, FILE *out) {
    fprintf(out, "Usage: %s\n\n%s\n", table->usage, table->summary);
    if (table->count)
        fprintf(out, "\nOptions:\n");
    for (size_t i = 0; i < table->count; i++) {
        const struct flag *flag = &table->flags[i];
        char head[64], range[80];
        snprintf(head, sizeof head, "--%s%s %s", is_on_switch(flag) ? "[no-]" : "", flag->name,
                 flag->kind == FLAG_SWITCH ? "" : *flag->unit ? flag->unit : "VALUE");
        describe_range(flag, range, sizeof range);
        fprintf(out, "  %-28s %s", head, flag->help);
        if (*range)
            fprintf(out, "; %s", range);
        if (flag->fallback)
            fprintf(out, " (default %s)", flag->fallback);
        fputc('\n', out);
    }
    if (table->env_prefix) {
        char variable[96];
        environment_name(table, &table->flags[0], variable, sizeof variable);
        fprintf(out, "\nEach option can also be set by a variable: --%s as %s, and so on;\n"
                     "one without a value by \"on\" or \"off\".\n",
                table->flags[0].name, variable);
    }
}

void flags_print_markdown(const struct flag_table *table, FILE *out) {
    fprintf(out, "| option | %sdefault | range | unit | what it does |\n|---|%s---|---|---|---|\n",
            table->env_prefix ? "variable | " : "", table->env_prefix ? "---|" : "");
    for (size_t i = 0; i < table->count; i++) {
        const struct flag *flag = &table->flags[i];
        char range[80], variable[96];
        describe_range(flag, range, sizeof range);
        fprintf(out, "| `--%s`", flag->name);
        fprintf(out, is_on_switch(flag) ? ", `--no-%s` | " : " | ", flag->name);
        if (table->env_prefix) {
            environment_name(table, flag, variable, sizeof variable);
            fprintf(out, "`%s` | ", variable);
        }
        fprintf(out, "%s | %s | %s | %s |\n", flag->fallback ? flag->fallback : "", range,
                flag->unit, flag->help);
    }
}
