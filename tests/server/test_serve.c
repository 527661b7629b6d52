/* SPDX-License-Identifier: MIT
 *
 * test_serve.c - the routes of the service with the bundled model: what they answer, that all ways
 * of asking give the same answer, that streams add up to it.
 */
#include "picture_host.h"
#include "serve_client.h"

#include <png.h>

#define PAGE "samples/harbour-courier.png"

static service running;
static char *page;    /* data: URL */
static json_t *label; /* fields of the page */

static int set_up(void **state) {
    char log[4096];
    static const char *const more[] = {"--allow-net", "127.0.0.0/8", NULL};
    json_t *all = json_load_file("samples/labels.json", 0, NULL), *one;
    size_t i;
    (void)state;
    fixture_temp_dir(temp);
    page = data_url(PAGE);
    json_array_foreach(
        all, i, one) if (strcmp(json_string_value(json_object_get(one, "picture")), PAGE) == 0)
        label = json_deep_copy(json_object_get(one, "fields"));
    assert_non_null(label);
    json_decref(all);
    running = serve_start(fixture_path(log, "%s/log", temp), more);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    int code = serve_stop(&running);
    free(page);
    json_decref(label);
    fixture_remove_tree(temp);
    return code;
}

static const char *truth(const char *field) {
    return json_string_value(json_object_get(label, field));
}

static void test_status_routes(void **state) {
    (void)state;
    reply r = client_get(&running, "/health");
    json_t *h = reply_json(&r, 200);
    assert_string_equal(json_string_value(json_object_get(h, "status")), "ok");
    assert_true(json_is_true(json_object_get(h, "model_loaded")));
    assert_string_equal(json_string_value(json_object_get(h, "model")), "reader");
    json_decref(h);
    r = client_get(&running, "/v1/models");
    h = reply_json(&r, 200);
    assert_int_equal(json_array_size(json_object_get(h, "data")), 1);
    json_decref(h);
    r = client_get(&running, "/memory_status");
    h = reply_json(&r, 200);
    json_t *device = json_array_get(json_object_get(h, "devices"), 0);
    json_t *planned = json_object_get(device, "planned");
    json_int_t resident = 0, passing = 0;
    json_t *part;
    size_t i;
    json_array_foreach(json_object_get(planned, "parts"), i, part) {
        json_int_t bytes = json_integer_value(json_object_get(part, "bytes"));
        *(json_is_true(json_object_get(part, "passing")) ? &passing : &resident) += bytes;
    }
    assert_int_equal(resident, json_integer_value(json_object_get(planned, "resident_bytes")));
    assert_in_range(json_integer_value(json_object_get(planned, "total_bytes")), resident + 1,
                    resident + passing);
    assert_true(json_is_null(json_object_get(device, "ceiling_bytes")));
    json_decref(h);
    r = client_get(&running, "/metrics");
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "\nnewsreader_slots 4\n"));
    for (const char *line = r.body; *line; line = strchr(line, '\n') + 1)
        assert_true(strncmp(line, "# TYPE newsreader_", 18) == 0 ||
                    strncmp(line, "newsreader_", 11) == 0);
    reply_free(&r);
    r = client_get(&running, "/");
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.bytes, "Content-Security-Policy: default-src 'none'"));
    assert_non_null(strstr(r.body, "</html>"));
    reply_free(&r);
}

/* A sample's value, e.g. of `newsreader_slots`. */
static double metric(const char *text, const char *name) {
    char line[256];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(text, line);
    if (!at) fail_msg("no %s", name);
    return atof(at + strlen(line));
}

/* A request more is one more in every stage that it went through, and its times are there. */
static void test_stage_times(void **state) {
    static const char *const stages[] = {"decode_image", "queue",    "vision",
                                         "prefill",      "generate", "whole"};
    double before[NR_COUNT(stages)];
    char name[128];
    (void)state;
    for (int round = 0; round < 2; round++) {
        reply r = client_get(&running, "/metrics");
        double parts = 0, sum = 0;
        for (size_t i = 0; i < NR_COUNT(stages); i++) {
            snprintf(name, sizeof name, "newsreader_stage_seconds_count{stage=\"%s\"}", stages[i]);
            double n = metric(r.body, name);
            if (round == 1) assert_true(n == before[i] + 1);
            before[i] = n;
            snprintf(name, sizeof name, "newsreader_stage_seconds_bucket{stage=\"%s\",le=\"+Inf\"}",
                     stages[i]);
            assert_true(metric(r.body, name) == n);
            snprintf(name, sizeof name, "newsreader_stage_seconds_sum{stage=\"%s\"}", stages[i]);
            sum = metric(r.body, name);
            parts += i + 1 < NR_COUNT(stages) ? sum : 0;
        }
        if (round == 1) assert_true(sum > 0 && parts <= sum && parts > 0.3 * sum);
        reply_free(&r);
        if (round == 1) break;
        r = client_post(&running, "/v1/chat/completions", chat_body(page, "Who wrote it?", 20));
        assert_int_equal(r.status, 200);
        reply_free(&r);
    }
}

/* Every route is in the document and the other way round, and every schema that is named exists. */
static void test_openapi(void **state) {
    static const char *const paths[] = {"/",
                                        "/app.js",
                                        "/style.css",
                                        "/health",
                                        "/analyze_image_url",
                                        "/v1/chat/completions",
                                        "/v1/models",
                                        "/v1/read",
                                        "/memory_status",
                                        "/memory_status/stream",
                                        "/metrics",
                                        "/openapi.json",
                                        "/docs"};
    (void)state;
    reply r = client_get(&running, "/openapi.json");
    char *text = strdup(r.body);
    json_t *doc = reply_json(&r, 200), *all = json_object_get(doc, "paths");
    json_t *schemas = json_object_get(json_object_get(doc, "components"), "schemas");
    assert_int_equal(json_object_size(all), NR_COUNT(paths));
    for (size_t i = 0; i < NR_COUNT(paths); i++) {
        if (!json_object_get(all, paths[i])) fail_msg("%s is not there", paths[i]);
        if (json_object_get(json_object_get(all, paths[i]), "get") &&
            strcmp(paths[i], "/memory_status/stream") != 0) {
            r = client_get(&running, paths[i]);
            assert_int_equal(r.status, 200);
            reply_free(&r);
        }
    }
    int n_refs = 0;
    for (char *p = text; (p = strstr(p, "#/components/schemas/")); n_refs++) {
        p += strlen("#/components/schemas/");
        char *name = strndup(p, strcspn(p, "\""));
        if (!json_object_get(schemas, name)) fail_msg("no schema %s", name);
        free(name);
    }
    assert_true(n_refs > 20);
    free(text);
    json_decref(doc);
}

static void test_chat(void **state) {
    (void)state;
    reply r = client_post(&running, "/v1/chat/completions",
                          chat_body(page, "What is the headline?", 100));
    json_t *chat = reply_json(&r, 200), *usage = json_object_get(chat, "usage");
    assert_string_equal(chat_content(chat), truth("headline"));
    assert_true(json_integer_value(json_object_get(usage, "prompt_tokens")) > 784);
    assert_true(json_integer_value(json_object_get(usage, "completion_tokens")) > 5);
    json_decref(chat);
    json_t *body = chat_body(page, "What is the headline?", 2);
    r = client_post(&running, "/v1/chat/completions", body);
    chat = reply_json(&r, 200);
    json_t *choice = json_array_get(json_object_get(chat, "choices"), 0);
    assert_string_equal(json_string_value(json_object_get(choice, "finish_reason")), "length");
    json_decref(chat);
    body = chat_body(page, "What is the headline?", 100);
    json_object_set_new(body, "stop", json_pack("[s, s]", "nothing like it", " library"));
    r = client_post(&running, "/v1/chat/completions", body);
    chat = reply_json(&r, 200);
    const char *end = strstr(truth("headline"), " library");
    assert_int_equal(strlen(chat_content(chat)), end - truth("headline"));
    json_decref(chat);
}

/* The deltas of a stream, put together; *n_events counts them. */
static char *join_stream(const char *body, int *n_events, bool *done) {
    char *all = calloc(1, strlen(body) + 1);
    *n_events = 0;
    *done = strstr(body, "data: [DONE]\n\n") != NULL;
    for (const char *p = body; (p = strstr(p, "data: {")); p++) {
        json_t *chunk = json_loads(p + 6, JSON_DISABLE_EOF_CHECK, NULL);
        assert_non_null(chunk);
        json_t *choice = json_array_get(json_object_get(chunk, "choices"), 0);
        const char *text =
            json_string_value(json_object_get(json_object_get(choice, "delta"), "content"));
        if (text) strcat(all, text);
        json_decref(chunk);
        (*n_events)++;
    }
    return all;
}

static void test_stream(void **state) {
    json_t *body = chat_body(page, "Read the first paragraph.", 200);
    int n_events;
    bool done;
    (void)state;
    json_object_set_new(body, "stream", json_true());
    json_object_set_new(body, "stream_options", json_pack("{s:b}", "include_usage", 1));
    reply r = client_post(&running, "/v1/chat/completions", body);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.bytes, "Content-Type: text/event-stream\r\n"));
    assert_non_null(strstr(r.bytes, "Transfer-Encoding: chunked\r\n"));
    char *text = join_stream(r.body, &n_events, &done);
    assert_string_equal(text, truth("lead"));
    assert_true(done && n_events > 10);
    assert_non_null(strstr(r.body, "\"completion_tokens\""));
    free(text);
    reply_free(&r);
}

/* response_format json_schema with fields of the page. */
static void test_schema(void **state) {
    json_t *body = chat_body(page, "Which page is this?", 100);
    (void)state;
    json_object_set_new(body, "response_format",
                        json_pack("{s:s, s:{s:s, s:{s:s, s:{s:{s:s}, s:{s:s}}}}}", "type",
                                  "json_schema", "json_schema", "name", "news", "schema", "type",
                                  "object", "properties", "headline", "type", "string", "date",
                                  "type", "string"));
    reply r = client_post(&running, "/v1/chat/completions", body);
    json_t *chat = reply_json(&r, 200), *news = json_loads(chat_content(chat), 0, NULL);
    assert_int_equal(json_object_size(news), 2);
    assert_string_equal(json_string_value(json_object_get(news, "headline")), truth("headline"));
    assert_string_equal(json_string_value(json_object_get(news, "date")), truth("date"));
    json_decref(news);
    json_decref(chat);
}

/* Schemas that could not be kept are refused, and the word is named. */
static void test_schemas_refused(void **state) {
#define PROPERTIES(x) "{\"properties\":{" x "}}"
    static const struct {
        const char *schema, *says;
    } cases[] = {
        {"{}", "schema.properties"},
        {"[]", "schema.properties"},
        {PROPERTIES(""), "no properties"},
        {PROPERTIES("\"summary\":{\"type\":\"string\"}"), "summary"},
        {PROPERTIES("\"headline,date\":{\"type\":\"string\"}"), "headline,date"},
        {PROPERTIES("\"headline\":{\"type\":\"integer\"}"), "headline: a field is a string"},
        {PROPERTIES("\"headline\":{}"), "headline: a field is a string"},
        {PROPERTIES("\"headline\":7"), "headline: expected an object"},
        {PROPERTIES("\"date\":{\"type\":\"string\",\"format\":\"date\"}"), "\"format\""},
        {PROPERTIES("\"date\":{\"type\":\"string\",\"enum\":[\"a\"]}"), "\"enum\""},
        {PROPERTIES("\"date\":{\"$ref\":\"#/a\"}"), "\"$ref\""},
        {"{\"type\":\"array\",\"properties\":{\"date\":{\"type\":\"string\"}}}", "object"},
        {"{\"required\":[\"site\"],\"properties\":{\"date\":{\"type\":\"string\"}}}", "site"},
        {"{\"minProperties\":9,\"properties\":{\"date\":{\"type\":\"string\"}}}", "minProperties"}};
    (void)state;
    for (size_t i = 0; i < NR_COUNT(cases); i++) {
        json_t *body = chat_body(page, "Which page is this?", 10);
        json_t *schema = json_loads(cases[i].schema, 0, NULL);
        assert_non_null(schema);
        json_object_set_new(body, "response_format",
                            json_pack("{s:s, s:{s:s, s:o}}", "type", "json_schema", "json_schema",
                                      "name", "x", "schema", schema));
        reply r = client_post(&running, "/v1/chat/completions", body);
        json_t *e = reply_json(&r, 400), *error = json_object_get(e, "error");
        const char *message = json_string_value(json_object_get(error, "message"));
        if (!strstr(message, cases[i].says)) fail_msg("%s: \"%s\"", cases[i].schema, message);
        json_decref(e);
    }
}

/* The sample with its line of byline and date painted over. */
static char *page_without_byline(void) {
    png_image image = {.version = PNG_IMAGE_VERSION};
    assert_true(png_image_begin_read_from_file(&image, PAGE));
    image.format = PNG_FORMAT_RGB;
    uint8_t *rgb = malloc(PNG_IMAGE_SIZE(image));
    assert_true(png_image_finish_read(&image, NULL, rgb, 0, NULL));
    memset(rgb + (size_t)359 * image.width * 3, 255, (size_t)(411 - 359) * image.width * 3);
    char *url = data_url_of_pixels(&image, rgb);
    free(rgb);
    return url;
}

/* What the page does not have: null where the schema has null, else an empty text. */
static void test_schema_none(void **state) {
    static const char schema[] =
        "{\"type\":\"object\",\"title\":\"News\",\"additionalProperties\":false,"
        "\"required\":[\"byline\",\"headline\"],\"properties\":{\"byline\":{\"anyOf\":["
        "{\"type\":\"string\"},{\"type\":\"null\"}],\"title\":\"By\"},"
        "\"headline\":{\"type\":[\"string\",\"null\"]},\"date\":{\"type\":\"string\"}}}";
    char *without = page_without_byline();
    json_t *body = chat_body(without, "", 100);
    (void)state;
    json_object_set_new(body, "response_format",
                        json_pack("{s:s, s:{s:s, s:o}}", "type", "json_schema", "json_schema",
                                  "name", "x", "schema", json_loads(schema, 0, NULL)));
    reply r = client_post(&running, "/v1/chat/completions", body);
    json_t *chat = reply_json(&r, 200), *news = json_loads(chat_content(chat), 0, NULL);
    assert_int_equal(json_object_size(news), 3);
    assert_true(json_is_null(json_object_get(news, "byline")));
    assert_string_equal(json_string_value(json_object_get(news, "headline")), truth("headline"));
    assert_string_equal(json_string_value(json_object_get(news, "date")), "");
    json_decref(news);
    json_decref(chat);
    free(without);
}

static void check_fields(reply *r) {
    json_t *answer = reply_json(r, 200), *fields = json_object_get(answer, "fields");
    assert_string_equal(json_string_value(json_object_get(fields, "headline")), truth("headline"));
    assert_string_equal(json_string_value(json_object_get(fields, "byline")), truth("byline"));
    json_decref(answer);
}

/* A picture in JSON, as the body, in a form: the same fields. */
static void test_read(void **state) {
    size_t n;
    char *bytes = fixture_read_file(PAGE, &n), *form = malloc(n + 1024);
    (void)state;
    reply r =
        client_post(&running, "/v1/read",
                    json_pack("{s:s, s:[s, s]}", "image", page, "fields", "headline", "byline"));
    check_fields(&r);
    r = client_request(&running, "POST", "/v1/read", "Content-Type: image/png\r\n", bytes, n);
    check_fields(&r);
    size_t used = (size_t)sprintf(form, "--b0\r\nContent-Disposition: form-data; name=\"image\"; "
                                        "filename=\"a\"\r\nContent-Type: image/png\r\n\r\n");
    memcpy(form + used, bytes, n);
    used += n;
    used += (size_t)sprintf(form + used, "\r\n--b0\r\nContent-Disposition: form-data; "
                                         "name=\"fields\"\r\n\r\nheadline,byline\r\n--b0--\r\n");
    r = client_request(&running, "POST", "/v1/read",
                       "Content-Type: multipart/form-data; boundary=b0\r\n", form, used);
    check_fields(&r);
    free(form);
    free(bytes);
}

static void check_analysis(json_t *body, const char *url, const char *what) {
    reply r = client_post(&running, "/analyze_image_url", body);
    json_t *a = reply_json(&r, 200);
    assert_true(json_is_true(json_object_get(a, "success")));
    assert_string_equal(json_string_value(json_object_get(a, "image_url")), url);
    assert_string_equal(json_string_value(json_object_get(a, "model_used")), "reader");
    assert_true(json_number_value(json_object_get(a, "memory_usage_gb")) > 0);
    const char *text = json_string_value(json_object_get(a, "analysis"));
    if (!strstr(text, what)) fail_msg("\"%s\" is not in \"%s\"", what, text);
    json_decref(a);
}

/* The prototype's way of calling, with a picture behind a URL. */
static void test_analyze(void **state) {
    picture_host host;
    char url[128], moved[128];
    (void)state;
    picture_host_start(&host, PAGE);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/page.png", host.port);
    snprintf(moved, sizeof moved, "http://127.0.0.1:%d/moved", host.port);
    check_analysis(json_pack("{s:[s], s:{}}", "args", url, "kwargs"), url, truth("headline"));
    check_analysis(json_pack("{s:[s, s], s:{}}", "args", url, "Who wrote it?", "kwargs"), url,
                   truth("byline"));
    check_analysis(json_pack("{s:[], s:{s:s, s:s}}", "args", "kwargs", "image_url", moved, "prompt",
                             "Who wrote it?"),
                   moved, truth("byline"));
    picture_host_stop(&host);
    reply r = client_post(&running, "/analyze_image_url", json_pack("{s:[s]}", "args", url));
    json_t *failed = reply_json(&r, 422);
    assert_true(json_is_false(json_object_get(failed, "success")));
    assert_string_equal(json_string_value(json_object_get(failed, "image_url")), url);
    assert_true(strlen(json_string_value(json_object_get(failed, "error"))) > 5);
    json_decref(failed);
}

static void test_memory_stream(void **state) {
    static const char request[] = "GET /memory_status/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char text[16384] = "";
    size_t used = 0;
    int n_events = 0, fd = client_connect(&running);
    (void)state;
    client_send(fd, request, strlen(request));
    while (n_events < 2) {
        ssize_t n = recv(fd, text + used, sizeof text - 1 - used, 0);
        assert_true(n > 0);
        used += (size_t)n;
        text[used] = '\0';
        n_events = 0;
        for (const char *p = text; (p = strstr(p, "data: {")); p++) n_events++;
    }
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_status_routes),
                                       cmocka_unit_test(test_openapi),
                                       cmocka_unit_test(test_stage_times),
                                       cmocka_unit_test(test_chat),
                                       cmocka_unit_test(test_stream),
                                       cmocka_unit_test(test_schema),
                                       cmocka_unit_test(test_schemas_refused),
                                       cmocka_unit_test(test_schema_none),
                                       cmocka_unit_test(test_read),
                                       cmocka_unit_test(test_analyze),
                                       cmocka_unit_test(test_memory_stream)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
