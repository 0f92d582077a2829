/* Memory that a control group limits, for which this needs the right to make groups and is skipped without
 * it, or `ulimit -v`: no limit ends in a kill or a signal, whatever fits is made. */
#include "rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define KILLED 137 /* 128 + SIGKILL */

static char outer[128], inner[160]; /* a group, and one in it; "": there are none */
static bool unified;

static bool write_to(const char *folder, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "we");
    bool fine = f && fputs(text, f) >= 0;
    return f && !fclose(f) && fine;
}

static bool limit(const char *folder, unsigned long long bytes) {
    char text[32];
    snprintf(text, sizeof text, "%llu\n", bytes);
    return write_to(folder, unified ? "memory.max" : "memory.limit_in_bytes", text);
}

/* A group of this process's number in version 1's memory hierarchy, or in version 2's. */
static void make_groups(void) {
    static const char *const roots[] = {"/sys/fs/cgroup/memory", "/sys/fs/cgroup"};
    for (int i = 0; i < 2; i++) {
        unified = i == 1;
        snprintf(outer, sizeof outer, "%s/ballast-test-%ld", roots[i], (long)getpid());
        snprintf(inner, sizeof inner, "%s/inner", outer);
        bool fine = !mkdir(outer, 0700) && !mkdir(inner, 0700) && limit(outer, 1ull << 40) &&
                    limit(inner, 1ull << 40);
        if (fine) {
            return;
        }
        rmdir(inner);
        rmdir(outer);
    }
    outer[0] = 0;
}

static int open_groups(void **state) {
    make_groups();
    return rig_open(state);
}

static int close_groups(void **state) {
    for (int i = 0; outer[0] && rmdir(inner) && i < 100;
         i++) { /* a process that ended leaves it a little later */
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    if (outer[0]) {
        rmdir(outer);
    }
    return rig_close(state);
}

/* Runs `ballast ARGUMENT...` in the inner group. */
static void run_inside(outcome *o, const char *const *arguments) {
    const char *argv[RIG_ARGUMENTS + 1] = {"sh", "-c", "echo $$ > \"$0\" && exec \"$@\"", NULL,
                                           rig_program()};
    char procs[256];
    snprintf(procs, sizeof procs, "%s/cgroup.procs", inner);
    argv[3] = procs;
    for (int i = 0; arguments[i]; i++) {
        argv[5 + i] = arguments[i];
    }
    rig_run(o, argv);
}

static void skip_without_groups(void) {
#ifdef __SANITIZE_ADDRESS__
    skip(); /* it takes more memory than the program, whenever it likes */
#endif
    if (!outer[0]) {
        print_message("control groups cannot be made here\n");
        skip();
    }
}

/* The group around the process's own is the narrower one. */
static void parents_limit_plans(void **state) {
    outcome o = {0};
    (void)state;
    skip_without_groups();
    assert_true(limit(inner, 2000000000) && limit(outer, 600000000));
    run_inside(&o, (const char *const[]){"plan", "-p", "a cat", "--json", NULL});
    expect_success(&o);
    const char *budget = strstr(o.out, "\"budget_bytes\": ");
    assert_non_null(budget);
    double bytes = strtod(budget + 16, NULL);
    assert_true(bytes > 500e6 && bytes < 600e6);
    assert_true(limit(outer, 1ull << 40));
    rig_free(&o);
}

/* From less than the program itself needs to more than all weights. */
static void no_limit_ends_in_a_kill(void **state) {
    outcome o = {0};
    int made = 0;
    (void)state;
    skip_without_groups();
    for (unsigned long long mb = 32; mb <= 107; mb += 5) {
        assert_true(limit(inner, mb * 1000000));
        run_inside(&o, (const char *const[]){"generate", "-p", "a cat", "-s", "1", "-W", "64", "-H", "64",
                                             "-S", "1", "--overwrite", "-o", "cat.png", NULL});
        if (o.code == KILLED || (o.code && o.code != 2)) {
            fail_msg("%llu MB: code %d, %s", mb, o.code, o.err);
        }
        assert_true(!made || !o.code); /* what fits in less fits in more */
        made += !o.code;
    }
    print_message("made under %d limits of 16\n", made);
    assert_true(made >= 8);
    rig_free(&o);
}

/* Wherever the address space ends: in the loader, before threads, within oneDNN or Clp, before the region.
 * Where a system has OpenBLAS for Clp's LAPACK, it has no threads here: it starts them before main and,
 * without memory for them, ends the process or waits for ever. */
static void no_ulimit_ends_in_a_signal(void **state) {
    outcome o = {0};
    int made = 0;
    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* its shadow memory is terabytes */
#endif
    for (int kb = 60000; kb <= 264000 || (!made && kb < 520000); kb += 8500) {
        char command[256];
        snprintf(command, sizeof command,
                 "ulimit -v %d; export OPENBLAS_NUM_THREADS=1; exec \"$0\" generate -p cat -s 1 -W 64 -H 64 "
                 "-S 1 -q --threads 2 --overwrite "
                 "-o cat.png",
                 kb);
        rig_run(&o, (const char *const[]){"sh", "-c", command, rig_program(), NULL});
        if (o.code > 2 && o.code != 127) { /* 127: the loader found no place for a library */
            fail_msg("%d kB: code %d, %s", kb, o.code, o.err);
        }
        assert_int_equal(rig_files(".tmp"), 0);
        made += !o.code;
    }
    assert_true(made >= 1);
    unlink("cat.png");
    rig_free(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parents_limit_plans),
        cmocka_unit_test(no_limit_ends_in_a_kill),
        cmocka_unit_test(no_ulimit_ends_in_a_signal),
    };
    return cmocka_run_group_tests_name("cli.memory", tests, open_groups, close_groups);
}
