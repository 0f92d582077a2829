#include "residency/run/calibration_file.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { schema_version = 1, wait_ms = 2000 };

/* What trying to use a file came to. */
typedef enum verdict {
    USABLE,
    DAMAGED,  /* or not ours: it will not become better */
    UNUSABLE, /* now: locked, no permission, no room, no such folder */
    NO_MEMORY
} verdict;

static verdict judge(int rc) {
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return USABLE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return DAMAGED;
    case SQLITE_NOMEM:
        return NO_MEMORY;
    default:
        return UNUSABLE;
    }
}

static verdict run(sqlite3 *db, const char *sql) {
    return judge(sqlite3_exec(db, sql, NULL, NULL, NULL));
}

/* The version of the tables, and how many there are. */
static verdict look(sqlite3 *db, int *version, int *tables) {
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db,
                                "SELECT (SELECT user_version FROM pragma_user_version),"
                                " (SELECT count(*) FROM sqlite_master)",
                                -1, &s, NULL);
    rc = rc ? rc : sqlite3_step(s);
    if (rc == SQLITE_ROW) {
        *version = sqlite3_column_int(s, 0);
        *tables = sqlite3_column_int(s, 1);
    }
    sqlite3_finalize(s);
    return judge(rc);
}

/* Pages that hang together. */
static verdict check_pages(sqlite3 *db) {
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &s, NULL);
    rc = rc ? rc : sqlite3_step(s);
    verdict v = judge(rc);
    if (v == USABLE) {
        const unsigned char *text = sqlite3_column_text(s, 0);
        v = !text ? NO_MEMORY : strcmp((const char *)text, "ok") ? DAMAGED : USABLE;
    }
    sqlite3_finalize(s);
    return v;
}

/* All tables or none, whoever else opens the file for the first time meanwhile. */
static verdict make_tables(sqlite3 *db) {
    static const char schema[] =
        "CREATE TABLE blocks (device TEXT, model TEXT, dtype TEXT, shape TEXT, module TEXT, block INTEGER, "
        "seconds REAL,"
        " PRIMARY KEY (device, model, dtype, shape, module, block)) WITHOUT ROWID;"
        "CREATE TABLE copies (device TEXT, dtype TEXT, class INTEGER, bytes REAL, seconds REAL,"
        " PRIMARY KEY (device, dtype, class)) WITHOUT ROWID;"
        "PRAGMA user_version = 1;";
    int version = 0, tables = 0;
    verdict v = run(db, "BEGIN IMMEDIATE");
    if (v != USABLE) {
        return v;
    }
    v = look(db, &version, &tables);
    if (v == USABLE && !version && !tables) {
        v = run(db, schema);
    }
    verdict end = run(db, v == USABLE ? "COMMIT" : "ROLLBACK");
    return v == USABLE ? end : v;
}

/* Not there before 0.2.0 could tune: calibrations that are older have what they know all the same. */
static const char tuned_table[] =
    "CREATE TABLE IF NOT EXISTS tuned (device TEXT, model TEXT, dtype TEXT, module TEXT, shape TEXT, version "
    "TEXT, "
    "choices TEXT, untuned REAL, seconds REAL, psnr REAL, runs INTEGER, slower INTEGER,"
    " PRIMARY KEY (device, model, dtype, module, shape, version)) WITHOUT ROWID;";

/* Nor these columns before it was known what is found while others use the machine. */
static const char trial_columns[] = "BEGIN IMMEDIATE;"
                                    "ALTER TABLE tuned ADD COLUMN trial INTEGER DEFAULT 0;"
                                    "ALTER TABLE tuned ADD COLUMN runs_without INTEGER DEFAULT 0;"
                                    "ALTER TABLE tuned ADD COLUMN with_logs REAL DEFAULT 0;"
                                    "ALTER TABLE tuned ADD COLUMN without_logs REAL DEFAULT 0;"
                                    "COMMIT;";

/* Nor this one before it was known what of a block's seconds lay beside copies: 0 where nothing is said. */
static const char beside_table[] =
    "CREATE TABLE IF NOT EXISTS beside (device TEXT, model TEXT, dtype TEXT, shape TEXT, module TEXT, block "
    "INTEGER, seconds REAL,"
    " PRIMARY KEY (device, model, dtype, shape, module, block)) WITHOUT ROWID;";

static verdict check_tables(sqlite3 *db) {
    sqlite3_stmt *s = NULL;
    static const char *const columns[] = {
        "SELECT device, model, dtype, shape, module, block, seconds FROM blocks",
        "SELECT device, dtype, class, bytes, seconds FROM copies",
        "SELECT device, model, dtype, module, shape, version, choices, untuned, seconds, psnr, runs, slower, "
        "trial, runs_without, with_logs, without_logs FROM tuned",
        "SELECT device, model, dtype, shape, module, block, seconds FROM beside"};
    verdict v = USABLE;
    for (int i = 0; i < 4 && v == USABLE; i++) {
        int rc = sqlite3_prepare_v2(db, columns[i], -1, &s, NULL);
        v = rc == SQLITE_ERROR ? DAMAGED : judge(rc); /* no such table or column */
        sqlite3_finalize(s);
    }
    return v;
}

/* Whoever else does the same meanwhile. */
static verdict add_trial_columns(sqlite3 *db) {
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db, "SELECT trial FROM tuned", -1, &s, NULL);
    sqlite3_finalize(s);
    if (rc != SQLITE_ERROR) { /* they are there */
        return judge(rc);
    }
    rc = sqlite3_exec(db, trial_columns, NULL, NULL, NULL);
    if (rc) {
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    }
    return rc == SQLITE_ERROR ? USABLE : judge(rc); /* the tables are looked at once more */
}

static verdict use(sqlite3 *db) {
    int version = 0, tables = 0;
    verdict v = look(db, &version, &tables);
    if (v == USABLE && !version && !tables) {
        v = make_tables(db);
        v = v == USABLE ? look(db, &version, &tables) : v;
    }
    v = v == USABLE && version != schema_version ? DAMAGED : v;
    v = v == USABLE ? check_pages(db) : v;
    v = v == USABLE ? run(db, tuned_table) : v;
    v = v == USABLE ? add_trial_columns(db) : v;
    v = v == USABLE ? run(db, beside_table) : v;
    return v == USABLE ? check_tables(db) : v;
}

/* `why`: [128] SQLite's words for what is wrong. */
static verdict open_file(sqlite3 **out, const char *path, char *why) {
    sqlite3 *db = NULL;
    verdict v = judge(
        sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL));
    if (v == USABLE) {
        sqlite3_busy_timeout(db, wait_ms);
        v = run(db, "PRAGMA synchronous = OFF"); /* a cache needs no disk to say that it is written */
    }
    if (v == USABLE) {
        v = use(db);
    }
    if (v != USABLE) {
        snprintf(why, 128, "%s", db ? sqlite3_errmsg(db) : "out of memory");
        sqlite3_close(db);
        db = NULL;
    }
    *out = db;
    return v;
}

/* Gives a damaged file another name, unless another process has put a new one there since it was looked at.
 */
static void put_aside(const char *path, const struct stat *seen, const bl_log *log) {
    char aside[4096];
    struct stat now;
    if (stat(path, &now) || !S_ISREG(now.st_mode) || now.st_ino != seen->st_ino ||
        now.st_dev != seen->st_dev ||
        snprintf(aside, sizeof aside, "%s.damaged", path) >= (int)sizeof aside) {
        return;
    }
    if (!rename(path, aside)) {
        bl_log_line(log, BL_LOG_INFO, "%s was damaged: it is %s now, and measuring begins anew", path, aside);
    }
}

int bl_calibration_file_open(sqlite3 **out, const char *path, const bl_log *log, bl_error *err) {
    *out = NULL;
    char why[128] = "";
    struct stat seen = {0};
    verdict v = UNUSABLE;
    if (path) {
        bool there = !stat(path, &seen);
        v = open_file(out, path, why);
        if (v == DAMAGED && there) {
            put_aside(path, &seen, log);
            v = open_file(out, path, why);
        }
        if (v == UNUSABLE || v == DAMAGED) {
            bl_log_line(log, BL_LOG_INFO, "%s cannot be used (%s): what is measured is forgotten afterwards",
                        path, why);
        }
    }
    if (v == UNUSABLE || v == DAMAGED) {
        v = open_file(out, ":memory:", why);
    }
    return v == USABLE      ? 0
           : v == NO_MEMORY ? bl_fail(err, BL_E_MEMORY, "out of memory: the calibration's database")
                            : bl_fail(err, BL_E_INTERNAL, "the calibration's database: %s", why);
}
