#include "bench/busy_loops.h"

#include "base/cpu.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void spin(pid_t parent) {
    while (getppid() == parent)
        for (volatile int i = 0; i < 100000000; i++) {
        }
    _exit(0);
}

enum status busy_loops_start(struct busy_loops *busy_loops, struct error *err) {
    pid_t parent = getpid();
    int wanted = cpu_count() < BUSY_LOOPS_MAX ? cpu_count() : BUSY_LOOPS_MAX;
    for (busy_loops->count = 0; busy_loops->count < wanted; busy_loops->count++) {
        pid_t pid = fork();
        if (pid == 0)
            spin(parent);
        if (pid < 0) {
            enum status status = error_set_errno(err, "cannot start a process");
            busy_loops_stop(busy_loops);
            return status;
        }
        busy_loops->pids[busy_loops->count] = pid;
    }
    return STATUS_OK;
}

void busy_loops_stop(struct busy_loops *busy_loops) {
    for (int i = 0; i < busy_loops->count; i++) {
        kill(busy_loops->pids[i], SIGKILL);
        waitpid(busy_loops->pids[i], NULL, 0);
    }
    busy_loops->count = 0;
}
