#include "residency/run/tuned.h"

#include "residency/run/calibration_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOWER 1.05

void bl_tuned_device(char out[128], const char *name) {
    const char *at = name;
    int n = 0;
    char word[8];
    while ((at = strstr(at, ", ")) &&
           !(sscanf(at, ", %*d %7[a-z]%n", word, &n) == 1 && !strncmp(word, "thread", 6))) {
        at++;
    }
    snprintf(out, 128, "%.*s%s", (int)(at ? at - name : 127), name, at ? at + n : "");
}

/* `done`: what should have been done with it. */
static int fail_to(const char *done, const bl_calibration *c, bl_error *err) {
    sqlite3 *db = bl_calibration_database(c);
    return bl_fail(err, (sqlite3_errcode(db) & 0xff) == SQLITE_NOMEM ? BL_E_MEMORY : BL_E_IO,
                   "what was tuned could not be %s: %s", done, sqlite3_errmsg(db));
}

static int fail(const bl_calibration *c, bl_error *err) {
    return fail_to("kept", c, err);
}

/* NULL: as in sqlite3_prepare_v2's failure. */
static sqlite3_stmt *prepare(const bl_calibration *c, const char *sql) {
    sqlite3_stmt *s = NULL;
    return sqlite3_prepare_v2(bl_calibration_database(c), sql, -1, &s, NULL) == SQLITE_OK ? s : NULL;
}

#define NAMES "device = ?1 AND model = ?2 AND dtype = ?3 AND module = ?4 AND shape = ?5 AND version = ?6"

static void bind_names(sqlite3_stmt *s, const bl_tuned *t) {
    const char *const names[] = {t->device, t->model, t->dtype, t->module, t->shape, t->version};
    for (int i = 0; i < 6; i++) {
        sqlite3_bind_text(s, i + 1, names[i], -1, SQLITE_STATIC);
    }
}

static bool good(double seconds) {
    return isfinite(seconds) && seconds > 0 && seconds < 1e6;
}

#define COLUMNS "choices, untuned, seconds, psnr, runs, slower, trial, runs_without, with_logs, without_logs"

/* COLUMNS, from `first` on. False where they cannot be. */
static bool read_row(bl_tuned *t, sqlite3_stmt *s, int first) {
    bl_error ignored = {0};
    const char *choices = (const char *)sqlite3_column_text(s, first);
    t->untuned_seconds = sqlite3_column_double(s, first + 1);
    t->seconds = sqlite3_column_double(s, first + 2);
    t->psnr = sqlite3_column_double(s, first + 3);
    t->runs = sqlite3_column_int(s, first + 4);
    t->slower = sqlite3_column_int(s, first + 5);
    t->on_trial = sqlite3_column_int(s, first + 6) != 0;
    t->without = sqlite3_column_int(s, first + 7);
    t->with_logs = sqlite3_column_double(s, first + 8);
    t->without_logs = sqlite3_column_double(s, first + 9);
    const bool counts = t->slower >= 0 && t->slower <= t->runs && t->without >= 0 && t->without <= t->runs &&
                        t->runs <= BL_TUNED_RUNS;
    return counts && choices && !bl_tuning_parse(&t->tuning, choices, &ignored) && good(t->untuned_seconds) &&
           good(t->seconds) && isfinite(t->psnr) && t->psnr >= 0;
}

bool bl_tuned_find(bl_tuned *out, const bl_calibration *c) {
    sqlite3_stmt *s = prepare(c, "SELECT " COLUMNS " FROM tuned WHERE " NAMES);
    bool found = false;
    if (s) {
        bind_names(s, out);
        found = sqlite3_step(s) == SQLITE_ROW && read_row(out, s, 0);
    }
    sqlite3_finalize(s);
    return found;
}

int bl_tuned_keep(bl_calibration *c, const bl_tuned *t, bl_error *err) {
    sqlite3_stmt *s =
        prepare(c, "INSERT OR REPLACE INTO tuned (device, model, dtype, module, shape, version, " COLUMNS
                   ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)");
    char choices[BL_TUNING_TEXT];
    bool fine = s != NULL;
    if (fine) {
        bl_tuning_text(choices, &t->tuning);
        bind_names(s, t);
        sqlite3_bind_text(s, 7, choices, -1, SQLITE_STATIC);
        sqlite3_bind_double(s, 8, t->untuned_seconds);
        sqlite3_bind_double(s, 9, t->seconds);
        sqlite3_bind_double(s, 10, t->psnr);
        sqlite3_bind_int(s, 11, t->runs);
        sqlite3_bind_int(s, 12, t->slower);
        sqlite3_bind_int(s, 13, t->on_trial);
        sqlite3_bind_int(s, 14, t->without);
        sqlite3_bind_double(s, 15, t->with_logs);
        sqlite3_bind_double(s, 16, t->without_logs);
        fine = sqlite3_step(s) == SQLITE_DONE;
    }
    int result = fine ? 0 : fail(c, err);
    sqlite3_finalize(s);
    return result;
}

int bl_tuned_keep_all(bl_calibration *c, const bl_tuned *list, int count, bl_error *err) {
    sqlite3 *db = bl_calibration_database(c);
    int result = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL) ? fail(c, err) : 0;
    if (result) {
        return result;
    }
    for (int i = 0; i < count && !result; i++) {
        result = bl_tuned_keep(c, &list[i], err);
    }
    if (sqlite3_exec(db, result ? "ROLLBACK" : "COMMIT", NULL, NULL, NULL) && !result) {
        result = fail(c, err);
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    }
    return result;
}

/* Of column i; cut to its room. */
static void read_name(char *out, size_t room, sqlite3_stmt *s, int i) {
    const char *text = (const char *)sqlite3_column_text(s, i);
    snprintf(out, room, "%s", text ? text : "");
}

int bl_tuned_list(bl_tuned **out, int *count, const bl_calibration *c, bl_error *err) {
    *out = NULL;
    *count = 0;
    int room = 0, result = 0, step = SQLITE_ROW;
    sqlite3_stmt *s = prepare(c, "SELECT device, model, dtype, module, shape, version, " COLUMNS
                                 " FROM tuned ORDER BY 1, 2, 3, 4, 5, 6");
    while (s && !result && *count < BL_TUNED_MOST && (step = sqlite3_step(s)) == SQLITE_ROW) {
        if (*count == room) {
            room = room ? 2 * room : 16;
            bl_tuned *list = realloc(*out, (size_t)room * sizeof *list);
            result = list ? 0 : bl_fail_memory(err, "what was tuned", (size_t)room * sizeof *list);
            *out = list ? list : *out;
        }
        if (!result) {
            bl_tuned *t = &(*out)[*count];
            *t = (bl_tuned){0};
            read_name(t->device, sizeof t->device, s, 0);
            read_name(t->model, sizeof t->model, s, 1);
            read_name(t->dtype, sizeof t->dtype, s, 2);
            read_name(t->module, sizeof t->module, s, 3);
            read_name(t->shape, sizeof t->shape, s, 4);
            read_name(t->version, sizeof t->version, s, 5);
            *count += read_row(t, s, 6);
        }
    }
    if (!result && (!s || (step != SQLITE_ROW && step != SQLITE_DONE))) {
        result = fail_to("read", c, err);
    }
    sqlite3_finalize(s);
    if (result) {
        free(*out);
        *out = NULL;
        *count = 0;
    }
    return result;
}

int bl_tuned_forget(int *count, bl_calibration *c, const char *model, bl_error *err) {
    sqlite3_stmt *s = prepare(c, "DELETE FROM tuned WHERE ?1 IS NULL OR model = ?1");
    bool fine = s != NULL;
    if (fine && model) {
        sqlite3_bind_text(s, 1, model, -1, SQLITE_STATIC);
    }
    fine = fine && sqlite3_step(s) == SQLITE_DONE;
    *count = fine ? sqlite3_changes(bl_calibration_database(c)) : 0;
    int result = fine ? 0 : fail(c, err);
    sqlite3_finalize(s);
    return result;
}

/* Deletes the entry. False where it was not done. */
static bool drop(bl_calibration *c, const bl_tuned *t) {
    sqlite3_stmt *s = prepare(c, "DELETE FROM tuned WHERE " NAMES);
    bool done = false;
    if (s) {
        bind_names(s, t);
        done = sqlite3_step(s) == SQLITE_DONE;
    }
    sqlite3_finalize(s);
    return done;
}

int bl_tuned_drop(bl_calibration *c, const bl_tuned *t, bl_error *err) {
    return drop(c, t) ? 0 : fail(c, err);
}

/* Its runs; not what was tuned, which somebody else may have changed meanwhile. Where that fails, it costs
 * nothing but the note. */
static void note(bl_calibration *c, const bl_tuned *t) {
    sqlite3_stmt *s =
        prepare(c, "UPDATE tuned SET runs = ?7, slower = ?8, runs_without = ?9, with_logs = ?10, "
                   "without_logs = ?11 WHERE " NAMES);
    if (s) {
        bind_names(s, t);
        sqlite3_bind_int(s, 7, t->runs);
        sqlite3_bind_int(s, 8, t->slower);
        sqlite3_bind_int(s, 9, t->without);
        sqlite3_bind_double(s, 10, t->with_logs);
        sqlite3_bind_double(s, 11, t->without_logs);
        (void)sqlite3_step(s);
    }
    sqlite3_finalize(s);
}

/* Every third, beginning with the second: 3 of 10. */
bool bl_tuned_goes_without(const bl_tuned *t) {
    return t->on_trial && t->runs % BL_TUNED_WITHOUT == 1;
}

/* What is on trial helped, or there was nothing to hold it against. */
static bool helps(const bl_tuned *t) {
    const int with = t->runs - t->without;
    return !with || !t->without || t->with_logs / with < t->without_logs / t->without;
}

bool bl_tuned_note(bl_calibration *c, const bl_tuned *t, double seconds, bool without) {
    bl_tuned now = *t;
    if (!good(seconds) || !bl_tuned_find(&now, c)) {
        return false;
    }
    now.runs++;
    now.slower += seconds > SLOWER * now.untuned_seconds;
    now.without += without;
    *(without ? &now.without_logs : &now.with_logs) += log(seconds);
    if (now.runs >= BL_TUNED_RUNS) {
        if (now.on_trial ? !helps(&now) : 2 * now.slower > now.runs) {
            return drop(c, &now);
        }
        now.runs = now.slower = now.without = 0;
        now.with_logs = now.without_logs = 0;
    }
    note(c, &now);
    return false;
}
