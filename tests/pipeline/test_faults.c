/* What goes wrong between the plan and the picture: memory that vanishes, files that change while weights are
 * streamed from them, work that is stopped in the middle of a copy, measurements that are damaged. */
#include "pipeline/rig.h"

#include "residency/run/calibration.h"

#include <fcntl.h>
#include <malloc.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define SIDE 64

/* ---- vanished memory */

#define VANISH_SIDE 128 /* regions far above what a generation allocates beside them */

/* In a process of its own: an ample budget is planned with, but the system no longer gives that much. Prints
 * the warnings and whether the picture is the same. */
static int child_vanish(char **argv) {
    rig_studio s;
    rig_pictures wanted = {0}, got = {0};
    /* What is freed stays with the process: only the region asks for more under the limit. */
    mallopt(M_MMAP_THRESHOLD, 1 << 28);
    mallopt(M_TRIM_THRESHOLD, 1 << 28);
    mallopt(M_TOP_PAD, 32 << 20);
    rig_open(&s, argv[2], "f32", "");
    ballast_generate_options o = rig_request(&wanted, VANISH_SIDE);
    uint64_t full = rig_planned(&s, &o, "working_set_bytes");
    rig_size least = rig_bytes(rig_planned(&s, &o, "min_budget_bytes"));
    uint64_t small = strtoull(least.text, NULL, 10);
    o.budget = least.text;
    o.offload = "sequential";
    rig_make(&s, &o);
    /* Without the region that is open now, room for a little more than half way from least to all. */
    uint64_t room = small + (full - small) * 6 / 10;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
    limit.rlim_cur = rig_status("VmSize") - small + room;
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    rig_size ample = rig_bytes(full);
    o.budget = ample.text;
    o.offload = argv[3];
    o.payload = &got;
    json_t *report = rig_generate(&s, &o);
    uint64_t peak = rig_figure(report, 0, "plan", "peak_bytes");
    bool same = got.bytes == wanted.bytes && !memcmp(got.rgb, wanted.rgb, got.bytes);
    printf("%d %d %d %d %s\n", same, peak <= room, peak == rig_figure(report, 0, "ledger", "peak_bytes"),
           s.warnings, s.warning);
    json_decref(report);
    rig_release(&wanted);
    rig_release(&got);
    rig_close(&s);
    return 0;
}

static void test_vanished_memory(void **state) {
    static const char *const modes[] = {"auto", "none", "balanced"};
    char checkpoint[BL_TEST_PATH], line[1024], word[] = "vanish";
    (void)state;
#if defined(__SANITIZE_ADDRESS__)
    skip(); /* its shadow needs more addresses than any limit */
#endif
    bl_synth_checkpoint(checkpoint, "sdxl", BL_SYNTH_SINGLE);
    for (int m = 0; m < 3; m++) {
        int same = 0, fits = 0, exact = 0, warnings = 0;
        char mode[16];
        snprintf(mode, sizeof mode, "%s", modes[m]);
        int code = rig_again(line, sizeof line, (char *[]){word, checkpoint, mode, NULL});
        if (code || sscanf(line, "%d %d %d %d", &same, &fits, &exact, &warnings) != 4 || !same || !fits ||
            !exact || warnings != 1 || !strstr(line, "planning again with")) {
            fail_msg("offload %s, code %d: %s", mode, code, line);
        }
    }
}

/* ---- files that change under way */

typedef enum change { CUT_SHORT, WRITTEN_TO, RENAMED_OVER } change;

typedef struct saboteur {
    rig_pictures pictures;
    change change;
    const char *path, *other;
    bool done;
} saboteur;

static int saboteur_take(void *payload, const ballast_image *image) {
    saboteur *s = payload;
    return rig_take(&s->pictures, image);
}

/* After the first of two steps, when every block has been read once and will be again. */
static int sabotage(void *payload, const ballast_progress *progress) {
    static const char noise[64] = "these are no weights";
    saboteur *s = payload;
    if (s->done || strcmp(progress->stage, "denoise") != 0 || progress->step != 1) {
        return 0;
    }
    s->done = true;
    if (s->change == RENAMED_OVER) {
        return rename(s->other, s->path);
    }
    if (s->change == CUT_SHORT) {
        return truncate(s->path, 1 << 20);
    }
    int fd = open(s->path, O_WRONLY | O_CLOEXEC);
    ssize_t written = pwrite(fd, noise, sizeof noise, 5 << 20);
    return close(fd) || written != (ssize_t)sizeof noise;
}

/* Streams from a copy that changes while the UNet runs; returns ballast_generate's code. */
static int stream_from_changing(saboteur *s, change how, const char *offload, ballast_error *err) {
    char checkpoint[BL_TEST_PATH], folder[BL_TEST_PATH], copy[BL_TEST_PATH], other[BL_TEST_PATH];
    rig_studio studio;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    bl_test_folder(folder);
    bl_test_join(copy, folder, "model.safetensors");
    bl_test_join(other, folder, "other.safetensors");
    rig_copy(copy, checkpoint);
    bl_test_write(other, "another file", 12);
    *s = (saboteur){.change = how, .path = copy, .other = other};
    rig_open(&studio, copy, "f32", "");
    ballast_generate_options o = rig_request(NULL, SIDE);
    rig_size least = rig_bytes(rig_planned(&studio, &o, "min_budget_bytes"));
    o.offload = offload;
    o.budget = least.text;
    o.image = saboteur_take;
    o.progress = sabotage;
    o.payload = s;
    int rc = ballast_generate(NULL, studio.model, &o, err);
    assert_true(s->done);
    if (rc) { /* and it stays refused, not half remembered */
        ballast_error again = {0};
        assert_int_equal(ballast_generate(NULL, studio.model, &o, &again), rc);
        assert_string_equal(again.message, err->message);
    }
    rig_close(&studio);
    bl_test_folder_remove(folder);
    return rc;
}

static void test_cut_short(void **state) {
    static const char *const modes[] = {"sequential", "auto"};
    saboteur s;
    ballast_error err = {0};
    (void)state;
    for (int m = 0; m < 2; m++) {
        assert_int_equal(stream_from_changing(&s, CUT_SHORT, modes[m], &err), BALLAST_E_IO);
        assert_non_null(strstr(err.message, "model.safetensors was changed while in use"));
        assert_int_equal(s.pictures.count, 0);
    }
}

static void test_written_to(void **state) {
    static const char *const modes[] = {"sequential", "auto"};
    saboteur s;
    ballast_error err = {0};
    (void)state;
    for (int m = 0; m < 2; m++) {
        assert_int_equal(stream_from_changing(&s, WRITTEN_TO, modes[m], &err), BALLAST_E_IO);
        assert_non_null(strstr(err.message, "model.safetensors was written to while in use"));
        assert_int_equal(s.pictures.count, 0);
    }
}

/* The picture of the untouched checkpoint. */
static void undisturbed(rig_pictures *wanted) {
    char checkpoint[BL_TEST_PATH];
    rig_studio s;
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    rig_open(&s, checkpoint, "f32", "");
    ballast_generate_options o = rig_request(wanted, SIDE);
    rig_make(&s, &o);
    rig_close(&s);
}

/* A new file under the name: the old one is open and goes on being read. */
static void test_renamed_over(void **state) {
    saboteur s;
    rig_pictures wanted = {0};
    ballast_error err = {0};
    (void)state;
    undisturbed(&wanted);
    if (stream_from_changing(&s, RENAMED_OVER, "sequential", &err)) {
        fail_msg("%s", err.message);
    }
    rig_same(&s.pictures, &wanted, "the old file");
    rig_release(&s.pictures);
    rig_release(&wanted);
}

/* ---- stopped */

typedef struct stopper {
    rig_pictures pictures;
    int calls, stop_at; /* number of the call that says stop; 0: none */
} stopper;

static int stopper_take(void *payload, const ballast_image *image) {
    stopper *s = payload;
    return rig_take(&s->pictures, image);
}

static int stop(void *payload, const ballast_progress *progress) {
    stopper *s = payload;
    (void)progress;
    return ++s->calls == s->stop_at;
}

/* Stopped before a copy, between blocks, between steps, while decoding: the next generation is right, with
 * whatever the stopped one left on the device. */
static void check_stops(const char *offload, bool ample, const rig_pictures *wanted) {
    enum { places = 12 };
    char checkpoint[BL_TEST_PATH];
    rig_studio studio;
    ballast_error err = {0};
    stopper s = {0};
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    rig_open(&studio, checkpoint, "f32", "");
    ballast_generate_options o = rig_request(NULL, SIDE);
    o.offload = offload;
    o.image = stopper_take;
    o.progress = stop;
    o.payload = &s;
    uint64_t least = rig_planned(&studio, &o, "min_budget_bytes");
    rig_size budget = rig_bytes(ample ? rig_planned(&studio, &o, "working_set_bytes") : least + least / 2);
    o.budget = budget.text;
    rig_make(&studio, &o);
    rig_same(&s.pictures, wanted, offload);
    s.calls = 0; /* now with what is resident */
    rig_make(&studio, &o);
    int calls = s.calls, stopped = 0;
    assert_true(calls > 50); /* it is asked before each block */
    for (int i = 0; i < places; i++) {
        rig_release(&s.pictures);
        s.calls = 0;
        s.stop_at = 1 + (calls - 1) * (2 * i + 1) / (2 * places);
        int result = ballast_generate(NULL, studio.model, &o, &err);
        if (s.calls < s.stop_at) { /* planned anew from measured times, with fewer moves to ask at */
            assert_int_equal(result, 0);
            rig_same(&s.pictures, wanted, "ended before the stop");
            continue;
        }
        stopped++;
        assert_int_equal(result, BALLAST_E_CANCELLED);
        assert_int_equal(s.calls, s.stop_at); /* nobody asks again */
        assert_int_equal(s.pictures.count, 0);
        if (i % 3 == 0) { /* else the next one is stopped too, on top of what this one left */
            s.stop_at = 0;
            rig_make(&studio, &o);
            rig_same(&s.pictures, wanted, "after a stop");
        }
    }
    assert_true(stopped >= places - 2);
    s.stop_at = 0;
    rig_release(&s.pictures);
    rig_make(&studio, &o);
    rig_same(&s.pictures, wanted, "after all stops");
    rig_release(&s.pictures);
    rig_close(&studio);
}

static void test_stopped(void **state) {
    rig_pictures wanted = {0};
    (void)state;
    undisturbed(&wanted);
    check_stops("sequential", false, &wanted);
    check_stops("auto", false, &wanted);
    check_stops("balanced", true, &wanted);
    rig_release(&wanted);
}

/* ---- calibration */

#define CALIBRATION BL_CALIBRATION_FILE

/* Opens the model with this cache, and makes the picture: how many phases' figures were known before and
 * after. */
static void calibrated(const char *folder, const rig_pictures *wanted, uint64_t *before, uint64_t *after) {
    char checkpoint[BL_TEST_PATH];
    rig_studio s;
    rig_pictures got = {0};
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    rig_open(&s, checkpoint, "f32", folder);
    ballast_generate_options o = rig_request(&got, SIDE);
    *before = rig_planned(&s, &o, "phases_measured");
    rig_make(&s, &o);
    o.prompt = "a photo of a red fox in the rain"; /* new, so that it is planned with the encoder */
    *after = rig_planned(&s, &o, "phases_measured");
    rig_same(&got, wanted, "with a calibration");
    rig_release(&got);
    rig_close(&s);
}

static void execute(const char *path, const char *sql) {
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    }
    sqlite3_close(db);
}

typedef void spoil_fn(const char *path);

static void spoil_noise(const char *path) {
    char noise[5000];
    for (size_t i = 0; i < sizeof noise; i++) {
        noise[i] = (char)(i * i >> 3);
    }
    bl_test_write(path, noise, sizeof noise);
}

static void spoil_empty(const char *path) {
    bl_test_write(path, "", 0);
}

static void spoil_half(const char *path) {
    struct stat s;
    assert_int_equal(stat(path, &s), 0);
    assert_true(s.st_size > 8192);
    assert_int_equal(truncate(path, s.st_size / 2 + 100), 0);
}

/* A page in the middle, behind a header that is whole. */
static void spoil_page(const char *path) {
    char noise[4096];
    memset(noise, 0x5a, sizeof noise);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, noise, sizeof noise, 4096), sizeof noise);
    close(fd);
}

static void spoil_machine(const char *path) {
    execute(path,
            "UPDATE blocks SET device = 'another machine'; UPDATE copies SET device = 'another machine'");
}

static void spoil_values(const char *path) {
    execute(path, "UPDATE blocks SET seconds = CASE block % 3 WHEN 0 THEN -1 WHEN 1 THEN 9e999 ELSE 'x' END;"
                  "UPDATE copies SET seconds = 'y', bytes = -1");
}

static void spoil_version(const char *path) {
    execute(path, "PRAGMA user_version = 99");
}

static void spoil_tables(const char *path) {
    execute(path, "DROP TABLE blocks; CREATE TABLE blocks (a TEXT)");
}

static void test_calibration(void **state) {
    static const struct {
        const char *name;
        spoil_fn *spoil;
    } ways[] = {{"noise", spoil_noise},     {"empty", spoil_empty},     {"half", spoil_half},
                {"a page", spoil_page},     {"machine", spoil_machine}, {"values", spoil_values},
                {"version", spoil_version}, {"tables", spoil_tables}};
    char folder[BL_TEST_PATH], path[BL_TEST_PATH];
    rig_pictures wanted = {0};
    uint64_t before, after, phases;
    (void)state;
    undisturbed(&wanted);
    bl_test_folder(folder);
    bl_test_join(path, folder, CALIBRATION);
    calibrated(folder, &wanted, &before, &phases);
    assert_int_equal(before, 0);
    assert_true(phases >= 3);
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        calibrated(folder, &wanted, &before, &after); /* it is kept */
        assert_int_equal(before, phases);
        ways[i].spoil(path);
        calibrated(folder, &wanted, &before, &after); /* it is measured again */
        if (before != 0 || after != phases) {
            fail_msg("%s: %d phases known before, %d after", ways[i].name, (int)before, (int)after);
        }
    }
    bl_test_folder_remove(folder);
    rig_release(&wanted);
}

/* Where no file can be, figures last as long as the model is open. */
static void test_calibration_folder(void **state) {
    char folder[BL_TEST_PATH], path[BL_TEST_PATH], inside[BL_TEST_PATH];
    rig_pictures wanted = {0};
    uint64_t before, after;
    (void)state;
    undisturbed(&wanted);
    bl_test_folder(folder);
    bl_test_join(inside, folder, CALIBRATION "/somebody's file");
    bl_test_write(inside, "text", 4);
    bl_test_join(path, folder, CALIBRATION);
    for (int i = 0; i < 2; i++) {
        calibrated(folder, &wanted, &before, &after);
        assert_int_equal(before, 0);
        assert_true(after >= 3);
    }
    assert_int_equal(access(inside, F_OK), 0);
    bl_test_folder_remove(folder);
    rig_release(&wanted);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vanished_memory),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_written_to),
        cmocka_unit_test(test_renamed_over),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_calibration),
        cmocka_unit_test(test_calibration_folder),
    };
    if (argc == 4 && !strcmp(argv[1], "vanish")) {
        return child_vanish(argv);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
