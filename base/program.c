#include "base/program.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SAME_SIGNAL_MS = 500 };

void program_start(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0) /* open() takes the lowest free number, which is fd */
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int program_end(const char *name, int status) {
    bool lost = ferror(stdout) != 0;
    errno = 0;
    if (fclose(stdout) != 0)
        lost = true;
    if (!lost || status != EXIT_SUCCESS)
        return status;
    fprintf(stderr, "%s: cannot write to standard output%s%s\n", name, errno ? ": " : "",
            errno ? strerror(errno) : "");
    return EXIT_FAILURE;
}

void program_catch_stops(void (*handler)(int signal_number)) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

bool program_hurries(int signal_number) {
    static atomic_ullong first_ms; /* atomic, since any thread may get the signal */
    unsigned long long now = clock_now_ns() / 1000000 + 1, first = 0;
    bool later = !atomic_compare_exchange_strong(&first_ms, &first, now);
    return later && now >= first + SAME_SIGNAL_MS && signal_number != SIGHUP;
}

static int usage(const char *program, const struct program_command *commands, size_t count,
                 FILE *out, int status) {
    fprintf(out, "Usage: %s COMMAND [options]\n\nCommands:\n", program);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "\n%s COMMAND --help lists a command's options.\n", program);
    return status;
}

int program_run_command(const char *program, const struct program_command *commands, size_t count,
                        int argc, char **argv) {
    if (argc < 2)
        return usage(program, commands, count, stderr, 2);
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
        return usage(program, commands, count, stdout, 0);
    for (size_t i = 0; i < count; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 2, argv + 2);
    fprintf(stderr, "%s: no such command: %s\n", program, argv[1]);
    return usage(program, commands, count, stderr, 2);
}
