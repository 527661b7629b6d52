/* SPDX-License-Identifier: MIT
 *
 * test_page.c - the web page in headless Chromium, as somebody uses it: a picture chosen, dropped,
 * pasted or by its URL; the answer as it streams in; by keyboard alone; in dark mode and on a
 * phone; no request to anywhere else and nothing in the console. Skipped where chromium or
 * chromedriver is not installed. NR_TEST_SHOTS=DIR keeps screenshots.
 */
#include "browser.h"
#include "picture_host.h"

#define PAGE "samples/harbour-courier.png"
#define HEADLINE "Old lighthouse to open as a library next spring"
#define BYLINE "Marta Lindqvist"

#define IDLE "document.getElementById('ask').disabled === false"
#define STATUS "document.getElementById('status').textContent"

static service running;
static browser window;
static picture_host host;
static bool there;

static int set_up(void **state) {
    char log[4096];
    static const char *const more[] = {"--allow-net", "127.0.0.0/8",  "--slots", "1", "--queue",
                                       "1",           "--max-pixels", "2000000", NULL};
    (void)state;
    fixture_temp_dir(temp);
    there = browser_open(&window, temp);
    if (!there) return 0;
    running = serve_start(fixture_path(log, "%s/log", temp), more);
    picture_host_start(&host, PAGE);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    int code = 0;
    if (there) {
        browser_close(&window);
        picture_host_stop(&host);
        code = serve_stop(&running);
    }
    fixture_remove_tree(temp);
    return code;
}

/* The page, fresh and connected. */
static void visit(void) {
    char url[64];
    if (!there) {
        print_message("%s\n", window.why);
        skip();
    }
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", running.port);
    browser_do(&window, "/url", json_pack("{s:s}", "url", url));
    browser_await(&window, "document.getElementById('model').textContent.startsWith('reader')");
    browser_await(&window, "document.getElementById('memory-text').textContent");
}

static void choose(const char *picture) {
    char *path = realpath(picture, NULL);
    assert_non_null(path);
    browser_fill(&window, "#file", path);
    browser_await(&window, "document.getElementById('preview').naturalWidth > 0");
    free(path);
}

/* The sample as what a file manager or a clipboard hands over. */
static void hand_over(const char *event) {
    char *url = data_url(PAGE), script[1024];
    snprintf(script, sizeof script,
             "const bytes = Uint8Array.from(atob(arguments[0].split(',')[1]),"
             "  (c) => c.charCodeAt(0)), data = new DataTransfer();"
             "data.items.add(new File([bytes], 'page.png', {type: 'image/png'})); %s",
             event);
    browser_do(&window, "/execute/sync", json_pack("{s:s, s:[s]}", "script", script, "args", url));
    free(url);
    browser_await(&window, "document.getElementById('preview').naturalWidth > 0");
}

static void check_text(const char *selector, const char *expected) {
    char script[256];
    snprintf(script, sizeof script, "return document.querySelector('%s').textContent", selector);
    json_t *text = browser_run(&window, script);
    assert_string_equal(json_string_value(text), expected);
    json_decref(text);
}

/* Chosen by hand, nothing asked: the fields, the stages' times, the words one after another. */
static void test_choose(void **state) {
    (void)state;
    visit();
    browser_shot(&window, "empty");
    choose(PAGE);
    json_decref(browser_run(
        &window, "new MutationObserver(() => window.seen.push("
                 "  document.getElementById('answer').textContent.length))"
                 ".observe(document.getElementById('answer'), {childList: true, subtree: true});"));
    double n = 0; /* pieces; what a browser takes in together is a matter of timing */
    for (int i = 0; i < 5 && n < 3; i++) {
        json_decref(browser_run(&window, "window.seen = [];"));
        browser_click(&window, "#ask");
        browser_await(&window, "!document.getElementById('times').hidden && " IDLE);
        n = browser_number(&window, "new Set(window.seen).size");
    }
    if (n < 3) fail_msg("the answer came in %g pieces", n);
    check_text("dd.headline", HEADLINE);
    check_text("dd.byline", BYLINE);
    check_text("dd.site", "The Harbour Courier");
    assert_true(browser_number(&window, "document.querySelectorAll('#answer dd').length") == 5);
    assert_true(
        browser_says(&window, "return window.seen.every((n, i) => !i || n >= window.seen[i - 1])"));
    assert_true(browser_number(&window, "document.querySelectorAll('#legend li').length") == 6);
    assert_true(browser_says(&window, "return /\\d m?s, \\d+ tokens/.test(" STATUS ")"));
    browser_shot(&window, "fields");
}

static double memory_mark(void) {
    return browser_number(&window, "parseFloat(document.getElementById('used').style.left)");
}

/* The bar has the plan's parts; text and mark go on by themselves: with an upload that has not come
 * to its end, and back. */
static void test_memory(void **state) {
    static const char head[] = "POST /v1/read HTTP/1.1\r\nHost: localhost\r\n" JSON_TYPE
                               "Content-Length: 30000000\r\n\r\n";
    size_t n = 24 << 20;
    char *body = calloc(1, n), expression[256];
    (void)state;
    visit();
    assert_true(browser_number(&window, "document.querySelectorAll('#memory i').length") == 5);
    assert_true(browser_says(&window, "return [...document.querySelectorAll('#memory i')]"
                                      ".reduce((all, i) => all + parseFloat(i.style.width), 0)"
                                      " > 99"));
    assert_true(browser_says(&window, "return /^[\\d.]+ [GM]B in use of [\\d.]+ [GM]B planned.*"
                                      "0 running/.test("
                                      "document.getElementById('memory-text').textContent)"));
    double idle = memory_mark();
    int fd = client_connect(&running);
    client_send(fd, head, strlen(head));
    client_send(fd, body, n);
    free(body);
    snprintf(expression, sizeof expression,
             "parseFloat(document.getElementById('used').style.left) > %g + 2", idle);
    browser_await(&window, expression);
    print_message("%.1f %% of the plan in use, with an upload %.1f %%\n", idle, memory_mark());
    close(fd);
    snprintf(expression, sizeof expression,
             "parseFloat(document.getElementById('used').style.left) < %g + 1", idle);
    browser_await(&window, expression);
}

static void ask_and_check(void) {
    browser_fill(&window, "#prompt", "Who wrote it?");
    browser_click(&window, "#ask");
    browser_await(&window, "!document.getElementById('times').hidden && " IDLE);
    check_text("dd.text", BYLINE);
}

static void test_drop(void **state) {
    (void)state;
    visit();
    hand_over("for (const type of ['dragover', 'drop'])"
              "  document.getElementById('drop').dispatchEvent(new DragEvent(type,"
              "    {dataTransfer: data, bubbles: true, cancelable: true}));");
    ask_and_check();
}

static void test_paste(void **state) {
    (void)state;
    visit();
    hand_over("document.dispatchEvent(new ClipboardEvent('paste',"
              "  {clipboardData: data, bubbles: true}));");
    ask_and_check();
}

static void check_focus(const char *id) {
    char script[256];
    snprintf(script, sizeof script, "return document.activeElement.id === '%s'", id);
    if (!browser_says(&window, script)) fail_msg("the focus is not at %s", id);
    assert_true(browser_says(&window, "const s = getComputedStyle(document.activeElement);"
                                      "return document.activeElement.id === 'file' ||"
                                      " (s.outlineStyle !== 'none' && s.outlineWidth !== '0px')"));
}

/* Tab from the top, an URL and a question typed, Enter; then a picture that does not come, and
 * Escape. No mouse. */
static void test_keyboard(void **state) {
    char url[64];
    (void)state;
    visit();
    browser_keys(&window, KEY_TAB);
    check_focus("file");
    browser_keys(&window, KEY_TAB);
    check_focus("url");
    snprintf(url, sizeof url, "http://127.0.0.1:%d/page.png", host.port);
    browser_keys(&window, url);
    browser_keys(&window, KEY_TAB);
    check_focus("prompt");
    browser_keys(&window, "Who wrote it?" KEY_TAB);
    check_focus("ask");
    browser_shot(&window, "keyboard");
    browser_keys(&window, KEY_ENTER);
    browser_await(&window, "!document.getElementById('times').hidden && " IDLE);
    check_text("dd.text", BYLINE);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/never", host.port);
    json_decref(browser_run(&window, "document.getElementById('url').select();"
                                     "document.getElementById('url').focus();"));
    browser_keys(&window, url);
    browser_keys(&window, KEY_ENTER);
    browser_await(&window, "!document.getElementById('stop').hidden");
    browser_keys(&window, KEY_ESCAPE);
    browser_await(&window, STATUS " === 'stopped' && " IDLE);
    await_idle(&running, 2);
}

/* Text against what is behind it, at WCAG's 4.5, everywhere on the page. */
#define CONTRAST                                                                                   \
    "const light = (c) => { const v = c.match(/[\\d.]+/g).slice(0, 3).map((x) => {"                \
    "    x /= 255; return x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4; });"            \
    "  return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };"                                   \
    "const behind = (e) => { for (; e; e = e.parentElement) {"                                     \
    "    const c = getComputedStyle(e).backgroundColor;"                                           \
    "    if (!/, 0\\)$/.test(c)) return c; } return 'rgb(255, 255, 255)'; };"                      \
    "let worst = 21;"                                                                              \
    "for (const e of document.querySelectorAll('body *')) {"                                       \
    "  if (!e.offsetParent || e.disabled || e.tagName === 'SCRIPT') continue;"                     \
    "  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());"              \
    "  if (!own && e.tagName !== 'INPUT') continue;"                                               \
    "  const a = light(getComputedStyle(e).color), b = light(behind(e));"                          \
    "  worst = Math.min(worst, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)); }"              \
    "return worst;"

static double paper(void) {
    return browser_number(&window, "parseInt(getComputedStyle(document.body).backgroundColor"
                                   ".match(/\\d+/)[0])");
}

static void test_colours(void **state) {
    static const char *const schemes[] = {"light", "dark"};
    (void)state;
    visit();
    choose(PAGE);
    browser_click(&window, "#ask");
    browser_await(&window, "!document.getElementById('times').hidden && " IDLE);
    for (size_t i = 0; i < NR_COUNT(schemes); i++) {
        browser_tell(&window, "Emulation.setEmulatedMedia",
                     json_pack("{s:[{s:s, s:s}]}", "features", "name", "prefers-color-scheme",
                               "value", schemes[i]));
        json_t *worst = browser_run(&window, CONTRAST);
        print_message("%s: contrast at least %.2f\n", schemes[i], json_number_value(worst));
        assert_true(json_number_value(worst) >= 4.5);
        json_decref(worst);
        assert_true(i == 0 ? paper() > 200 : paper() < 60);
        browser_shot(&window, schemes[i]);
    }
    browser_tell(&window, "Emulation.setEmulatedMedia", json_pack("{s:[]}", "features"));
}

/* 390 pixels wide: nothing beyond the edge, one column, text that iOS does not zoom into. */
static void test_phone(void **state) {
    (void)state;
    visit();
    browser_tell(&window, "Emulation.setDeviceMetricsOverride",
                 json_pack("{s:i, s:i, s:i, s:b}", "width", 390, "height", 844, "deviceScaleFactor",
                           2, "mobile", 1));
    choose(PAGE);
    browser_click(&window, "#ask");
    browser_await(&window, "!document.getElementById('times').hidden && " IDLE);
    assert_true(browser_number(&window, "innerWidth") == 390);
    assert_true(browser_number(&window, "document.documentElement.scrollWidth") <= 390);
    assert_true(browser_number(&window, "Math.max(...[...document.querySelectorAll('body *')].map("
                                        "(e) => e.getBoundingClientRect().right))") <= 390);
    assert_true(browser_number(&window,
                               "Math.min(...[...document.querySelectorAll('.line input, button')]"
                               ".map((e) => parseFloat(getComputedStyle(e).fontSize)))") >= 16);
    browser_shot(&window, "phone");
    json_decref(browser_run(&window, "scrollTo(0, 1e5)"));
    browser_shot(&window, "phone-end");
    browser_tell(&window, "Emulation.clearDeviceMetricsOverride", json_object());
}

/* All that the browser asked for until now, and all that it had to complain of. */
static void test_quiet(void **state) {
    char origin[64];
    size_t i, n_requests = 0;
    json_t *entry;
    (void)state;
    visit();
    int n = snprintf(origin, sizeof origin, "http://127.0.0.1:%d/", running.port);
    json_t *network = browser_log(&window, "performance");
    json_array_foreach(network, i, entry) {
        json_t *e = json_loads(json_string_value(json_object_get(entry, "message")), 0, NULL);
        json_t *m = json_object_get(e, "message");
        json_t *request = json_object_get(json_object_get(m, "params"), "request");
        const char *url = json_string_value(json_object_get(request, "url"));
        if (url) {
            bool inside = strncmp(url, "data:", 5) == 0 || strncmp(url, "chrome:", 7) == 0;
            n_requests += !inside;
            if (!inside && strncmp(url, origin, (size_t)n) != 0) fail_msg("asked for %s", url);
        }
        json_decref(e);
    }
    json_decref(network);
    assert_true(n_requests > 20);
    json_t *console = browser_log(&window, "browser");
    json_array_foreach(console, i, entry)
        fail_msg("console: %s", json_string_value(json_object_get(entry, "message")));
    json_decref(console);
    print_message("%zu requests, all to the service\n", n_requests);
}

/* What the service refuses is said: a file that is no picture, a URL that has none. */
static void test_errors(void **state) {
    char url[64];
    (void)state;
    visit();
    browser_click(&window, "#ask");
    browser_await(&window, STATUS " === 'a picture first'");
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", running.port);
    browser_fill(&window, "#url", url);
    browser_click(&window, "#ask");
    browser_await(&window, "document.getElementById('status').className === 'error' && " STATUS
                           ".includes('image URL') && " IDLE);
    browser_shot(&window, "error");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choose),   cmocka_unit_test(test_memory),
        cmocka_unit_test(test_drop),     cmocka_unit_test(test_paste),
        cmocka_unit_test(test_keyboard), cmocka_unit_test(test_colours),
        cmocka_unit_test(test_phone),    cmocka_unit_test(test_quiet),
        cmocka_unit_test(test_errors)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
