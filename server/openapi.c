/* SPDX-License-Identifier: MIT
 *
 * openapi.c - /openapi.json and /docs, made once at start from the table of routes and the schemas
 * in web/schemas.json.
 */
#define _GNU_SOURCE
#include "server_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const web_file *find_file(const char *path) {
    for (int i = 0; i < web_n_files; i++)
        if (strcmp(web_files[i].path, path) == 0) return &web_files[i];
    return NULL;
}

static json_t *content_of(const char *type, const char *schema) {
    char ref[128];
    if (!schema) return json_pack("{s:{}}", type);
    snprintf(ref, sizeof ref, "#/components/schemas/%s", schema);
    return json_pack("{s:{s:{s:s}}}", type, "schema", "$ref", ref);
}

static void add_answer(json_t *answers, const char *status, const char *text, const char *schema) {
    json_t *content = content_of("application/json", schema);
    json_object_set_new(answers, status,
                        json_pack("{s:s, s:o}", "description", text, "content", content));
}

static const char *success_type(const route *r) {
    if (r->handle == api_memory_stream) return "text/event-stream";
    if (r->handle == api_metrics) return "text/plain";
    if (r->handle == api_docs || strcmp(r->path, "/") == 0) return "text/html";
    if (strcmp(r->path, "/app.js") == 0) return "text/javascript";
    if (strcmp(r->path, "/style.css") == 0) return "text/css";
    return "application/json";
}

static json_t *answers_of(const route *r) {
    const char *error = r->flags & ROUTE_ANALYZE  ? "AnalyzeFailure"
                        : r->flags & ROUTE_OPENAI ? "OpenAIError"
                                                  : "Error";
    json_t *answers = json_object();
    json_t *content = content_of(success_type(r), r->response);
    if (r->handle == api_chat || r->handle == api_read)
        json_object_set_new(content, "text/event-stream", json_object());
    json_object_set_new(answers, "200",
                        json_pack("{s:s, s:o}", "description", r->summary, "content", content));
    add_answer(answers, "400", "the request is not understood", error);
    if (!(r->flags & ROUTE_PUBLIC)) add_answer(answers, "401", "no valid key", error);
    add_answer(answers, "403", "asked by a page of another origin", error);
    add_answer(answers, "421", "a Host that is not served", error);
    add_answer(answers, "413", "the body is too large", error);
    add_answer(answers, "503", "no place in the queue, or shutting down", error);
    if (!(r->flags & ROUTE_MODEL)) return answers;
    add_answer(answers, "408", "the request came too slowly", error);
    add_answer(answers, "411", "no Content-Length", error);
    add_answer(answers, "415", "a Content-Type that is not read here", error);
    add_answer(answers, "422", "the picture cannot be had or read", error);
    add_answer(answers, "504", "not done in time", error);
    return answers;
}

static json_t *operation_of(const route *r) {
    json_t *operation = json_pack("{s:s, s:o}", "summary", r->summary, "responses", answers_of(r));
    if (r->flags & ROUTE_PUBLIC) json_object_set_new(operation, "security", json_array());
    if (!r->request) return operation;
    json_t *content = content_of("application/json", r->request);
    if (r->flags & ROUTE_UPLOAD) {
        json_object_update_new(content, content_of("multipart/form-data", "ReadForm"));
        json_object_update_new(content, content_of("image/*", "Picture"));
    }
    json_object_set_new(operation, "requestBody",
                        json_pack("{s:b, s:o}", "required", 1, "content", content));
    return operation;
}

static json_t *make_openapi(void) {
    const web_file *file = find_file("/schemas.json");
    json_t *schemas = file ? json_loadb((const char *)file->bytes, file->n_bytes, 0, NULL) : NULL;
    json_t *paths = json_object();
    for (int i = 0; i < server_n_routes; i++) {
        const route *r = &server_routes[i];
        json_t *path = json_object_get(paths, r->path);
        if (!path) {
            json_object_set_new(paths, r->path, json_object());
            path = json_object_get(paths, r->path);
        }
        json_object_set_new(path, strcmp(r->method, "GET") == 0 ? "get" : "post", operation_of(r));
    }
    return json_pack("{s:s, s:{s:s, s:s}, s:o, s:{s:o, s:{s:{s:s, s:s}}}, s:[{s:[]}]}", "openapi",
                     "3.0.3", "info", "title", "newsreader", "version", nr_version(), "paths",
                     paths, "components", "schemas", schemas, "securitySchemes", "key", "type",
                     "http", "scheme", "bearer", "security", "key");
}

static void put_route(FILE *f, const route *r) {
    fprintf(f, "<section><h2><code>%s %s</code></h2><p>%s%s.</p>", r->method, r->path, r->summary,
            r->flags & ROUTE_PUBLIC ? "; needs no key" : "");
    if (r->request) fprintf(f, "<p>Body: <a href=\"#%s\">%s</a></p>", r->request, r->request);
    if (r->response) fprintf(f, "<p>Answer: <a href=\"#%s\">%s</a></p>", r->response, r->response);
    fputs("</section>\n", f);
}

/* The schemas are ours: nothing in them needs escaping but < and &, which they do not have. */
static char *make_docs(const json_t *openapi) {
    char *text = NULL;
    size_t n;
    const char *name;
    json_t *schema;
    FILE *f = open_memstream(&text, &n);
    if (!f) return NULL;
    fputs("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" "
          "content=\"width=device-width\"><title>newsreader: interface</title><link "
          "rel=\"stylesheet\" href=\"/style.css\"><main class=\"docs\"><h1>newsreader</h1><p>What "
          "this service answers. <a href=\"/openapi.json\">openapi.json</a> says the same to "
          "programs; <a href=\"/\">the page</a> uses it.</p>\n",
          f);
    for (int i = 0; i < server_n_routes; i++) put_route(f, &server_routes[i]);
    json_t *schemas = json_object_get(json_object_get(openapi, "components"), "schemas");
    json_object_foreach(schemas, name, schema) {
        char *body = json_dumps(schema, JSON_INDENT(2));
        fprintf(f, "<details id=\"%s\"><summary>%s</summary><pre>%s</pre></details>\n", name, name,
                body ? body : "");
        free(body);
    }
    fputs("</main></html>\n", f);
    return fclose(f) == 0 ? text : NULL;
}

bool openapi_build(server *s) {
    json_t *openapi = make_openapi();
    if (!openapi) return false;
    s->openapi = json_dumps(openapi, JSON_COMPACT);
    s->docs = make_docs(openapi);
    json_decref(openapi);
    return s->openapi && s->docs;
}

void api_openapi(server *s, http_exchange *x) {
    http_reply(x, 200, "application/json", NULL, s->openapi, strlen(s->openapi));
}

void api_docs(server *s, http_exchange *x) {
    http_reply(x, 200, "text/html; charset=utf-8",
               "Content-Security-Policy: default-src 'none'; style-src 'self'\r\n", s->docs,
               strlen(s->docs));
}
