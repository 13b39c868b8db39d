/* What surrounds a program: quotas, outputs that nobody reads, signals. */
#include "base/clock.h"
#include "base/cpu.h"
#include "base/log.h"
#include "base/program.h"
#include "server/health_check.h"
#include "tests/support/scratch.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- cgroups ---------------------------------------------------------------------- */

static int quota(void) {
    return cpu_quota(scratch.folder);
}

static void test_no_quota_anywhere_is_no_limit(void **state) {
    (void)state;
    assert_int_equal(cpu_quota("/no/such/folder"), 0);
    assert_int_equal(quota(), 0);
    scratch_write_text(&scratch, "proc/self/cgroup", "0::/system.slice/alpaca.service\n");
    assert_int_equal(quota(), 0);
    scratch_write_text(&scratch, "sys/fs/cgroup/system.slice/cpu.max", "max 100000\n");
    assert_int_equal(quota(), 0);
}

static void test_the_smallest_quota_of_a_unit_and_its_slices_holds(void **state) {
    (void)state;
    scratch_write_text(&scratch, "proc/self/cgroup", "0::/a.slice/b.slice/alpaca.service\n");
    scratch_write_text(&scratch, "sys/fs/cgroup/a.slice/cpu.max", "300000 100000\n");
    assert_int_equal(quota(), 3);
    scratch_write_text(&scratch, "sys/fs/cgroup/a.slice/b.slice/cpu.max", "max 100000\n");
    scratch_write_text(&scratch, "sys/fs/cgroup/a.slice/b.slice/alpaca.service/cpu.max",
                       "500000 100000\n");
    assert_int_equal(quota(), 3);
    scratch_write_text(&scratch, "sys/fs/cgroup/a.slice/b.slice/cpu.max", "110000 100000\n");
    assert_int_equal(quota(), 2);
    /* CPUQuota=50% of the unit itself; another unit's says nothing. */
    scratch_write_text(&scratch, "sys/fs/cgroup/a.slice/b.slice/alpaca.service/cpu.max",
                       "50000 100000\n");
    scratch_write_text(&scratch, "sys/fs/cgroup/a.slice/other/cpu.max", "1000 100000\n");
    assert_int_equal(quota(), 1);
}

static void test_a_container_has_its_quota_at_the_root(void **state) {
    (void)state;
    scratch_write_text(&scratch, "sys/fs/cgroup/cpu.max", "400000 100000\n");
    assert_int_equal(quota(), 4); /* no /proc */
    scratch_write_text(&scratch, "proc/self/cgroup", "0::/\n");
    assert_int_equal(quota(), 4);
    scratch_write_text(&scratch, "proc/self/cgroup", "0::/docker/0123456789\n");
    assert_int_equal(quota(), 4); /* the host's path, which is not mounted here */
}

static void test_quotas_of_version_1(void **state) {
    (void)state;
    scratch_write_text(&scratch, "proc/self/cgroup",
                       "9:pids:/p\n5:cpuset:/s\n4:cpuacct,cpu:/a/b\n1:name=systemd:/n\n0::/\n");
    scratch_write_text(&scratch, "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "250000\n");
    scratch_write_text(&scratch, "sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
    scratch_write_text(&scratch, "sys/fs/cgroup/cpu/a/b/cpu.cfs_quota_us", "-1\n");
    scratch_write_text(&scratch, "sys/fs/cgroup/cpu/a/b/cpu.cfs_period_us", "100000\n");
    assert_int_equal(quota(), 3);
    /* Paths of other controllers are not looked for among those of the CPU's. */
    for (const char *const *name = (const char *const[]){"p", "s", "n", NULL}; *name; name++) {
        char path[64];
        snprintf(path, sizeof path, "sys/fs/cgroup/cpu/%s/cpu.cfs_quota_us", *name);
        scratch_write_text(&scratch, path, "100000\n");
        snprintf(path, sizeof path, "sys/fs/cgroup/cpu/%s/cpu.cfs_period_us", *name);
        scratch_write_text(&scratch, path, "100000\n");
    }
    assert_int_equal(quota(), 3);
}

/* ---- a log that nobody reads ------------------------------------------------------ */

static void log_numbered(int number, size_t bytes) {
    struct buffer line = {0};
    buffer_printf(&line, "%04d", number);
    while (line.size < bytes)
        buffer_append_text(&line, "x");
    buffer_append_text(&line, "\n");
    log_write(&line);
    buffer_free(&line);
}

static void test_a_log_that_nobody_reads_loses_lines_and_says_how_many(void **state) {
    (void)state;
    static char text[1 << 20];
    static const size_t sizes[] = {100, 3000, 20000}; /* the last needs several writes */
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        int ends[2], kept = dup(STDERR_FILENO), written = 0;
        assert_int_equal(pipe(ends), 0);
        dup2(ends[1], STDERR_FILENO);
        while ((size_t)written * sizes[i] < 4 * 65536) /* more than a pipe holds */
            log_numbered(written++, sizes[i]);
        ssize_t bytes = read(ends[0], text, sizeof text); /* now there is a reader again */
        log_numbered(written, sizes[i]);
        bytes += read(ends[0], text + bytes, sizeof text - (size_t)bytes);
        dup2(kept, STDERR_FILENO);
        close(kept), close(ends[0]), close(ends[1]);
        int seen = 0, lost = 0;
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
            if (sscanf(line, "%*s warn %d lines were lost", &lost) == 1)
                assert_true(lost > 0);
            else if (strlen(line) >= sizes[i])
                assert_int_equal(atoi(line), seen++ + lost);
        }
        assert_int_equal(seen + lost, written + 1);
        memset(text, 0, sizeof text);
    }
}

/* ---- signals ---------------------------------------------------------------------- */

static void test_signals_at_once_are_one_wish_and_later_ones_are_not(void **state) {
    (void)state;
    uint64_t start = clock_now_ns();
    assert_false(program_hurries(SIGTERM));
    bool second = program_hurries(SIGINT);
    /* On a machine that stood still in between the second was a later one indeed. */
    assert_true(!second || clock_now_ns() - start >= 500 * 1000000u);
    while (!program_hurries(SIGTERM)) {
    }
    assert_true(clock_now_ns() - start >= 499 * 1000000u);
    assert_false(program_hurries(SIGHUP)); /* a closing terminal may send it at any time after */
}

/* ---- containers ------------------------------------------------------------------- */

static struct options asked(const char *command_line, size_t bytes, const char *own_port) {
    char program[] = "/bin/alpaca-server", check[] = "--health-check", port[] = "--port";
    char *arguments[] = {program, check, port, (char *)(uintptr_t)own_port, NULL};
    int count = own_port ? 4 : 2;
    struct options options;
    bool done;
    const char *path = scratch_write(&scratch, "cmdline", command_line, bytes);
    assert_int_equal(options_parse(&options, count, arguments, &done, NULL), STATUS_OK);
    assert_int_equal(health_check_options(&options, path, count, arguments, NULL), STATUS_OK);
    assert_true(options.health_check);
    return options;
}

#define ASKED(words, own_port) asked(words, sizeof words, own_port)

static void test_a_health_check_follows_the_containers_server(void **state) {
    (void)state;
    assert_int_equal(ASKED("/usr/local/bin/alpaca-server\0--port\0" "9000", NULL).port, 9000);
    assert_int_equal(ASKED("alpaca-server\0--port=9000", "9001").port, 9001); /* itself first */
    assert_string_equal(ASKED("alpaca-server\0--host\0" "10.0.0.5", NULL).host, "10.0.0.5");
    assert_int_equal(ASKED("/sbin/docker-init\0--\0alpaca-server\0--port\0" "9000", NULL).port,
                     9000);
    assert_int_equal(ASKED("alpaca-server", NULL).port, 8080);
    assert_int_equal(ASKED("/sbin/init\0--port\0" "9000", NULL).port, 8080); /* no container */
    assert_int_equal(asked("", 0, NULL).port, 8080);
    struct options options = {.port = 7};
    assert_int_equal(health_check_options(&options, "/no/proc", 0, NULL, NULL), STATUS_OK);
    assert_int_equal(options.port, 7);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SCRATCH_TEST(test_no_quota_anywhere_is_no_limit),
        SCRATCH_TEST(test_the_smallest_quota_of_a_unit_and_its_slices_holds),
        SCRATCH_TEST(test_a_container_has_its_quota_at_the_root),
        SCRATCH_TEST(test_quotas_of_version_1),
        cmocka_unit_test(test_a_log_that_nobody_reads_loses_lines_and_says_how_many),
        cmocka_unit_test(test_signals_at_once_are_one_wish_and_later_ones_are_not),
        SCRATCH_TEST(test_a_health_check_follows_the_containers_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
