#ifndef _DEFAULT_SOURCE
#define _DEFAULT_SOURCE /* wait4 */
#endif
#include "bench/server_process.h"

#include "base/clock.h"
#include "base/file.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static enum status spawn(struct server_process *server, const char *const *argv,
                         struct error *err) {
    int ends[2];
    if (pipe(ends) != 0)
        return error_set_errno(err, "cannot open a pipe");
    server->output = ends[0];
    server->pid = fork();
    if (server->pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execv(argv[0], (char *const *)argv); /* which changes none of them */
        perror(argv[0]);
        _exit(127);
    }
    close(ends[1]);
    if (server->pid > 0)
        return STATUS_OK;
    server->pid = 0;
    close(ends[0]);
    return error_set_errno(err, "cannot start %s", argv[0]);
}

/* The server prints its address when it listens. */
static enum status read_port(struct server_process *server, struct error *err) {
    static const char mark[] = "http://127.0.0.1:";
    char text[512];
    size_t size = 0;
    ssize_t count = 1;
    while (count > 0 && size < sizeof text - 1) {
        count = read(server->output, text + size, sizeof text - 1 - size);
        size += count > 0 ? (size_t)count : 0;
        text[size] = '\0';
        const char *found = strstr(text, mark);
        if (found && strchr(found, '\n')) {
            server->port = atoi(found + sizeof mark - 1);
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_IO, "the server did not start");
}

static bool says_ready(int port) {
    static const char request[] = "GET /ready HTTP/1.1\r\nHost: localhost\r\n"
                                  "Connection: close\r\n\r\n";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    char answer[16] = "";
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    bool ready = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
                 send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0 &&
                 recv(fd, answer, 12, MSG_WAITALL) == 12 &&
                 strcmp(answer, "HTTP/1.1 200") == 0;
    if (fd >= 0)
        close(fd);
    return ready;
}

enum status server_start(struct server_process *server, const char *model, int slots,
                         struct error *err) {
    char folder[FILE_PATH_BYTES], program[FILE_PATH_BYTES], slots_text[16];
    *server = (struct server_process){0};
    snprintf(slots_text, sizeof slots_text, "%d", slots);
    if (!file_program_folder(folder))
        return error_set(err, STATUS_NOT_FOUND, "cannot tell where alpaca-server is");
    enum status status = file_join(program, folder, "alpaca-server", err);
    if (status != STATUS_OK)
        return status;
    const char *const argv[] = {program, "--model", model, "--port", "0", "--slots", slots_text,
                                "--no-access-log", NULL};
    double start = clock_seconds();
    status = spawn(server, argv, err);
    if (status == STATUS_OK)
        status = read_port(server, err);
    while (status == STATUS_OK && !says_ready(server->port)) {
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid) {
            server->pid = 0;
            close(server->output);
            status = error_set(err, STATUS_IO, "the server ended before it was ready");
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    server->ready_s = clock_seconds() - start;
    if (status != STATUS_OK)
        server_stop(server);
    return status;
}

struct server_usage server_stop(struct server_process *server) {
    struct rusage usage = {0};
    if (server->pid == 0)
        return (struct server_usage){0};
    kill(server->pid, SIGTERM);
    while (wait4(server->pid, NULL, 0, &usage) < 0 && errno == EINTR) {
    }
    close(server->output);
    server->pid = 0;
#ifdef __APPLE__
    double bytes = (double)usage.ru_maxrss;
#else
    double bytes = 1024.0 * (double)usage.ru_maxrss;
#endif
    return (struct server_usage){
        .peak_mb = bytes / 1e6,
        .cpu_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec)};
}
