/* Hints as users get them: each kind really comes, with the numbers of the generation; where nothing is wrong
 * none does. What copies and blocks take is written into the calibration, so that it hangs on no clock. */
#include "pipeline/rig.h"

#include "residency/run/calibration.h"

#include "device/cpu/cpu.h"

#include <sqlite3.h>

#define SIDE 64
#define CALIBRATION BL_CALIBRATION_FILE

/* The last hint that was said, without "Hint: "; how many were. */
typedef struct hints {
    char text[512];
    int count;
} hints;

static void take_hint(void *payload, int level, const char *line) {
    hints *h = payload;
    (void)level;
    if (!strncmp(line, "Hint: ", 6)) {
        snprintf(h->text, sizeof h->text, "%s", line + 6);
        h->count++;
    }
}

/* One folder of measurements, one model in it at a time. */
typedef struct room {
    char folder[BL_TEST_PATH], file[BL_TEST_PATH], checkpoint[BL_TEST_PATH];
    rig_studio studio;
    hints said;
    rig_pictures got;
    ballast_generate_options o;
} room;

static void open_model(room *r, const char *dtype, const char *vae_dtype) {
    ballast_error err = {0};
    ballast_context_options co;
    ballast_context_options_init(&co, sizeof co);
    ballast_model_options mo;
    ballast_model_options_init(&mo, sizeof mo);
    rig_close(&r->studio);
    co.cache_dir = r->folder;
    co.log = take_hint;
    co.log_payload = &r->said;
    mo.path = r->checkpoint;
    mo.dtype = dtype;
    mo.vae_dtype = vae_dtype;
    if (ballast_context_open(&r->studio.context, &co, &err) ||
        ballast_model_open(&r->studio.model, r->studio.context, &mo, &err)) {
        fail_msg("%s", err.message);
    }
}

static void open_room(room *r) {
    *r = (room){0};
    bl_test_folder(r->folder);
    bl_test_join(r->file, r->folder, CALIBRATION);
    bl_synth_checkpoint(r->checkpoint, "sd15", BL_SYNTH_SINGLE);
    r->o = rig_request(&r->got, SIDE);
}

static void close_room(room *r) {
    rig_close(&r->studio);
    rig_release(&r->got);
    bl_test_folder_remove(r->folder);
}

static void measured(const room *r, const char *sql) {
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(r->file, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    }
    sqlite3_close(db);
}

/* Makes a picture; its hint, "" for none. */
static const char *hint_of(room *r) {
    r->said = (hints){0};
    r->o.hints = 1;
    rig_make(&r->studio, &r->o);
    assert_true(r->said.count <= 1);
    assert_null(strstr(r->said.text, " 0.0 s")); /* these pictures take parts of a second */
    return r->said.text;
}

static void expect(room *r, const char *begin, const char *end) {
    const char *hint = hint_of(r);
    if (!strstr(hint, begin) || !strstr(hint, end)) {
        fail_msg("no \"%s ... %s\" in the hint \"%s\"", begin, end, hint);
    }
    r->o.hints = 0; /* --no-hint */
    rig_make(&r->studio, &r->o);
    assert_int_equal(r->said.count, 1);
}

/* Of first copies and of later ones, which a single picture has none of. */
#define SLOW_COPIES                                                                                   \
    "INSERT OR REPLACE INTO copies SELECT device, replace(dtype, ', first', ''), class, bytes, 1000 " \
    "FROM copies;"                                                                                    \
    "UPDATE copies SET seconds = 1000"
#define FAST_COPIES "UPDATE copies SET seconds = 1e-9"

/* The rule that does not look ahead throws the UNet out and brings it back. */
static void test_fit_check(void **state) {
    room r;
    (void)state;
    open_room(&r);
    open_model(&r, "f32", NULL);
    rig_add_hires(&r.o);
    r.o.count = 1;
    rig_make(&r.studio, &r.o);
    measured(&r, SLOW_COPIES);
    r.o.offload = "balanced";
    r.o.never = "";
    r.o.low = 1e-6;
    r.o.fit_check = 0;
    expect(&r, " MB) was loaded 2x although the working set (", ": --fit-check on saves about ");
    r.o.fit_check = 1;
    open_model(&r, "f32", NULL);
    assert_string_equal(hint_of(&r), "");
    close_room(&r);
}

/* What is loaded once for each picture could have stayed for the next; so in one request, and in several of
 * one program. */
static void test_between_pictures(void **state) {
    room r;
    (void)state;
    open_room(&r);
    open_model(&r, "f32", NULL);
    r.o.count = 1;
    rig_make(&r.studio, &r.o);
    measured(&r, SLOW_COPIES);
    for (int count = 1; count <= 2; count++) {
        r.o.count = count;
        r.o.offload = "model";
        expect(&r, "--offload auto saves about ", " s of each ");
        r.o.offload = "balanced";
        r.o.never = "";
        r.o.low = 1e-6;
        r.o.fit_check = 0;
        expect(&r, " MB) was loaded again although the working set (", ": --fit-check on saves about ");
        r.o.offload = "auto";
        assert_string_equal(hint_of(&r), "");
    }
    open_model(&r, "f32", NULL); /* one picture by itself has to load everything */
    r.o.count = 1;
    r.o.offload = "model";
    assert_string_equal(hint_of(&r), "");
    close_room(&r);
}

static void test_more_budget(void **state) {
    room r;
    (void)state;
    open_room(&r);
    open_model(&r, "f32", NULL);
    rig_make(&r.studio, &r.o);
    measured(&r, SLOW_COPIES);
    rig_size least = rig_bytes(rig_planned(&r.studio, &r.o, "min_budget_bytes"));
    r.o.budget = least.text;
    expect(&r, " more budget (", " s becomes about ");
    r.o.budget = NULL;
    assert_string_equal(hint_of(&r), "");
    close_room(&r);
}

/* bf16 where it is fast, was measured, and everything else is as it should be. Without figures nothing is
 * promised. */
static void test_bf16(void **state) {
    bl_device *device;
    bl_device_caps caps;
    bl_error err;
    room r;
    (void)state;
    assert_int_equal(bl_cpu_open(&device, NULL, &err), 0);
    caps = bl_device_caps_of(device);
    bl_device_close(&device);
    open_room(&r);
    open_model(&r, "f32", NULL);
    assert_string_equal(hint_of(&r), "");
    measured(&r, FAST_COPIES ";UPDATE blocks SET seconds = 1");
    assert_string_equal(hint_of(&r), "");
    if (caps.bf16_fast) {
        open_model(&r, "bf16", "f32");
        rig_make(&r.studio, &r.o);
        measured(&r, FAST_COPIES ";UPDATE blocks SET seconds = CASE dtype WHEN 'BF16' THEN 1e-9 ELSE 1 END");
        assert_string_equal(hint_of(&r), ""); /* the VAE was never seen in bf16 */
        open_model(&r, "f32", "f32");
        expect(&r, "bf16 halves the weights (", " MB): --dtype bf16 saves about ");
        open_model(&r, "bf16", NULL);
        rig_make(&r.studio, &r.o);
        measured(&r, FAST_COPIES ";UPDATE blocks SET seconds = CASE dtype WHEN 'BF16' THEN 1e-9 ELSE 1 END");
        assert_string_equal(hint_of(&r), "");
        open_model(&r, "bf16", "f32");
        expect(&r, "bf16 halves the weights (", " MB): --vae-dtype bf16 saves about ");
    } else {
        measured(&r, "UPDATE blocks SET dtype = 'BF16', seconds = 1e-9");
        assert_string_equal(hint_of(&r), "");
    }
    close_room(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fit_check),
        cmocka_unit_test(test_between_pictures),
        cmocka_unit_test(test_more_budget),
        cmocka_unit_test(test_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
