/* SPDX-License-Identifier: MIT
 *
 * browser.h - headless Chromium through chromedriver (W3C WebDriver over HTTP, and Chromium's own
 * protocol for what WebDriver does not have). One window.
 *
 *   browser b;
 *   if (browser_open(&b, dir)) { browser_call(&b, ...); browser_close(&b); }
 */
#ifndef BROWSER_H
#define BROWSER_H

#include "serve_client.h"

#include "base64.h"

#define KEY_TAB "\xee\x80\x84"
#define KEY_ENTER "\xee\x80\x87"
#define KEY_ESCAPE "\xee\x80\x8c"

typedef struct browser {
    service driver; /* chromedriver */
    char session[64];
    char why[256]; /* there is none */
} browser;

/* path: below the session. chromedriver keeps connections, whatever it is asked. */
static inline reply browser_request(const browser *b, const char *method, const char *path,
                                    const char *body) {
    char head[512];
    int fd = client_connect(&b->driver);
    assert_true(fd >= 0);
    int n = snprintf(head, sizeof head,
                     "%s /session%s%s%s HTTP/1.1\r\nHost: localhost\r\n" JSON_TYPE
                     "Content-Length: %zu\r\n\r\n",
                     method, b->session[0] ? "/" : "", b->session, path, strlen(body));
    client_send(fd, head, (size_t)n);
    client_send(fd, body, strlen(body));
    return client_receive_from(fd, false);
}

/* The answer's "value"; takes the body over. */
static inline json_t *browser_call(const browser *b, const char *path, json_t *body) {
    char *text = json_dumps(body, JSON_COMPACT);
    assert_non_null(text);
    reply r = browser_request(b, "POST", path, text);
    free(text);
    json_decref(body);
    int expected = b->session[0] ? 200 : r.status; /* who opens a session looks at its value */
    json_t *answer = reply_json(&r, expected), *value = json_object_get(answer, "value");
    json_incref(value);
    json_decref(answer);
    return value;
}

static inline void browser_do(const browser *b, const char *path, json_t *body) {
    json_decref(browser_call(b, path, body));
}

/* A function's body in the page; what it returns. */
static inline json_t *browser_run(const browser *b, const char *script) {
    return browser_call(b, "/execute/sync", json_pack("{s:s, s:[]}", "script", script, "args"));
}

static inline bool browser_says(const browser *b, const char *script) {
    json_t *value = browser_run(b, script);
    bool says = json_is_true(value);
    json_decref(value);
    return says;
}

/* Until the expression is true in the page; fails after 20 seconds. */
static inline void browser_await(const browser *b, const char *expression) {
    char script[2048];
    snprintf(script, sizeof script, "return !!(%s)", expression);
    for (int i = 0; i < 400; i++) {
        if (browser_says(b, script)) return;
        usleep(50000);
    }
    json_t *text = browser_run(b, "return document.body.innerText");
    fail_msg("not after 20 s: %s\n%s", expression, json_string_value(text));
}

static inline double browser_number(const browser *b, const char *expression) {
    char script[2048];
    snprintf(script, sizeof script, "return %s", expression);
    json_t *value = browser_run(b, script);
    if (!json_is_number(value)) fail_msg("not a number: %s", expression);
    double number = json_number_value(value);
    json_decref(value);
    return number;
}

/* Keys as the keyboard gives them to what has the focus; text may be UTF-8. */
static inline void browser_keys(const browser *b, const char *text) {
    json_t *actions = json_array();
    for (size_t n; *text; text += n) {
        for (n = 1; (text[n] & 0xc0) == 0x80; n++) continue;
        json_array_append_new(actions,
                              json_pack("{s:s, s:s%}", "type", "keyDown", "value", text, n));
        json_array_append_new(actions, json_pack("{s:s, s:s%}", "type", "keyUp", "value", text, n));
    }
    browser_do(b, "/actions",
               json_pack("{s:[{s:s, s:s, s:o}]}", "actions", "type", "key", "id", "keyboard",
                         "actions", actions));
}

/* Text or a file's path into the element that the CSS selector names. */
static inline void browser_fill(const browser *b, const char *selector, const char *text) {
    char path[256];
    json_t *element = browser_call(
        b, "/element", json_pack("{s:s, s:s}", "using", "css selector", "value", selector));
    const char *id = json_string_value(json_object_iter_value(json_object_iter(element)));
    snprintf(path, sizeof path, "/element/%s/value", id);
    json_decref(element);
    browser_do(b, path, json_pack("{s:s}", "text", text));
}

static inline void browser_click(const browser *b, const char *selector) {
    char path[256];
    json_t *element = browser_call(
        b, "/element", json_pack("{s:s, s:s}", "using", "css selector", "value", selector));
    const char *id = json_string_value(json_object_iter_value(json_object_iter(element)));
    snprintf(path, sizeof path, "/element/%s/click", id);
    json_decref(element);
    browser_do(b, path, json_object());
}

/* A command of Chromium's own protocol; takes params over. */
static inline void browser_tell(const browser *b, const char *command, json_t *params) {
    browser_do(b, "/goog/cdp/execute", json_pack("{s:s, s:o}", "cmd", command, "params", params));
}

/* Entries since the last time: "browser" is the console, "performance" the network. */
static inline json_t *browser_log(const browser *b, const char *type) {
    return browser_call(b, "/se/log", json_pack("{s:s}", "type", type));
}

/* The window as NAME.png in $NR_TEST_SHOTS, where that is set: for people to look at. */
static inline void browser_shot(const browser *b, const char *name) {
    const char *dir = getenv("NR_TEST_SHOTS");
    char path[4096];
    size_t n;
    if (!dir) return;
    reply r = browser_request(b, "GET", "/screenshot", "");
    json_t *answer = reply_json(&r, 200), *value = json_object_get(answer, "value");
    uint8_t *png = malloc(json_string_length(value) + 3);
    assert_true(base64_decode(json_string_value(value), json_string_length(value), png, &n));
    fixture_write_file(fixture_path(path, "%s/%s.png", dir, name), png, n);
    free(png);
    json_decref(answer);
}

static inline json_t *browser_capabilities(const char *profile) {
    json_t *args = json_pack("[s, s, s, s, s, s]", "--headless=new", "--no-first-run",
                             "--disable-gpu", "--disable-dev-shm-usage",
                             "--disable-background-networking", "--window-size=1200,900");
    json_array_append_new(args, json_sprintf("--user-data-dir=%s", profile));
    if (geteuid() == 0) /* Chromium's own sandbox refuses root; the page under test is ours */
        json_array_append_new(args, json_string("--no-sandbox"));
    return json_pack("{s:{s:{s:{s:o}, s:{s:s, s:s}}}}", "capabilities", "alwaysMatch",
                     "goog:chromeOptions", "args", args, "goog:loggingPrefs", "browser", "ALL",
                     "performance", "ALL");
}

/* chromedriver on a port of its choice; 0 where there is none. */
static inline int browser_drive(browser *b) {
    char line[512];
    int out[2], port = 0;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    b->driver.pid = fork();
    if (b->driver.pid == 0) {
        dup2(out[1], 1);
        dup2(open("/dev/null", O_WRONLY), 2);
        execlp("chromedriver", "chromedriver", "--port=0", (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    FILE *f = fdopen(out[0], "r");
    while (port == 0 && fgets(line, sizeof line, f)) {
        const char *said = strstr(line, "on port ");
        if (said && strstr(line, "success")) port = atoi(said + strlen("on port "));
    }
    fclose(f);
    return port;
}

/* False with b->why where there is no browser here. dir: for the profile. */
static inline bool browser_open(browser *b, const char *dir) {
    char profile[4096];
    *b = (browser){0};
    b->driver.port = browser_drive(b);
    if (b->driver.port == 0) {
        snprintf(b->why, sizeof b->why, "chromedriver is not installed");
        waitpid(b->driver.pid, NULL, 0);
        return false;
    }
    json_t *value =
        browser_call(b, "", browser_capabilities(fixture_path(profile, "%s/profile", dir)));
    const char *id = json_string_value(json_object_get(value, "sessionId"));
    if (id)
        snprintf(b->session, sizeof b->session, "%s", id);
    else
        snprintf(b->why, sizeof b->why, "no Chromium: %s",
                 json_string_value(json_object_get(value, "message")));
    json_decref(value);
    if (!id) serve_stop(&b->driver);
    return id != NULL;
}

static inline void browser_close(const browser *b) {
    reply r = browser_request(b, "DELETE", "", "");
    reply_free(&r);
    serve_stop(&b->driver);
}

#endif
