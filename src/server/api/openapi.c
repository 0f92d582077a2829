/* /openapi.json, made from the rows of routes and fields: what is served is what is said. */
#include "server/api/handlers.h"
#include "server/api/internal.h"

#include "ballast.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define MOST_QUERY 2000 /* bytes of one argument: a request's head has room for little more */

static void add_query(json_t *list, const struct field *fields) {
    json_t *whole = fields_schema(fields), *schema;
    const char *key;
    json_object_foreach(json_object_get(whole, "properties"), key, schema) {
        const char *type = json_string_value(json_array_get(json_object_get(schema, "type"), 0));
        if (type && strcmp(type, "array") != 0 && strcmp(type, "object") != 0) {
            json_t *one = json_copy(schema);
            json_object_set_new(one, "type", json_string(type));
            if (json_integer_value(json_object_get(one, "maxLength")) > MOST_QUERY) {
                json_object_set_new(one, "maxLength", json_integer(MOST_QUERY));
            }
            json_array_append_new(list,
                                  json_pack("{s:s, s:s, s:o}", "name", key, "in", "query", "schema", one));
        }
    }
    json_decref(whole);
}

/* What stands in the path, and behind the '?'. */
static json_t *parameters_of(const struct route *r) {
    json_t *list = json_array();
    for (const char *at = r->path; (at = strchr(at, '{')); at++) {
        json_array_append_new(list,
                              json_pack("{s:s%, s:s, s:b, s:{s:s}}", "name", at + 1, strcspn(at + 1, "}"),
                                        "in", "path", "required", 1, "schema", "type", "string"));
    }
    for (const struct route_query *q = route_queries; q->path; q++) {
        bool ours = !strcmp(q->method, r->method) && !strcmp(q->path, r->path);
        for (int i = 0; ours && q->fields[i]; i++) {
            add_query(list, q->fields[i]);
        }
    }
    return list;
}

static json_t *body_of(const struct route *r) {
    json_t *schema = r->fields ? fields_schema(r->fields) : json_pack("{s:s}", "type", "object");
    json_t *content = json_pack("{s:{s:O}}", "application/json", "schema", schema);
    if (r->body == BODY_FORM) {
        json_object_set_new(content, "multipart/form-data", json_pack("{s:O}", "schema", schema));
    }
    json_decref(schema);
    return json_pack("{s:b, s:o}", "required", r->body != BODY_OPTIONAL, "content", content);
}

static json_t *answer_of(const struct route *r) {
    json_t *content;
    if (r->answer && strchr(r->answer, '/')) {
        content = json_pack("{s:{}}", r->answer);
    } else {
        content = json_pack("{s:{s:o}}", "application/json", "schema",
                            r->answer ? schema_type(r->answer) : json_object());
    }
    return json_pack("{s:s, s:o}", "description", r->summary, "content", content);
}

static json_t *operation(const struct route *r) {
    char id[96];
    size_t n = 0;
    const char *problem = is_openai_path(r->path) ? "OpenAIProblem" : "Problem";
    bool added = r->answer && !strcmp(r->answer, "Added");
    snprintf(id, sizeof id, "%s%s", r->method, r->path);
    for (size_t i = 0; id[i]; i++) {
        if (isalnum((unsigned char)id[i])) {
            id[n++] = (char)tolower((unsigned char)id[i]);
        } else if (n && id[n - 1] != '_') {
            id[n++] = '_';
        }
    }
    id[n] = 0;
    json_t *o =
        json_pack("{s:s, s:s, s:{s:o, s:{s:s, s:{s:{s:o}}}}}", "operationId", id, "summary", r->summary,
                  "responses", added ? "202" : "200", answer_of(r), "default", "description", "why not",
                  "content", "application/json", "schema", schema_type(problem));
    json_t *parameters = parameters_of(r);
    if (json_array_size(parameters)) {
        json_object_set(o, "parameters", parameters);
    }
    json_decref(parameters);
    if (r->body != BODY_NONE) {
        json_object_set_new(o, "requestBody", body_of(r));
    }
    return o;
}

void sys_openapi(struct call *c) {
    json_t *paths = json_object();
    const char *base = c->api->options.base_path;
    for (int i = 0; i < route_count; i++) {
        char method[16];
        size_t n = 0;
        for (; routes[i].method[n] && n + 1 < sizeof method; n++) {
            method[n] = (char)tolower((unsigned char)routes[i].method[n]);
        }
        method[n] = 0;
        json_t *path = json_object_get(paths, routes[i].path);
        if (!path) {
            path = json_object();
            json_object_set_new(paths, routes[i].path, path);
        }
        json_object_set_new(path, method, operation(&routes[i]));
    }
    reply_json(c->x, 200,
               json_pack("{s:s, s:{s:s, s:s}, s:[{s:s}], s:o, s:{s:o}}", "openapi", "3.1.0", "info", "title",
                         "Ballast", "version", ballast_version(), "servers", "url", *base ? base : "/",
                         "paths", paths, "components", "schemas", schemas_all()));
}
