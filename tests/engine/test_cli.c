/* SPDX-License-Identifier: MIT
 *
 * test_cli.c - the command as its users meet it: what it prints where, exit codes, JSON shapes.
 */
#include "engine_fixture.h"

#include <jansson.h>
#include <sys/wait.h>

static char model[4096], command_path[4096];
static const char picture[] = "tests/tiny/tiny/tall.png";

static int set_up(void **state) {
    (void)state;
    fixture_build_dir(command_path);
    strcat(command_path, "/newsreader");
    fixture_temp_dir(temp);
    fixture_make_checkpoint("tiny", fixture_path(model, "%s/tiny", temp), "");
    return 0;
}

typedef struct output {
    int code;
    char *out, *err; /* owns */
} output;

/* Run `newsreader ARGS` in a shell; {m} stands for the model's folder, {t} for a temporary one. */
static output run(const char *args, const char *input) {
    char expanded[16384], line[32768], out_path[4096], err_path[4096];
    size_t used = 0;
    for (const char *p = args; *p; p++) {
        const char *insert = strncmp(p, "{m}", 3) == 0   ? model
                             : strncmp(p, "{t}", 3) == 0 ? temp
                                                         : NULL;
        assert_true(used + 4200 < sizeof expanded);
        if (insert) {
            used += (size_t)snprintf(expanded + used, 4100, "%s", insert);
            p += 2;
        } else {
            expanded[used++] = *p;
        }
    }
    expanded[used] = '\0';
    fixture_path(out_path, "%s/stdout", temp);
    fixture_path(err_path, "%s/stderr", temp);
    int n = snprintf(line, sizeof line, "%s %s <%s >%s 2>%s", command_path, expanded,
             input ? input : "/dev/null", out_path, err_path);
    assert_true(n > 0 && (size_t)n < sizeof line);
    int status = system(line);
    assert_true(WIFEXITED(status));
    return (output){.code = WEXITSTATUS(status),
                    .out = fixture_read_file(out_path, NULL),
                    .err = fixture_read_file(err_path, NULL)};
}

static void drop(output *o) {
    free(o->out);
    free(o->err);
}

/* Exit code, and a word of standard error ("" for silence). */
static void expect(const char *args, int code, const char *word) {
    output o = run(args, NULL);
    if (o.code != code) fail_msg("%s: exit %d: %s", args, o.code, o.err);
    if (!strstr(o.err, word)) fail_msg("%s: \"%s\" not in: %s", args, word, o.err);
    if (!*word && *o.err) fail_msg("%s: standard error says: %s", args, o.err);
    drop(&o);
}

static void test_usage(void **state) {
    (void)state;
    output o = run("--help", NULL);
    assert_int_equal(o.code, 0);
    assert_non_null(strstr(o.out, "usage: newsreader read"));
    drop(&o);
    o = run("--version", NULL);
    assert_int_equal(strncmp(o.out, "newsreader ", 11), 0);
    drop(&o);
    expect("", 2, "usage");
    expect("frobnicate", 2, "frobnicate");
    expect("read --model {m}", 2, "no pictures");
    expect("read --model {m} --dtype int7 x.png", 2, "int7");
    expect("read --model {m} --max-tokens 0 x.png", 2, "--max-tokens 0");
    expect("read --model {m} --top-p 1.5 x.png", 2, "--top-p");
    expect("read --model {m} --image-fit stretch x.png", 2, "stretch");
    expect("read --model {m} --fields headline,weather x.png", 2, "weather");
    expect("read --model {m} --frob x.png", 2, "frob");
    expect("read --model {t}/nowhere x.png", 3, "nowhere");
    expect("quantize {m}", 2, "DIR OUT");
    expect("trace --model {m}", 2, "--out");
    expect("read --model {m} --context 30 --prompt 'What is the headline of this page?' "
           "tests/tiny/tiny/tall.png", 1, "prompt of ");
}

/* Words of help anywhere, files where none belong, a list of nothing. */
static void test_strays(void **state) {
    (void)state;
    static const char *const helps[] = {"help", "-h", "read --help", "plan -h"};
    for (size_t i = 0; i < NR_COUNT(helps); i++) {
        output o = run(helps[i], NULL);
        assert_int_equal(o.code, 0);
        assert_non_null(strstr(o.out, "usage: newsreader read"));
        drop(&o);
    }
    expect("read --model {m} --fields= x.png", 2, "--fields");
    expect("read --top-k", 2, "newsreader: option");
    expect("plan --model {m} x", 2, "\"x\"");
    expect("bench --model {m} x", 2, "\"x\"");
    expect("tokenize --model {m} x", 2, "\"x\"");
    expect("trace --model {m} --prompt x --out {t}/x x", 2, "\"x\"");
}

/* A full disk behind standard output is no success. */
static void test_output_lost(void **state) {
    (void)state;
    static const char *const commands[] = {
        "--help", "plan --model %s", "plan --json --model %s", "bench --tokens 2 --model %s",
        "read --max-tokens 3 --prompt x --model %s tests/tiny/tiny/tall.png",
        "read --json --max-tokens 3 --prompt x --model %s tests/tiny/tiny/tall.png"};
    if (access("/dev/full", W_OK) != 0) {
        print_message("no /dev/full\n");
        skip();
    }
    for (size_t i = 0; i < NR_COUNT(commands); i++) {
        char line[16384], err_path[4096];
        int n = snprintf(line, sizeof line, "%s ", command_path);
        n += snprintf(line + n, sizeof line - (size_t)n, commands[i], model);
        fixture_path(err_path, "%s/stderr", temp);
        snprintf(line + n, sizeof line - (size_t)n, " >/dev/full 2>%s", err_path);
        int status = system(line);
        char *err = fixture_read_file(err_path, NULL);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 1 || !strstr(err, "standard output"))
            fail_msg("%s: status %d: %s", line, status, err);
        free(err);
    }
}

/* On a terminal the file being read is named, on a line that is cleared. */
static void test_terminal(void **state) {
    (void)state;
    char line[32768], out_path[4096];
    if (system("script -qec true /dev/null >/dev/null 2>&1 </dev/null") != 0) {
        print_message("script(1) makes no terminal here\n");
        skip();
    }
    fixture_path(out_path, "%s/terminal", temp);
    snprintf(line, sizeof line,
             "script -qec '%s read --max-tokens 3 --prompt x --model %s %s nowhere.png >/dev/null' "
             "/dev/null >%s 2>&1 </dev/null",
             command_path, model, picture, out_path);
    int status = system(line);
    char *out = fixture_read_file(out_path, NULL);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 1) fail_msg("status %d: %s", status, out);
    assert_non_null(strstr(out, "\rloading "));
    assert_non_null(strstr(out, "\r\033[K[1/2] tall.png \r\033[K[2/2] nowhere.png \r\033[K"));
    assert_non_null(strstr(out, "\r\033[Knewsreader: not found: nowhere.png"));
    free(out);
}

static void test_read_text(void **state) {
    (void)state;
    char args[4096];
    snprintf(args, sizeof args, "read --model {m} --prompt 'What is it?' --max-tokens 5 %s",
             picture);
    output o = run(args, NULL);
    assert_int_equal(o.code, 0);
    assert_string_equal(o.err, ""); /* no progress where nobody watches */
    assert_true(strlen(o.out) > 1 && o.out[strlen(o.out) - 1] == '\n');
    output piped = run("read --model {m} --prompt 'What is it?' --max-tokens 5 -", picture);
    assert_string_equal(piped.out, o.out);
    drop(&o);
    drop(&piped);
}

static void check_reply(const json_t *reply, const char *fit) {
    static const char *const times[] = {"load", "decode_image", "preprocess", "vision", "prefill",
                                        "generate"};
    assert_string_equal(json_string_value(json_object_get(reply, "model")), "tiny");
    assert_string_equal(json_string_value(json_object_get(reply, "dtype")), "int8");
    assert_string_equal(json_string_value(json_object_get(reply, "image_fit")), fit);
    assert_string_equal(json_string_value(json_object_get(reply, "finish_reason")), "length");
    const json_t *tokens = json_object_get(reply, "tokens");
    assert_int_equal(json_integer_value(json_object_get(tokens, "image")), 16);
    assert_int_equal(json_integer_value(json_object_get(tokens, "answer")), 4);
    assert_true(json_integer_value(json_object_get(tokens, "prompt")) > 20);
    for (size_t i = 0; i < NR_COUNT(times); i++)
        assert_true(json_real_value(json_object_get(json_object_get(reply, "ms"), times[i])) > 0);
    const json_t *memory = json_object_get(reply, "memory");
    assert_true(json_integer_value(json_object_get(memory, "planned_bytes")) > 100000);
    assert_true(json_integer_value(json_object_get(memory, "peak_bytes")) > 100000);
}

/* Who asks for JSON gets it when the model cannot be opened, too. */
static void test_json_without_model(void **state) {
    (void)state;
    static const char *const commands[] = {"read --json --model {t}/nowhere x.png",
                                           "plan --json --model {t}/nowhere",
                                           "bench --json --model {t}/nowhere"};
    for (size_t i = 0; i < NR_COUNT(commands); i++) {
        output o = run(commands[i], NULL);
        assert_int_equal(o.code, 3);
        json_t *reply = json_loads(o.out, 0, NULL), *problem = json_object_get(reply, "error");
        assert_string_equal(json_string_value(json_object_get(problem, "code")), "NOT_FOUND");
        json_decref(reply);
        drop(&o);
    }
}

/* A broken picture in the middle costs its own answer, not the others'. */
static void test_read_json(void **state) {
    char args[4096], broken[4096];
    (void)state;
    fixture_path(broken, "%s/broken.png", temp);
    fixture_write_file(broken, "\x89PNG\r\n\x1a\nnonsense", 16);
    snprintf(args, sizeof args,
             "read --model {m} --json --prompt 'What is it?' --ignore-stop --max-tokens 4 "
             "--image-fit crop %s {t}/broken.png %s",
             picture, picture);
    output o = run(args, NULL);
    assert_int_equal(o.code, 1);
    assert_non_null(strstr(o.err, "broken.png"));
    char *line = strtok(o.out, "\n");
    for (int i = 0; i < 3; i++, line = strtok(NULL, "\n")) {
        assert_non_null(line);
        json_t *reply = json_loads(line, 0, NULL);
        assert_non_null(reply);
        if (i == 1)
            assert_string_equal(
                json_string_value(json_object_get(json_object_get(reply, "error"), "code")),
                "FORMAT");
        else check_reply(reply, "crop");
        json_decref(reply);
    }
    assert_null(line);
    drop(&o);
}

/* What is done but not as one would expect is said: on standard error, and in the JSON. */
static void test_remarks(void **state) {
    (void)state;
    static const char jinja[] = "{{ messages }}";
    char path[4096];
    json_t *reply;
    const char *template;
    static const char sound[] = "read --model {m} --json --prompt x --max-tokens 2 "
                                "tests/data/image/small/444.jpg";
    static const char damaged[] = "read --model {m} --json --prompt x --max-tokens 2 "
                                  "tests/data/image/small/bad_scan.jpg";
    output o = run(sound, NULL);
    assert_string_equal(o.err, "");
    reply = json_loads(o.out, 0, NULL);
    template = json_string_value(json_object_get(reply, "prompt_template"));
    assert_string_equal(template, "llava-1.5 (by model type)");
    assert_true(json_is_false(json_object_get(json_object_get(reply, "image"), "damaged")));
    json_decref(reply);
    drop(&o);
    fixture_write_file(fixture_path(path, "%s/chat_template.jinja", model), jinja, strlen(jinja));
    o = run(damaged, NULL);
    assert_int_equal(remove(path), 0);
    assert_int_equal(o.code, 0);
    assert_non_null(strstr(o.err, "bad_scan.jpg: damaged"));
    assert_non_null(strstr(o.err, "not a known one"));
    reply = json_loads(o.out, 0, NULL);
    template = json_string_value(json_object_get(reply, "prompt_template"));
    assert_non_null(strstr(template, "not a known one"));
    assert_true(json_is_true(json_object_get(json_object_get(reply, "image"), "damaged")));
    json_decref(reply);
    drop(&o);
}

/* File names are bytes: one that is not UTF-8 is read like any other. */
static void test_file_names(void **state) {
    (void)state;
    char path[4096];
    size_t n;
    char *bytes = fixture_read_file(picture, &n);
    fixture_write_file(fixture_path(path, "%s/\xff.png", temp), bytes, n);
    free(bytes);
    output o = run("read --model {m} --json --prompt x --max-tokens 2 {t}/\xff.png {t}/\xfe.png",
                   NULL);
    assert_int_equal(o.code, 1);
    char *line = strtok(o.out, "\n");
    for (int i = 0; i < 2; i++, line = strtok(NULL, "\n")) {
        json_t *reply = json_loads(line ? line : "", 0, NULL);
        const char *name = json_string_value(json_object_get(reply, "file"));
        if (!name || !strstr(name, "/?.png")) fail_msg("reply %d: %s", i, line ? line : "none");
        assert_true(json_is_object(json_object_get(reply, i ? "error" : "tokens")));
        json_decref(reply);
    }
    drop(&o);
}

static void test_fields(void **state) {
    char args[4096];
    (void)state;
    snprintf(args, sizeof args, "read --model {m} --json --fields headline,lead --max-tokens 4 %s",
             picture);
    output o = run(args, NULL);
    assert_int_equal(o.code, 0);
    json_t *reply = json_loads(o.out, 0, NULL), *fields = json_object_get(reply, "fields");
    assert_int_equal(json_object_size(fields), 2);
    assert_true(json_is_string(json_object_get(fields, "headline")));
    assert_true(json_is_string(json_object_get(fields, "lead")));
    json_decref(reply);
    drop(&o);
}

/* One reply of the BLIP-2 checkpoint; json_decref it. */
static json_t *ask_blip2(const char *options) {
    char args[4096];
    snprintf(args, sizeof args, "read --model {t}/blip2 --json --ignore-stop --max-tokens 4 %s %s",
             options, picture);
    output o = run(args, NULL);
    if (o.code != 0) fail_msg("%s: %s", args, o.err);
    json_t *reply = json_loads(o.out, 0, NULL);
    assert_non_null(reply);
    drop(&o);
    return reply;
}

static json_int_t prompt_tokens(const json_t *reply) {
    return json_integer_value(json_object_get(json_object_get(reply, "tokens"), "prompt"));
}

/* Without a prompt a caption: the picture's rows and </s>; the picture squashed as its files say,
 * padded on demand; fields are asked as questions. */
static void test_blip2(void **state) {
    char dir[4096];
    (void)state;
    fixture_make_checkpoint("blip2-tiny", fixture_path(dir, "%s/blip2", temp), "");
    json_t *caption = ask_blip2(""), *empty = ask_blip2("--prompt ''");
    json_t *padded = ask_blip2("--image-fit pad"), *asked = ask_blip2("--prompt 'Who?'");
    json_t *framed = ask_blip2("--prompt 'Question: Who? Answer:'");
    json_t *fields = ask_blip2("--fields headline,lead");
    assert_int_equal(prompt_tokens(caption), 9);
    assert_string_equal(json_string_value(json_object_get(caption, "image_fit")), "squash");
    assert_true(json_equal(json_object_get(caption, "text"), json_object_get(empty, "text")));
    assert_string_equal(json_string_value(json_object_get(padded, "image_fit")), "pad");
    assert_true(prompt_tokens(asked) > 9);
    assert_true(json_equal(json_object_get(asked, "text"), json_object_get(framed, "text")));
    assert_int_equal(json_object_size(json_object_get(fields, "fields")), 2);
    json_t *const all[] = {caption, empty, padded, asked, framed, fields};
    for (size_t i = 0; i < NR_COUNT(all); i++) json_decref(all[i]);
    expect("plan --model {t}/blip2", 0, "");
    expect("bench --model {t}/blip2 --tokens 3", 0, "");
}

static void test_tools(void **state) {
    char args[4096];
    (void)state;
    expect("quantize {m} {t}/int8", 0, "");
    expect("quantize {m} {t}/int8", 1, "exists");
    expect("plan --model {t}/int8", 0, "");
    snprintf(args, sizeof args, "read --model {t}/int8 --prompt x --max-tokens 2 %s", picture);
    expect(args, 0, "");
    expect("bench --model {m} --tokens 3", 0, "");
    snprintf(args, sizeof args, "trace --model {m} --image %s --prompt x --out {t}/t.safetensors",
             picture);
    expect(args, 0, "");
    snprintf(args, sizeof args,
             "trace --model {m} --image %s --prompt x --out {t}/no/t.safetensors", picture);
    expect(args, 1, "no/t.safetensors");
    output o = run("plan --model {m} --json", NULL);
    json_t *plan = json_loads(o.out, 0, NULL);
    assert_true(json_integer_value(json_object_get(plan, "total_bytes")) > 0);
    json_decref(plan);
    drop(&o);
}

static void test_tokenize(void **state) {
    char path[4096];
    (void)state;
    static const char lines[] = "\"news page\"\n\"</s> <image>\"\n\"\"\n";
    fixture_write_file(fixture_path(path, "%s/lines", temp), lines, sizeof lines - 1);
    output framed = run("tokenize --model {m}", path);
    output bare = run("tokenize --model {m} --no-special", path);
    assert_int_equal(framed.code, 0);
    assert_int_equal(bare.code, 0);
    assert_int_equal(strncmp(framed.out, "[1, ", 4), 0);
    assert_null(strstr(bare.out, "600")); /* the image token stays text */
    assert_non_null(strstr(framed.out, "[1]\n"));
    assert_non_null(strstr(bare.out, "[]\n"));
    drop(&framed);
    drop(&bare);
    fixture_write_file(path, "no json\n", 8);
    bare = run("tokenize --model {m}", path);
    assert_int_equal(bare.code, 1);
    drop(&bare);
}

/* The reply of one command as JSON; *code and the error text are checked by the caller. */
static json_t *reply_of(const char *args, int code, const char *in_stderr) {
    output o = run(args, NULL);
    if (o.code != code || !strstr(o.err, in_stderr)) fail_msg("%s: %d, %s", args, o.code, o.err);
    json_t *reply = json_loads(o.out, 0, NULL);
    if (!reply) fail_msg("%s: no JSON: %s", args, o.out);
    drop(&o);
    return reply;
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* A fallback answers and every reply says so; none answers and the refusal says why. */
static void test_ladder(void **state) {
    char args[4096];
    (void)state;
    snprintf(args, sizeof args,
             "read --model /no/A --fallback {m} --json --ignore-stop --max-tokens 4 --prompt x %s",
             picture);
    json_t *reply = reply_of(args, 0, "answers: A: missing");
    assert_string_equal(text_of(reply, "model"), "tiny");
    assert_true(json_is_true(json_object_get(reply, "degraded")));
    assert_non_null(strstr(text_of(reply, "reason"), "A: missing"));
    const json_t *memory = json_object_get(reply, "memory");
    assert_int_equal(json_integer_value(json_object_get(memory, "request_allocations")), 0);
    json_decref(reply);
    snprintf(args, sizeof args,
             "read --model {m} --json --ignore-stop --max-tokens 4 --prompt x %s", picture);
    reply = reply_of(args, 0, "");
    assert_true(json_is_false(json_object_get(reply, "degraded")));
    assert_non_null(strstr(text_of(reply, "reason"), "first choice"));
    json_decref(reply);
    snprintf(args, sizeof args,
             "read --model /no/A --fallback {m} --max-ram 1MB --json --prompt x %s", picture);
    reply = reply_of(args, 3, "no model: A: missing");
    assert_non_null(strstr(text_of(reply, "reason"), "does_not_fit"));
    assert_int_equal(json_array_size(json_object_get(reply, "rungs")), 2);
    assert_string_equal(text_of(json_object_get(reply, "error"), "code"), "CEILING");
    json_decref(reply);
    snprintf(args, sizeof args, "read --model {m} --max-ram 1MB --prompt x %s", picture);
    expect(args, 3, "bytes short");
    snprintf(args, sizeof args, "read --model {m} --max-vram 8GB --prompt x %s", picture);
    expect(args, 3, "VRAM");
    snprintf(args, sizeof args, "read --model {m} --gpu-layers 2 --prompt x %s", picture);
    expect(args, 3, "the device is the CPU");
    expect("plan --model {m} --gpu-layers some", 2, "expected auto, all or a number");
    expect("plan --model {m} --vision left", 2, "expected auto, gpu or cpu");
    snprintf(args, sizeof args, "read --model {m} --max-ram lots --prompt x %s", picture);
    expect(args, 2, "--max-ram");
    expect("read --model {m} --max-pixels 300000 samples/harbour-courier.png", 1, "300000");
    expect("read --model {m} --max-pixels 100 samples/harbour-courier.png", 3, "200704");
}

/* The command line goes before the file. */
static void test_config(void **state) {
    char path[4096], args[4096];
    static const char text[] = "{\"rungs\": [{\"model\": \"nowhere\"}, {\"model\": \"tiny\"}],"
                               " \"max_ram\": \"1MB\"}";
    (void)state;
    fixture_write_file(fixture_path(path, "%s/newsreader.json", temp), text, sizeof text - 1);
    snprintf(args, sizeof args, "read --config {t}/newsreader.json --prompt x %s", picture);
    expect(args, 3, "does_not_fit");
    snprintf(args, sizeof args,
             "read --config {t}/newsreader.json --max-ram 2GB --max-tokens 2 --prompt x %s",
             picture);
    expect(args, 0, "nowhere: missing");
    snprintf(args, sizeof args, "read --config {t}/newsreader.json --model {m} --prompt x %s",
             picture);
    expect(args, 2, "--config");
    snprintf(args, sizeof args, "read --config {t}/none.json --prompt x %s", picture);
    expect(args, 2, "none.json");
}

static void test_self_test(void **state) {
    (void)state;
    json_t *reply = reply_of("test --model {m} --json", 0, "");
    assert_true(json_is_true(json_object_get(reply, "passed")));
    assert_true(strlen(text_of(reply, "preview")) > 0);
    assert_true(json_integer_value(json_object_get(reply, "planned_resident_bytes")) > 100000);
    assert_true(json_integer_value(json_object_get(reply, "resident_bytes")) > 100000);
    assert_true(json_number_value(json_object_get(json_object_get(reply, "ms"), "vision")) > 0);
    json_decref(reply);
    output o = run("test --model {m} --fallback /no/B", NULL);
    assert_int_equal(o.code, 1);
    assert_non_null(strstr(o.out, "PASS"));
    assert_non_null(strstr(o.out, "loaded    no: /no/B: no such folder"));
    assert_non_null(strstr(o.out, "1 of 2 passed"));
    drop(&o);
}

static void test_plan(void **state) {
    (void)state;
    output o = run("plan --model llava-1.5-7b --kv f16 --gpu 24GB "
                   "--also scout=8GB,others=8GB,buffer=4.5GB",
                   NULL);
    assert_int_equal(o.code, 1);
    assert_non_null(strstr(o.out, "| scout"));
    assert_non_null(strstr(o.out, "| newsreader"));
    assert_non_null(strstr(o.out, "does not fit"));
    assert_non_null(strstr(o.out, "--kv int8"));
    assert_non_null(strstr(o.out, "--model blip2-opt-2.7b"));
    drop(&o);
    o = run("plan --model blip2-opt-2.7b --gpu 24GB --also scout=8GB,others=8GB", NULL);
    assert_int_equal(o.code, 0);
    assert_non_null(strstr(o.out, "| free"));
    assert_non_null(strstr(o.out, "it fits"));
    drop(&o);
    expect("plan --model {m} --gpu plenty", 2, "--gpu");
    expect("plan --model {m} --gpu 8GB --also scout", 2, "NAME=BYTES");
    json_t *plan = reply_of("plan --model llama-3-8b --max-ram 8GB --json", 1, "");
    assert_true(json_is_false(json_object_get(plan, "fits")));
    assert_true(json_array_size(json_object_get(plan, "parts")) > 5);
    assert_true(json_array_size(json_object_get(plan, "remedies")) > 0);
    assert_int_equal(json_integer_value(json_object_get(plan, "ceiling_bytes")), 8000000000);
    json_decref(plan);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_usage),
                                       cmocka_unit_test(test_ladder),
                                       cmocka_unit_test(test_config),
                                       cmocka_unit_test(test_self_test),
                                       cmocka_unit_test(test_plan),
                                       cmocka_unit_test(test_strays),
                                       cmocka_unit_test(test_output_lost),
                                       cmocka_unit_test(test_terminal),
                                       cmocka_unit_test(test_json_without_model),
                                       cmocka_unit_test(test_read_text),
                                       cmocka_unit_test(test_read_json),
                                       cmocka_unit_test(test_remarks),
                                       cmocka_unit_test(test_file_names),
                                       cmocka_unit_test(test_fields),
                                       cmocka_unit_test(test_blip2),
                                       cmocka_unit_test(test_tools),
                                       cmocka_unit_test(test_tokenize)};
    return cmocka_run_group_tests(tests, set_up, fixture_remove_temp);
}
