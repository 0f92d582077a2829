/* What the files of the store share. */
#ifndef BALLAST_SERVER_STORE_INTERNAL_H
#define BALLAST_SERVER_STORE_INTERNAL_H

#include "server/store/store.h"

#include <pthread.h>
#include <sqlite3.h>

struct store {
    pthread_mutex_t lock; /* one call at a time */
    sqlite3 *db;
    char *pictures; /* folder */
    int folder;     /* file descriptor of DATA, locked */
};

/* ---- sql.c */

/* Prepares a statement and binds values as `kinds` says: 't' const char * (NULL allowed), 'i' int64_t, 'd'
 * double, 'b' const void * and size_t (NULL allowed). NULL after a failure, with *p filled. */
sqlite3_stmt *sql_prepare(struct store *s, struct problem *p, const char *sql, const char *kinds, ...);
/* The same, run to its end. 0 or a status. */
int sql_run(struct store *s, struct problem *p, const char *sql, const char *kinds, ...);
/* SQLITE_ROW gives 1, the end 0, a failure -1 with *p filled. */
int sql_step(struct store *s, sqlite3_stmt *statement, struct problem *p);
int sql_fail(struct store *s, struct problem *p);
/* A column as JSON: text, number or null; 'j' in `kind` is text that is JSON itself. */
json_t *sql_json(sqlite3_stmt *statement, int column, char kind);

/* ---- views.c */

int store_job(void *self, const char *id, json_t **out, struct problem *p);
int store_jobs(void *self, const char *states, int limit, char **text, struct problem *p);
int store_history(void *self, const struct history_wish *wish, json_t **out, struct problem *p);

/* ---- pictures.c */

int store_add_picture(void *self, const char *id, const struct kept_picture *picture, struct problem *p);
int store_picture(void *self, const char *id, int index, char **png, size_t *bytes, struct problem *p);
int store_retain(void *self, int64_t bytes, struct problem *p);
int store_forget(void *self, const char *id, int index, struct problem *p);
/* Removes what an interrupted write has left. */
void store_sweep(struct store *s);

#endif
