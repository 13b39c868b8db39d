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

enum status spinners_start(struct spinners *spinners, struct error *err) {
    pid_t parent = getpid();
    int wanted = cpu_count() < SPINNERS_MAX ? cpu_count() : SPINNERS_MAX;
    for (spinners->count = 0; spinners->count < wanted; spinners->count++) {
        pid_t pid = fork();
        if (pid == 0)
            spin(parent);
        if (pid < 0) {
            enum status status = error_set_errno(err, "cannot start a process");
            spinners_stop(spinners);
            return status;
        }
        spinners->pids[spinners->count] = pid;
    }
    return STATUS_OK;
}

void spinners_stop(struct spinners *spinners) {
    for (int i = 0; i < spinners->count; i++) {
        kill(spinners->pids[i], SIGKILL);
        waitpid(spinners->pids[i], NULL, 0);
    }
    spinners->count = 0;
}
