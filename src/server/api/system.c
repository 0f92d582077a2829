/* What operators and their tools ask. */
#include "server/api/handlers.h"
#include "server/api/internal.h"

#include <stdlib.h>
#include <string.h>

void sys_health(struct call *c) {
    reply_json(c->x, 200, json_pack("{s:s}", "status", "ok"));
}

void sys_ready(struct call *c) {
    reply_json(c->x, 200, json_pack("{s:s}", "status", "ready"));
}

void sys_root(struct call *c) {
    static const char page[] =
        "<!doctype html><title>Ballast</title><p>Ballast serves /sdapi/v1, /v1 and /ballast/v1."
        " See /openapi.json.";
    char *text = strdup(page);
    exchange_answer(c->x, 200, "text/html; charset=utf-8", text, sizeof page - 1);
}
