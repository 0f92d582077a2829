#include "server/store/internal.h"

#include <stdarg.h>
#include <string.h>

int sql_fail(struct store *s, struct problem *p) {
    int code = sqlite3_errcode(s->db);
    if (code == SQLITE_FULL || code == SQLITE_IOERR) {
        return problem_set(p, 507, NULL, "the data folder cannot be written: %s; make room on its disk",
                           sqlite3_errmsg(s->db));
    }
    return problem_set(p, 500, NULL, "the database refused: %s", sqlite3_errmsg(s->db));
}

static int bind(sqlite3_stmt *statement, const char *kinds, va_list list) {
    int rc = SQLITE_OK;
    for (int i = 1; *kinds && rc == SQLITE_OK; kinds++, i++) {
        if (*kinds == 't') {
            rc = sqlite3_bind_text(statement, i, va_arg(list, const char *), -1, SQLITE_TRANSIENT);
        } else if (*kinds == 'i') {
            rc = sqlite3_bind_int64(statement, i, va_arg(list, int64_t));
        } else if (*kinds == 'd') {
            rc = sqlite3_bind_double(statement, i, va_arg(list, double));
        } else {
            const void *data = va_arg(list, const void *);
            size_t bytes = va_arg(list, size_t);
            rc = data ? sqlite3_bind_blob64(statement, i, data, bytes, SQLITE_TRANSIENT)
                      : sqlite3_bind_null(statement, i);
        }
    }
    return rc;
}

static sqlite3_stmt *prepare(struct store *s, struct problem *p, const char *sql, const char *kinds,
                             va_list list) {
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL) != SQLITE_OK ||
        bind(statement, kinds, list) != SQLITE_OK) {
        sql_fail(s, p);
        sqlite3_finalize(statement);
        return NULL;
    }
    return statement;
}

sqlite3_stmt *sql_prepare(struct store *s, struct problem *p, const char *sql, const char *kinds, ...) {
    va_list list;
    va_start(list, kinds);
    sqlite3_stmt *statement = prepare(s, p, sql, kinds, list);
    va_end(list);
    return statement;
}

int sql_step(struct store *s, sqlite3_stmt *statement, struct problem *p) {
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW) {
        return 1;
    }
    if (rc == SQLITE_DONE) {
        return 0;
    }
    sql_fail(s, p);
    return -1;
}

int sql_run(struct store *s, struct problem *p, const char *sql, const char *kinds, ...) {
    va_list list;
    va_start(list, kinds);
    sqlite3_stmt *statement = prepare(s, p, sql, kinds, list);
    va_end(list);
    if (!statement) {
        return p ? p->status : 500;
    }
    int step;
    do {
        step = sql_step(s, statement, p);
    } while (step > 0);
    sqlite3_finalize(statement);
    return step < 0 ? (p ? p->status : 500) : 0;
}

json_t *sql_json(sqlite3_stmt *statement, int column, char kind) {
    const char *text;
    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_INTEGER:
        return json_integer(sqlite3_column_int64(statement, column));
    case SQLITE_FLOAT:
        return json_real(sqlite3_column_double(statement, column));
    case SQLITE_TEXT:
        text = (const char *)sqlite3_column_text(statement, column);
        return kind == 'j' ? json_loads(text, JSON_DECODE_ANY, NULL) : json_string(text);
    default:
        return json_null();
    }
}
