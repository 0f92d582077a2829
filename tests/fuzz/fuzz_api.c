/* Any request to the room api: a line with METHOD PATH?QUERY, header lines, a blank line, the body. It is
 * answered once, never with a failure of ours, and what says that it is JSON is. Behind it stands a service
 * that has one job and one picture. */
#include "fuzz.h"

#include "server/api/internal.h"

#include <stdlib.h>
#include <strings.h>

#define MOST 32

static const char JOB[] = "0123456789abcdef012";

struct asked {
    struct exchange exchange;
    char *names[MOST], *values[MOST]; /* of headers and of the query */
    bool query[MOST];
    int count, answers;
    bool streams;
    void (*gone)(void *payload);
    void *gone_payload;
};

/* ---- the exchange */

static const char *find(struct exchange *x, const char *name, bool query) {
    struct asked *a = (struct asked *)x;
    for (int i = 0; i < a->count; i++) {
        if (a->query[i] == query && !strcasecmp(a->names[i], name)) {
            return a->values[i];
        }
    }
    return NULL;
}

static const char *op_header(struct exchange *x, const char *name) {
    return find(x, name, false);
}

static const char *op_query(struct exchange *x, const char *name) {
    return find(x, name, true);
}

static void op_set_header(struct exchange *x, const char *name, const char *value) {
    MUST(!((struct asked *)x)->answers && !strpbrk(name, "\r\n: ") && !strpbrk(value, "\r\n"));
}

static void op_answer(struct exchange *x, int status, const char *type, void *body, size_t bytes) {
    struct asked *a = (struct asked *)x;
    MUST(body && status >= 200 && status < 600 && status != 500);
    if (!strcmp(type, "application/json")) {
        json_t *value = json_loadb(body, bytes, JSON_DECODE_ANY, NULL);
        MUST(value);
        json_decref(value);
    }
    free(body);
    a->answers++;
}

static void op_stream(struct exchange *x, int status, const char *type) {
    MUST(status == 200 && type);
    ((struct asked *)x)->streams = true;
}

static void op_write(struct exchange *x, const void *data, size_t bytes) {
    MUST(((struct asked *)x)->streams && data && bytes);
}

static size_t op_backlog(struct exchange *x) {
    (void)x;
    return 0;
}

static void op_end(struct exchange *x) {
    struct asked *a = (struct asked *)x;
    MUST(a->streams);
    a->answers++;
}

static void op_watch(struct exchange *x, void (*gone)(void *payload), void *payload) {
    struct asked *a = (struct asked *)x;
    a->gone = gone;
    a->gone_payload = payload;
}

static const struct exchange_ops ops = {.header = op_header,
                                        .query = op_query,
                                        .set_header = op_set_header,
                                        .answer = op_answer,
                                        .stream = op_stream,
                                        .write = op_write,
                                        .backlog = op_backlog,
                                        .end = op_end,
                                        .watch = op_watch};

/* ---- the service */

static int nowhere(struct problem *p) {
    return problem_set(p, 404, NULL, "there is none");
}

static int submit(void *self, const struct submission *s, char id[JOB_ID], struct problem *p) {
    json_t *request = picture_request_json(s->request);
    (void)self;
    (void)p;
    MUST(request && s->request->steps >= 1 && s->request->batch >= 1 && s->request->count >= 1);
    MUST(!s->idempotency || *s->idempotency);
    json_decref(request);
    snprintf(id, JOB_ID, "%s", JOB);
    return 0;
}

static int cancel(void *self, const char *id, struct problem *p) {
    (void)self;
    return strcmp(id, JOB) ? nowhere(p) : 0;
}

static int forget(void *self, const char *id, int index, struct problem *p) {
    (void)index;
    return cancel(self, id, p);
}

static void abandon(void *self, const char *id) {
    (void)self;
    (void)id;
}

static int move(void *self, const char *id, int position, struct problem *p) {
    (void)position;
    return cancel(self, id, p);
}

static bool interrupt(void *self, bool skip) {
    (void)self;
    return skip;
}

static void progress(void *self, struct progress *out) {
    (void)self;
    *out = (struct progress){.images = 1};
}

static uint64_t version(void *self, bool of_work) {
    (void)self;
    return of_work;
}

static void preview(void *self, const char *id, char **png, size_t *bytes) {
    (void)self;
    (void)id;
    *png = NULL;
    *bytes = 0;
}

static int job(void *self, const char *id, json_t **out, struct problem *p) {
    *out = strcmp(id, JOB) ? NULL
                           : json_loads("{\"id\":\"0123456789abcdef012\",\"source\":\"sdapi\",\"state\":"
                                        "\"done\",\"created\":1.5,\"started\":2.5,"
                                        "\"ended\":3.5,\"place\":0.0,\"priority\":0,\"request\":{\"prompt\":"
                                        "\"x\",\"seed\":1,\"width\":8,\"height\":8,"
                                        "\"steps\":1},\"asked\":null,\"error\":null,\"status\":null,"
                                        "\"report\":null,\"warnings\":[],\"images\":[{\"n\":1,"
                                        "\"job\":\"0123456789abcdef012\",\"index\":0,\"seed\":1,\"width\":8,"
                                        "\"height\":8,\"bytes\":4,\"parameters\":\"x\","
                                        "\"created\":3.0,\"url\":\"/x\"}]}",
                                        0, NULL);
    (void)self;
    return *out ? 0 : nowhere(p);
}

static int jobs(void *self, const char *states, char **text, struct problem *p) {
    (void)self;
    (void)p;
    MUST(states[0] == ',' && states[strlen(states) - 1] == ',');
    *text = strdup("{\"items\":[]}");
    return 0;
}

static int history(void *self, const struct history_wish *wish, json_t **out, struct problem *p) {
    (void)self;
    (void)wish;
    (void)p;
    *out = json_array();
    return 0;
}

static const uint8_t PNG[] = {0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d,
                              0x49, 0x48, 0x44, 0x52, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01,
                              0x08, 0x02, 0x00, 0x00, 0x00, 0x90, 0x77, 0x53, 0xde, 0x00, 0x00, 0x00,
                              0x0c, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0x38, 0x21, 0x27, 0x07,
                              0x00, 0x02, 0xb6, 0x01, 0x05, 0x34, 0xa6, 0x75, 0xaa, 0x00, 0x00, 0x00,
                              0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82}; /* [1, 1, 3] */

static int picture(void *self, const char *id, int index, char **png, size_t *bytes, struct problem *p) {
    (void)self;
    *png = !strcmp(id, JOB) && !index ? malloc(sizeof PNG) : NULL;
    *bytes = sizeof PNG;
    return *png ? memcpy(*png, PNG, sizeof PNG), 0 : nowhere(p);
}

static json_t *no_files(void *self) {
    (void)self;
    return json_array();
}

static json_t *list(void *self) {
    (void)self;
    return json_loads(
        "[{\"title\":\"a.safetensors\",\"model_name\":\"a\",\"filename\":\"a\",\"hash\":null,\"sha256\":null,"
        "\"family\":\"x\"}]",
        0, NULL);
}

static int find_model(void *self, const char *name, char **title, struct problem *p) {
    (void)self;
    *title = strncmp(name, "a", 1) ? NULL : strdup("a.safetensors");
    return *title ? 0 : nowhere(p);
}

static void refresh(void *self) {
    (void)self;
}

static int unload(void *self, struct problem *p) {
    (void)self;
    (void)p;
    return 0;
}

static int get_setting(void *self, const char *key, char **value, struct problem *p) {
    (void)self;
    (void)p;
    (void)key;
    *value = NULL;
    return 0;
}

static int set_setting(void *self, const char *key, const char *value, struct problem *p) {
    (void)self;
    (void)p;
    MUST(key && value);
    return 0;
}

static int plan(void *self, const struct picture_request *request, const struct plan_wish *wish, json_t **out,
                struct problem *p) {
    (void)self;
    (void)p;
    MUST(request->steps >= 1 && (wish->compare || (wish->points >= 2 && wish->points <= 200)));
    *out = json_object();
    return 0;
}

static int residency(void *self, json_t **out, struct problem *p) {
    (void)self;
    (void)p;
    *out = json_object();
    return 0;
}

static json_t *object(void *self) {
    (void)self;
    return json_object();
}

static int place(void *self, const struct placement *wish, struct problem *p) {
    (void)self;
    (void)wish;
    (void)p;
    return 0;
}

static void hear(void *self, void (*on_event)(void *payload, const struct event *event), void *payload) {
    (void)self;
    (void)on_event;
    (void)payload;
}

static struct api *api_of_one(void) {
    static struct api *api;
    static const struct service service = {.submit = submit,
                                           .cancel = cancel,
                                           .abandon = abandon,
                                           .move = move,
                                           .interrupt = interrupt,
                                           .progress = progress,
                                           .version = version,
                                           .preview = preview,
                                           .job = job,
                                           .jobs = jobs,
                                           .history = history,
                                           .forget = forget,
                                           .picture = picture,
                                           .models = list,
                                           .vaes = list,
                                           .adapters = no_files,
                                           .embeddings = no_files,
                                           .find_model = find_model,
                                           .refresh = refresh,
                                           .unload = unload,
                                           .get_setting = get_setting,
                                           .set_setting = set_setting,
                                           .plan = plan,
                                           .residency = residency,
                                           .devices = list,
                                           .placement = object,
                                           .place = place,
                                           .totals = object,
                                           .listen = hear};
    static const struct api_options options = {.most_pixels = 1 << 20,
                                               .most_steps = 100,
                                               .most_pictures = 4,
                                               .data = "/tmp",
                                               .base_path = "/sd",
                                               .taesd = true};
    struct problem p = {0};
    MUST(api || !api_open(&api, &options, &service, &p));
    return api;
}

static void put(struct asked *a, char *name, char *value, bool query) {
    if (a->count < MOST) {
        a->names[a->count] = name;
        a->values[a->count] = value;
        a->query[a->count++] = query;
    }
}

/* "?a=b&c" behind the path, as http hands it over. */
static void read_query(struct asked *a, char *text) {
    char *rest = NULL;
    for (char *one = strtok_r(text, "&", &rest); one; one = strtok_r(NULL, "&", &rest)) {
        char *value = strchr(one, '=');
        if (value) {
            *value++ = 0;
        }
        put(a, one, value, true);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};
    struct asked a = {.exchange = {.ops = &ops}};
    const uint8_t *blank = memmem(data, size, "\n\n", 2);
    size_t head = blank ? (size_t)(blank - data) : size;
    char *text = text_of(data, head),
         *body = text_of(data + head + (blank ? 2 : 0), size - head - (blank ? 2 : 0));
    char *rest = NULL, *line = strtok_r(text, "\n", &rest), *path = line ? strchr(line, ' ') : NULL;
    if (path && path[1] == '/') {
        *path++ = 0;
        a.exchange.method = "?";
        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
            a.exchange.method = strcmp(line, methods[i]) ? a.exchange.method : methods[i];
        }
        for (char *more; (more = strtok_r(NULL, "\n", &rest));) {
            char *colon = strchr(more, ':');
            if (colon) {
                *colon = 0;
                put(&a, more, colon + 1 + strspn(colon + 1, " "), false);
            }
        }
        char *query = strchr(path, '?');
        if (query) {
            *query++ = 0;
            read_query(&a, query);
        }
        a.exchange.path = path;
        a.exchange.body = body;
        a.exchange.body_bytes = size - head - (blank ? 2 : 0);
        if (!api_quick(api_of_one(), &a.exchange)) {
            api_handle(api_of_one(), &a.exchange);
        }
        if (!a.answers && a.streams && a.gone) { /* who listens to events leaves */
            a.gone(a.gone_payload);
            events_tick(api_of_one());
        }
        MUST(a.answers == 1);
    }
    free(text);
    free(body);
    return 0;
}
