/* What operators and their tools ask. */
#include "server/api/handlers.h"
#include "server/api/internal.h"

void sys_health(struct call *c) {
    reply_json(c->x, 200, json_pack("{s:s}", "status", "ok"));
}

void sys_ready(struct call *c) {
    reply_json(c->x, 200, json_pack("{s:s}", "status", "ready"));
}
