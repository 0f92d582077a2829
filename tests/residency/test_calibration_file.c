/* The calibration's file: several processes at once, no memory, no disk, locks, damage. A good file comes out
 * of all of it as it was. */
#include "described.h"

#include "residency/run/tuned.h"
#include "support/failing.h"
#include "support/files.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES 8

static char folder[BL_TEST_PATH], path[BL_TEST_PATH], aside[BL_TEST_PATH + 16];

static int open_folder(void **state) {
    (void)state;
    bl_test_folder(folder);
    bl_test_join(path, folder, BL_CALIBRATION_FILE);
    snprintf(aside, sizeof aside, "%s.damaged", path);
    return 0;
}

static int close_folder(void **state) {
    (void)state;
    bl_test_folder_remove(folder);
    return 0;
}

typedef struct said {
    int lines;
    char last[512];
} said;

static void note(void *payload, bl_log_level level, const char *line) {
    said *s = payload;
    (void)level;
    s->lines++;
    snprintf(s->last, sizeof s->last, "%s", line);
}

/* One module and phase; what a ledger says of it is learned. */
static bl_problem *small_problem(double seconds) {
    bl_problem *p;
    bl_problem_block block = {.name = "b", .bytes = 1000000, .copy_seconds = -1, .resident_at = BL_NOWHERE};
    int number;
    bl_sim_card card = described_card();
    CHECK(bl_problem_new(&p, &described_error));
    CHECK(bl_problem_add_module(&number, p, "m", "bf16", &block, 1, &described_error));
    CHECK(bl_problem_add_phase(&number, p, "p", "work", 0, 1, 1000, &seconds, &described_error));
    described_finish(p, &card);
    return p;
}

static bl_calibration_key key_of(void) {
    static const char *const names[] = {"1x8x8"}, *const models[] = {"m"};
    return (bl_calibration_key){.device = "d", .models = models, .dtype = "bf16", .shapes = names};
}

/* Opens the file and learns from one generation. 0, or the error. */
static int learn(double seconds, said *s, bl_error *err) {
    bl_log log = {note, s};
    bl_sim_card card = described_card();
    bl_calibration_key key = key_of();
    bl_offload_settings settings = bl_offload_defaults();
    bl_calibration *c = NULL;
    bl_plan *plan = NULL;
    bl_problem *p = small_problem(seconds);
    described_machine x;
    machine_open(&x, p, &card, NULL);
    CHECK(bl_plan_make(&plan, p, &settings, &described_error));
    CHECK(machine_run(&x, p, plan, &described_error));
    int rc = bl_calibration_open(&c, path, &log, err);
    rc = rc ? rc : bl_calibration_learn(c, &key, p, plan, &x.ledger, err);
    bl_calibration_close(&c);
    bl_plan_free(&plan);
    machine_close(&x);
    bl_problem_free(&p);
    return rc;
}

/* How many phases the file knows; the error, if there is one, below 0. */
static int known(said *s, bl_error *err) {
    bl_log log = {note, s};
    bl_calibration_key key = key_of();
    bl_calibration *c = NULL;
    bl_problem *p = small_problem(1);
    int phases = 0, rc = bl_calibration_open(&c, path, &log, err);
    rc = rc ? rc : bl_calibration_apply(c, &key, p, &phases, err);
    bl_calibration_close(&c);
    bl_problem_free(&p);
    return rc ? rc : phases;
}

static void expect_good_file(const char *when) {
    said s = {0};
    if (known(&s, &described_error) != 1 || s.lines || !access(aside, F_OK)) {
        fail_msg("%s: the file is not as it was: %s", when, s.last);
    }
}

/* All begin with no file, at once; nobody's file is thrown away, all measurements are kept. */
static void processes_at_once(void **state) {
    (void)state;
    for (int round = 0; round < 10; round++) {
        int go[2];
        pid_t child[PROCESSES];
        unlink(path);
        assert_int_equal(pipe(go), 0);
        for (int i = 0; i < PROCESSES; i++) {
            child[i] = fork();
            if (!child[i]) {
                char byte;
                said s = {0};
                close(go[1]);
                ssize_t n = read(go[0], &byte, 1); /* until the parent closes its end */
                bool fine = n == 0 && !learn(1e-3, &s, NULL) && !s.lines && known(&s, NULL) == 1 && !s.lines;
                _exit(fine ? 0 : 1);
            }
        }
        close(go[0]);
        close(go[1]);
        for (int i = 0; i < PROCESSES; i++) {
            int status = 1;
            assert_true(child[i] > 0 && waitpid(child[i], &status, 0) == child[i]);
            assert_int_equal(status, 0);
        }
        expect_good_file("after all of them");
    }
}

static void memory_runs_out(void **state) {
    (void)state;
    said s = {0};
    assert_int_equal(learn(1e-3, &s, &described_error), 0);
    for (long n = 0;; n++) {
        bl_error err = {0};
        bl_test_fail(n);
        bl_log log = {note, &s};
        bl_calibration *c = NULL;
        int rc = bl_calibration_open(&c, path, &log, &err);
        bool reached = bl_test_failed();
        if (rc && (rc != BL_E_MEMORY || c || strncmp(err.message, "out of memory", 13) != 0)) {
            fail_msg("allocation %ld: code %d, %s", n, rc, err.message);
        }
        assert_int_equal(s.lines, 0);
        bl_calibration_close(&c);
        if (!reached) {
            print_message("%ld allocations\n", n);
            break;
        }
    }
    expect_good_file("no memory");
}

/* As after `ulimit -f`: what would be written is refused. */
static void disk_is_full(void **state) {
    (void)state;
    struct rlimit before, tight;
    said s = {0};
    bl_error err = {0};
    assert_int_equal(learn(1e-3, &s, &described_error), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    void (*old)(int) = signal(SIGXFSZ, SIG_IGN);
    tight = (struct rlimit){.rlim_cur = 100, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
    int rc = learn(2e-3, &s, &err), phases = known(&s, &err);
    struct stat there;
    assert_int_equal(stat(path, &there), 0);
    unlink(path);
    said fresh = {0};
    int in_memory = known(&fresh, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, old);
    assert_int_equal(rc, BL_E_IO);
    assert_int_equal(phases, 1);
    assert_int_equal(s.lines, 0);
    assert_int_equal(in_memory, 0);
    assert_int_equal(fresh.lines, 1);
    assert_non_null(strstr(fresh.last, "cannot be used"));
    assert_int_equal(access(aside, F_OK), -1);
}

/* Another process holds the file for longer than we wait. */
static void locked_file_is_left_alone(void **state) {
    (void)state;
    said s = {0};
    sqlite3 *db = NULL;
    assert_int_equal(learn(1e-3, &s, &described_error), 0);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(known(&s, &described_error), 0);
    assert_int_equal(s.lines, 1);
    assert_non_null(strstr(s.last, "cannot be used (database is locked)"));
    sqlite3_close(db);
    expect_good_file("locked");
}

/* And no more than it is what was tuned taken to be nothing, which would be shown, and exported. */
static void locked_entries_are_not_none(void **state) {
    (void)state;
    bl_calibration *c = NULL;
    bl_tuned t = {
        .device = "d", .model = "m", .shape = "s", .tuning.level = 1, .untuned_seconds = 2, .seconds = 1};
    bl_tuned *list;
    bl_error err = {0};
    sqlite3 *db = NULL;
    int count;
    CHECK(bl_calibration_open(&c, path, NULL, &described_error));
    CHECK(bl_tuned_keep(c, &t, &described_error));
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(bl_tuned_list(&list, &count, c, &err), BL_E_IO);
    assert_string_equal(err.message, "what was tuned could not be read: database is locked");
    assert_true(!list && !count);
    sqlite3_close(db);
    CHECK(bl_tuned_list(&list, &count, c, &described_error));
    assert_int_equal(count, 1);
    free(list);
    bl_calibration_close(&c);
}

/* Files of versions before: without what was tuned; without what is on trial. They know what they knew, and
 * learn what is new. */
static void older_files_are_kept(void **state) {
    (void)state;
    static const char *const older[] = {
        "DROP TABLE tuned; DROP TABLE beside",
        "DROP TABLE tuned; DROP TABLE beside;"
        "CREATE TABLE tuned (device TEXT, model TEXT, dtype TEXT, module TEXT, shape TEXT, version TEXT, "
        "choices TEXT, untuned REAL, seconds REAL, psnr REAL, runs INTEGER, slower INTEGER,"
        " PRIMARY KEY (device, model, dtype, module, shape, version)) WITHOUT ROWID;"
        "INSERT INTO tuned VALUES ('d', 'm', 'F32', 'unet', '1x8x8', '1', 'threads=2', 2, 1, 0, 4, 1)"};
    for (int i = 0; i < 2; i++) {
        bl_tuned t = {
            .device = "d", .model = "m", .dtype = "F32", .module = "unet", .shape = "1x8x8", .version = "1"};
        bl_calibration *c = NULL;
        said s = {0};
        bl_log log = {note, &s};
        sqlite3 *db = NULL;
        assert_int_equal(learn(1e-3, &s, &described_error), 0);
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, older[i], NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
        CHECK(bl_calibration_open(&c, path, &log, &described_error));
        assert_int_equal(bl_tuned_find(&t, c), i);
        if (i) {
            assert_true(t.tuning.threads == 2 && t.untuned_seconds == 2 && t.runs == 4 && t.slower == 1);
            assert_false(t.on_trial || bl_tuned_goes_without(&t) || bl_tuned_note(c, &t, 3, false));
            assert_true(bl_tuned_find(&t, c) && t.runs == 5 && t.slower == 2 && t.with_logs > 0);
        }
        t.tuning.threads = 2;
        t.untuned_seconds = t.seconds = 1;
        t.on_trial = true;
        CHECK(bl_tuned_keep(c, &t, &described_error));
        bl_calibration_close(&c);
        CHECK(bl_calibration_open(&c, path, &log, &described_error)); /* as a file of now */
        assert_true(bl_tuned_find(&t, c) && t.on_trial);
        bl_calibration_close(&c);
        assert_int_equal(s.lines, 0);
        expect_good_file("of a version before");
    }
}

static void damaged_file_is_kept_under_another_name(void **state) {
    (void)state;
    static const char noise[] = "this is no database, but it may be somebody's";
    said s = {0};
    for (int i = 0; i < 2; i++) { /* the second takes the first one's place */
        bl_test_write(path, noise, sizeof noise);
        assert_int_equal(learn(1e-3, &s, &described_error), 0);
        assert_int_equal(s.lines, i + 1);
        assert_non_null(strstr(s.last, ".damaged now"));
        struct stat kept;
        assert_int_equal(stat(aside, &kept), 0);
        assert_int_equal(kept.st_size, sizeof noise);
        assert_int_equal(known(&s, &described_error), 1);
    }
}

int main(void) {
    if (!bl_test_fail_sqlite()) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(processes_at_once, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(memory_runs_out, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(disk_is_full, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(locked_file_is_left_alone, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(locked_entries_are_not_none, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(older_files_are_kept, open_folder, close_folder),
        cmocka_unit_test_setup_teardown(damaged_file_is_kept_under_another_name, open_folder, close_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
