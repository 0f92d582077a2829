#include "server/store/internal.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOB_COLUMNS                                                                                        \
    "id, source, state, created, started, ended, place, priority, request, asked, error, status, report, " \
    "warnings, n"

/* The keys of a job's object, by column; a letter says how it is read. */
static const struct {
    char kind;
    const char *key;
} job_columns[] = {{'t', "id"},    {'t', "source"}, {'t', "state"},    {'d', "created"}, {'d', "started"},
                   {'d', "ended"}, {'d', "place"},  {'i', "priority"}, {'j', "request"}, {'j', "asked"},
                   {'t', "error"}, {'i', "status"}, {'j', "report"},   {'j', "warnings"}};
#define COLUMNS ((int)(sizeof job_columns / sizeof *job_columns))

static json_t *job_of(sqlite3_stmt *q) {
    json_t *job = json_object();
    for (int i = 0; i < COLUMNS; i++) {
        json_object_set_new(job, job_columns[i].key, sql_json(q, i, job_columns[i].kind));
    }
    return job;
}

/* A value as JSON; what was kept as JSON is written as it was kept. */
static void write_column(FILE *out, sqlite3_stmt *q, int column) {
    int type = sqlite3_column_type(q, column);
    if (type == SQLITE_NULL) {
        fputs("null", out);
    } else if (type == SQLITE_INTEGER) {
        fprintf(out, "%lld", (long long)sqlite3_column_int64(q, column));
    } else if (type == SQLITE_TEXT && job_columns[column].kind == 'j') {
        fputs((const char *)sqlite3_column_text(q, column), out);
    } else {
        json_t *value = sql_json(q, column, job_columns[column].kind);
        char *text = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
        fputs(text ? text : "null", out);
        json_decref(value);
        free(text);
    }
}

/* A job without its report: that is long, and the job itself has it. */
static void write_row(FILE *out, sqlite3_stmt *q) {
    const char *before = "{";
    for (int i = 0; i < COLUMNS; i++) {
        if (strcmp(job_columns[i].key, "report") != 0) {
            fprintf(out, "%s\"%s\":", before, job_columns[i].key);
            write_column(out, q, i);
            before = ",";
        }
    }
    putc('}', out);
}

static json_t *picture_of(sqlite3_stmt *q) {
    char url[96];
    const char *job = (const char *)sqlite3_column_text(q, 1),
               *seed = (const char *)sqlite3_column_text(q, 3);
    int index = sqlite3_column_int(q, 2);
    /* Digits are a number, but for those that JSON's readers cannot hold. */
    json_t *number = strlen(seed) < 19 ? json_loads(seed, JSON_DECODE_ANY, NULL) : NULL;
    snprintf(url, sizeof url, "/ballast/v1/jobs/%s/image/%d", job, index);
    return json_pack("{s:I, s:s, s:i, s:o, s:i, s:i, s:I, s:s, s:f, s:s}", "n",
                     (json_int_t)sqlite3_column_int64(q, 0), "job", job, "index", index, "seed",
                     number ? number : json_string(seed), "width", sqlite3_column_int(q, 4), "height",
                     sqlite3_column_int(q, 5), "bytes", (json_int_t)sqlite3_column_int64(q, 6), "parameters",
                     (const char *)sqlite3_column_text(q, 7), "created", sqlite3_column_double(q, 8), "url",
                     url);
}

#define PICTURE_COLUMNS "n, job, number, seed, width, height, bytes, parameters, created"

/* The pictures that a statement names, appended to `list`. -1: a failure. */
static int append_pictures(struct store *s, json_t *list, sqlite3_stmt *q, struct problem *p) {
    int step = -1;
    while (q && (step = sql_step(s, q, p)) > 0) {
        if (json_array_append_new(list, picture_of(q))) {
            problem_set(p, 500, NULL, "out of memory");
            step = -1;
            break;
        }
    }
    sqlite3_finalize(q);
    return step;
}

int store_job(void *self, const char *id, json_t **out, struct problem *p) {
    struct store *s = self;
    *out = NULL;
    pthread_mutex_lock(&s->lock);
    sqlite3_stmt *q = sql_prepare(s, p, "SELECT " JOB_COLUMNS " FROM jobs WHERE id = ?", "t", id);
    int step = q ? sql_step(s, q, p) : -1, status = step < 0 ? 500 : 0;
    json_t *job = NULL, *pictures = json_array();
    if (!step) {
        status = problem_set(p, 404, NULL, "there is no job %s", id);
    } else if (step > 0) {
        job = job_of(q);
        if (append_pictures(
                s, pictures,
                sql_prepare(s, p, "SELECT " PICTURE_COLUMNS " FROM pictures WHERE job = ? ORDER BY number",
                            "t", id),
                p) < 0) {
            status = 500;
        }
    }
    sqlite3_finalize(q);
    pthread_mutex_unlock(&s->lock);
    if (status || json_object_set(job, "images", pictures)) {
        json_decref(job);
        json_decref(pictures);
        return status ? status : problem_set(p, 500, NULL, "out of memory");
    }
    json_decref(pictures);
    *out = job;
    return 0;
}

int store_jobs(void *self, const char *states, int limit, char **text, struct problem *p) {
    struct store *s = self;
    size_t bytes;
    FILE *out = open_memstream(text, &bytes);
    if (!out) {
        *text = NULL;
        return problem_set(p, 503, NULL, "out of memory");
    }
    fputs("{\"items\":[", out);
    pthread_mutex_lock(&s->lock);
    sqlite3_stmt *q = sql_prepare(s, p,
                                  "SELECT " JOB_COLUMNS " FROM jobs WHERE instr(?, ',' || state || ',')"
                                  " ORDER BY state = 'queued', priority DESC, place, n LIMIT ?",
                                  "ti", states, (int64_t)limit);
    int step = -1;
    for (bool first = true; q && (step = sql_step(s, q, p)) > 0; first = false) {
        fputs(first ? "" : ",", out);
        write_row(out, q);
    }
    sqlite3_finalize(q);
    pthread_mutex_unlock(&s->lock);
    fputs("]}", out);
    bool failed = ferror(out);
    failed |= fclose(out) != 0;
    if (failed || step < 0) {
        free(*text);
        *text = NULL;
        return step < 0 ? 500 : problem_set(p, 503, NULL, "out of memory");
    }
    return 0;
}

int store_history(void *self, const struct history_wish *w, json_t **out, struct problem *p) {
    struct store *s = self;
    json_t *items = json_array();
    *out = NULL;
    pthread_mutex_lock(&s->lock);
    sqlite3_stmt *q =
        sql_prepare(s, p,
                    "SELECT " PICTURE_COLUMNS " FROM pictures WHERE n < ? AND"
                    " (? IS NULL OR instr(lower(parameters), lower(?))) AND created >= ? AND created < ? AND"
                    " (? IS NULL OR instr(parameters || ',', 'Model: ' || ? || ',')) ORDER BY n DESC LIMIT ?",
                    "ittddtti", w->before, w->search, w->search, w->since, w->until, w->model, w->model,
                    (int64_t)w->limit);
    int step = append_pictures(s, items, q, p);
    pthread_mutex_unlock(&s->lock);
    if (step < 0) {
        json_decref(items);
        return 500;
    }
    *out = items;
    return 0;
}
