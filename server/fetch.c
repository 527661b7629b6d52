/* SPDX-License-Identifier: MIT
 *
 * fetch.c - one URL, in a process that does nothing else. libcurl's parser reads the URL once and
 * connects by what it read; every address is looked at when its socket is opened, so a name that
 * changes its mind between check and use gains nothing; redirects come back here and are checked
 * like the first URL. Bytes are counted as they arrive, whatever the headers say.
 *
 * libcurl is loaded here and not linked: with the libraries that it brings it would be four
 * megabytes more of every command's memory.
 */
#define _GNU_SOURCE
#define CURL_DISABLE_TYPECHECK
#include "helper.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define REDIRECTS_MAX 3

#define CURL_NAMES(X)                                                                              \
    X(global_init)                                                                                 \
    X(easy_init)                                                                                   \
    X(easy_setopt)                                                                                 \
    X(easy_reset)                                                                                  \
    X(easy_perform)                                                                                \
    X(easy_getinfo)                                                                                \
    X(easy_cleanup)                                                                                \
    X(url)                                                                                         \
    X(url_set)                                                                                     \
    X(url_get)                                                                                     \
    X(url_cleanup)                                                                                 \
    X(free)

/* libcurl's functions; one process, one thread, filled once. */
static struct {
#define CURL_POINTER(name) __typeof__(&curl_##name) name;
    CURL_NAMES(CURL_POINTER)
#undef CURL_POINTER
} api;

static bool load_curl(void) {
    void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL), *at;
    bool whole = library != NULL;
#define CURL_LOAD(name)                                                                            \
    at = library ? dlsym(library, "curl_" #name) : NULL;                                           \
    whole = whole && at;                                                                           \
    memcpy(&api.name, &at, sizeof at);
    CURL_NAMES(CURL_LOAD)
#undef CURL_LOAD
    return whole;
}

typedef struct fetch {
    const net_range *nets;
    int n_nets, out_fd;
    size_t n_bytes;
    bool too_large, refused; /* refused: an address that may not be fetched from */
    double until_ms;
} fetch;

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static size_t on_bytes(char *bytes, size_t size, size_t count, void *ctx) {
    fetch *f = ctx;
    size_t n = size * count, done = 0;
    if (n > HELPER_BYTES_MAX - f->n_bytes) {
        f->too_large = true;
        return 0; /* ends the transfer */
    }
    while (done < n) {
        ssize_t put = pwrite(f->out_fd, bytes + done, n - done, (off_t)(f->n_bytes + done));
        if (put <= 0) return 0;
        done += (size_t)put;
    }
    f->n_bytes += n;
    return n;
}

static curl_socket_t on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address) {
    fetch *f = ctx;
    if (purpose != CURLSOCKTYPE_IPCXN || !address_allowed(&address->addr, f->nets, f->n_nets)) {
        f->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* http or https, a host, nobody's name and password. */
static bool url_is_plain(CURLU *url) {
    char *scheme = NULL, *host = NULL, *user = NULL;
    bool fine = api.url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                api.url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) && *host &&
                api.url_get(url, CURLUPART_USER, &user, 0) == CURLUE_NO_USER;
    api.free(scheme);
    api.free(host);
    api.free(user);
    return fine;
}

static void set_options(CURL *curl, CURLU *url, fetch *f) {
    double left_ms = f->until_ms - now_ms();
    api.easy_setopt(curl, CURLOPT_CURLU, url);
    api.easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    api.easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    api.easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    api.easy_setopt(curl, CURLOPT_PROXY, "");
    api.easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    api.easy_setopt(curl, CURLOPT_TIMEOUT_MS, left_ms < 1 ? 1L : (long)left_ms);
    api.easy_setopt(curl, CURLOPT_USERAGENT, "newsreader");
    api.easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L);
    api.easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L);
    api.easy_setopt(curl, CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)HELPER_BYTES_MAX);
    api.easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, on_socket);
    api.easy_setopt(curl, CURLOPT_OPENSOCKETDATA, f);
    api.easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    api.easy_setopt(curl, CURLOPT_WRITEDATA, f);
}

/* What a client may know: not which address, not what a library said. */
static void report_failure(helper_report *r, const fetch *f, CURLcode code) {
    if (f->refused)
        helper_say(r, NR_STATUS_IO, "image URL: its address is not a public one");
    else if (f->too_large || code == CURLE_FILESIZE_EXCEEDED)
        helper_say(r, NR_STATUS_LIMIT, "image URL: over 20 MiB");
    else if (code == CURLE_OPERATION_TIMEDOUT)
        helper_say(r, NR_STATUS_TIMEOUT, "image URL: not there within 10 seconds");
    else if (code == CURLE_COULDNT_RESOLVE_HOST)
        helper_say(r, NR_STATUS_IO, "image URL: its host is not known");
    else if (code == CURLE_PEER_FAILED_VERIFICATION)
        helper_say(r, NR_STATUS_IO, "image URL: its certificate is not valid");
    else
        helper_say(r, NR_STATUS_IO, "image URL: could not be fetched");
}

/* One hop. True when *next is to be fetched instead (curl_free). */
static bool hop(CURL *curl, const char *text, fetch *f, helper_report *r, char **next) {
    CURLU *url = api.url();
    *next = NULL;
    long status = 0;
    char *redirect = NULL;
    if (!url || api.url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK || !url_is_plain(url)) {
        helper_say(r, NR_STATUS_FORMAT,
                   "image URL: expected http or https, a host and no password");
        api.url_cleanup(url);
        return false;
    }
    api.easy_reset(curl);
    set_options(curl, url, f);
    CURLcode code = api.easy_perform(curl);
    api.easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    api.easy_getinfo(curl, CURLINFO_REDIRECT_URL, &redirect);
    *next = code == CURLE_OK && redirect ? strdup(redirect) : NULL;
    if (code != CURLE_OK)
        report_failure(r, f, code);
    else if (!*next && status != 200)
        helper_say(r, NR_STATUS_IO, "image URL: status %ld, expected 200", status);
    else
        r->status = NR_STATUS_OK;
    r->n_bytes = f->n_bytes;
    api.url_cleanup(url);
    return *next != NULL;
}

void fetch_run(const char *url, const net_range *nets, int n_nets, int out_fd,
               helper_report *report) {
    fetch f = {
        .nets = nets, .n_nets = n_nets, .out_fd = out_fd, .until_ms = now_ms() + HELPER_FETCH_MS};
    if (!load_curl()) {
        helper_say(report, NR_STATUS_UNSUPPORTED, "image URL: libcurl.so.4 is not installed here");
        return;
    }
    char *at = strdup(url), *next = NULL;
    api.global_init(CURL_GLOBAL_DEFAULT);
    CURL *curl = api.easy_init();
    helper_say(report, NR_STATUS_IO, "image URL: redirected more than %d times", REDIRECTS_MAX);
    for (int i = 0; curl && at && i <= REDIRECTS_MAX; i++) {
        bool again = hop(curl, at, &f, report, &next);
        free(at);
        at = next;
        if (!again) break;
        f.n_bytes = 0; /* the body of a redirect is nobody's */
        helper_say(report, NR_STATUS_IO, "image URL: redirected more than %d times", REDIRECTS_MAX);
        if (ftruncate(out_fd, 0) != 0) break;
    }
    free(at);
    api.easy_cleanup(curl);
}
