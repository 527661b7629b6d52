/* SPDX-License-Identifier: MIT
 *
 * test_make_checkpoint.c - the tool's folders open, their bytes depend on the seed alone, and its
 * lists for llava-1.5-7b and blip2-opt-2.7b are those of the published checkpoints.
 */
#include "fmt_test.h"
#include "hf_config.h"
#include "weights_file.h"

#include <math.h>
#include <sys/wait.h>

/* build/CONFIG/tests/formats/this -> build/CONFIG/tools/make_checkpoint */
static const char *tool(void) {
    static char path[4200];
    ssize_t n = readlink("/proc/self/exe", path, 4096);
    assert_true(n > 0);
    path[n] = '\0';
    for (int i = 0; i < 3; i++) *strrchr(path, '/') = '\0';
    strcat(path, "/tools/make_checkpoint");
    assert_true(nr_file_exists(path));
    return path;
}

/* Exit status of the tool with these arguments; its output goes to out. */
static int run_tool(const char *arguments, const char *out) {
    char command[8192];
    snprintf(command, sizeof command, "'%s' %s >'%s' 2>&1", tool(), arguments, out);
    int status = system(command);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void make(const scratch *s, const char *name, const char *arguments) {
    char all[512];
    snprintf(all, sizeof all, "%s '%s'", arguments, scratch_path(s, name));
    assert_int_equal(run_tool(all, scratch_path(s, "out")), 0);
}

static nr_weights *opened(const scratch *s, const char *name) {
    nr_weights *w = NULL;
    nr_error err = {0};
    nr_status status = nr_weights_open(scratch_path(s, name), &w, &err);
    if (status != NR_STATUS_OK) print_message("%s\n", err.message);
    assert_int_equal(status, NR_STATUS_OK);
    return w;
}

static void folders_open(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    make(&s, "odd", "--preset odd");
    nr_hf_config hf;
    nr_error err = {0};
    assert_int_equal(nr_hf_config_load(scratch_path(&s, "odd"), &hf, &err), 0);
    assert_string_equal(hf.model_type, "llava");
    assert_true(hf.bos_id == 1 && hf.pad_id == 606 && hf.eos_ids[0] == 2);
    int32_t head_dim = 0, side = 0;
    assert_int_equal(nr_json_need_i32(&hf.config, "text_config.head_dim", 1, 99, &head_dim, NULL),
                     0);
    assert_int_equal(head_dim, 12);
    assert_int_equal(nr_json_need_i32(&hf.preprocessor, "crop_size.height", 1, 99, &side, NULL), 0);
    assert_int_equal(side, 60);
    nr_hf_config_reset(&hf);
    nr_weights *w = opened(&s, "odd");
    const nr_weight *t;
    assert_int_equal(nr_weights_need(w, "language_model.model.layers.1.self_attn.k_proj.weight", 2,
                                     (int64_t[]){24, 90}, &t, NULL),
                     0);
    assert_int_equal(nr_weights_need(w,
                                     "vision_tower.vision_model.embeddings.patch_embedding.weight",
                                     4, (int64_t[]){60, 3, 12, 12}, &t, NULL),
                     0);
    assert_int_equal(
        nr_weights_need(w, "vision_tower.vision_model.embeddings.position_embedding.weight", 2,
                        (int64_t[]){26, 60}, &t, NULL),
        0);
    nr_weights_close(w);
    scratch_remove(&s);
}

static void read_tensor(const nr_weights *w, const char *name, float *values, int64_t n) {
    const nr_weight *t = nr_weights_find(w, name);
    assert_non_null(t);
    assert_int_equal(t->n_elements, n);
    assert_int_equal(nr_weights_read_f32(w, t, 0, n, values, NULL), 0);
}

/* Spread of a matrix about 1.3 / sqrt(inputs), of a norm about 0.2 but for two large elements. */
static void weights_are_lively(void **state) {
    (void)state;
    enum { OUT = 176, IN = 64 };
    scratch s;
    scratch_make(&s);
    make(&s, "tiny", "--preset tiny");
    nr_weights *w = opened(&s, "tiny");
    static float matrix[OUT * IN], norm[IN];
    read_tensor(w, "language_model.model.layers.0.mlp.up_proj.weight", matrix, OUT * IN);
    double sum = 0, squares = 0;
    for (int i = 0; i < OUT * IN; i++) {
        sum += (double)matrix[i];
        squares += (double)matrix[i] * (double)matrix[i];
    }
    assert_true(fabs(sum / (OUT * IN)) < 0.01);
    assert_true(fabs(sqrt(squares / (OUT * IN)) / (1.3 / 8) - 1) < 0.03);
    for (int layer = 0; layer < 3; layer++) {
        char name[96];
        snprintf(name, sizeof name, "language_model.model.layers.%d.input_layernorm.weight", layer);
        read_tensor(w, name, norm, IN);
        int n_large = 0;
        for (int i = 0; i < IN; i++) n_large += fabsf(norm[i]) > 3;
        assert_true(n_large == 1 || n_large == 2); /* both may have fallen on one element */
    }
    nr_weights_close(w);
    scratch_remove(&s);
}

static void expect_same(const nr_weights *a, const nr_weights *b, bool same) {
    assert_int_equal(nr_weights_count(a), nr_weights_count(b));
    bool equal = true;
    for (int i = 0; i < nr_weights_count(a); i++) {
        const nr_weight *x = nr_weights_at(a, i), *y = nr_weights_find(b, x->name);
        assert_non_null(y);
        assert_int_equal(x->n_elements, y->n_elements);
        size_t bytes = (size_t)x->n_elements * sizeof(float);
        float *p = malloc(bytes), *q = malloc(bytes);
        assert_int_equal(nr_weights_read_f32(a, x, 0, x->n_elements, p, NULL), 0);
        assert_int_equal(nr_weights_read_f32(b, y, 0, y->n_elements, q, NULL), 0);
        equal = equal && memcmp(p, q, bytes) == 0;
        free(p);
        free(q);
    }
    assert_int_equal(equal, same);
}

static void bytes_depend_on_the_seed_alone(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    make(&s, "a", "--preset odd --seed 5");
    make(&s, "b", "--preset odd --seed 5");
    make(&s, "sharded", "--preset odd --seed 5 --shard-bytes 100000");
    make(&s, "other", "--preset odd --seed 6");
    const char *const files[] = {"model.safetensors", "tokenizer.json", "config.json",
                                 "tokenizer_config.json", "preprocessor_config.json"};
    for (size_t i = 0; i < NR_COUNT(files); i++) {
        char name[2][64], *text[2];
        size_t bytes[2];
        for (int k = 0; k < 2; k++) {
            snprintf(name[k], sizeof name[k], "%s/%s", k ? "b" : "a", files[i]);
            assert_int_equal(
                nr_file_read_all(scratch_path(&s, name[k]), 1 << 24, &text[k], &bytes[k], NULL), 0);
        }
        assert_int_equal(bytes[0], bytes[1]);
        assert_memory_equal(text[0], text[1], bytes[0]);
        nr_free(text[0]);
        nr_free(text[1]);
    }
    nr_weights *a = opened(&s, "a"), *sharded = opened(&s, "sharded"), *other = opened(&s, "other");
    assert_true(nr_weights_n_shards(sharded) > 4);
    expect_same(a, sharded, true);
    expect_same(a, other, false);
    nr_weights_close(a);
    nr_weights_close(sharded);
    nr_weights_close(other);
    scratch_remove(&s);
}

static void writes_every_type_and_spelling(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    make(&s, "f32", "--preset tiny --dtype f32 --names new");
    make(&s, "bf16", "--preset tiny --dtype bf16 --names short text.num_key_value_heads=2");
    nr_weights *w = opened(&s, "f32");
    const nr_weight *t = nr_weights_find(w, "model.language_model.layers.0.mlp.up_proj.weight");
    assert_true(t && t->dtype == NR_DTYPE_F32);
    assert_non_null(nr_weights_find(w, "lm_head.weight"));
    nr_weights_close(w);
    w = opened(&s, "bf16");
    t = nr_weights_find(w, "vision_tower.pre_layrnorm.weight");
    assert_true(t && t->dtype == NR_DTYPE_BF16);
    assert_int_equal(nr_weights_need(w, "language_model.model.layers.0.self_attn.k_proj.weight", 2,
                                     (int64_t[]){32, 64}, &t, NULL),
                     0);
    nr_weights_close(w);
    make(&s, "blip2", "--preset blip2-tiny --names new");
    w = opened(&s, "blip2");
    assert_non_null(nr_weights_find(w, "model.qformer.layernorm.weight"));
    assert_non_null(nr_weights_find(w, "model.language_model.decoder.embed_tokens.weight"));
    nr_weights_close(w);
    scratch_remove(&s);
}

static void refuses_bad_options(void **state) {
    (void)state;
    const char *const bad[] = {"",
                               "--preset",
                               "--preset huge x",
                               "--preset tiny",
                               "--preset tiny x y",
                               "--preset tiny x --dtype int8",
                               "--preset tiny x --seed -1",
                               "--preset tiny x --what 1",
                               "--preset tiny x --names old",
                               "--preset tiny x text.hidden_size=0",
                               "--preset tiny x text.hidden=64",
                               "--preset tiny x text.num_key_value_heads=3",
                               "--preset tiny x text.vocab_size=601",
                               "--preset tiny x vision.image_size=57",
                               "--preset blip2-tiny x text.hidden_size=66",
                               "--preset blip2-tiny x qformer.hidden_size=50",
                               "--preset blip2-tiny x base_tokens=590"};
    for (size_t i = 0; i < NR_COUNT(bad); i++) assert_int_equal(run_tool(bad[i], "/dev/null"), 2);
    scratch s;
    scratch_make(&s);
    make(&s, "a", "--preset tiny");
    char again[256];
    snprintf(again, sizeof again, "--preset tiny '%s'", scratch_path(&s, "a"));
    assert_int_equal(run_tool(again, scratch_path(&s, "out")), 1); /* never over another */
    scratch_remove(&s);
}

/* Out of room in the second shard: the first goes too, and no config.json appears. */
static void leaves_nothing_on_a_full_disk(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    char command[8192];
    snprintf(
        command, sizeof command,
        "trap '' XFSZ; ulimit -f 320; '%s' --preset tiny --shard-bytes 400000 '%s' 2>/dev/null",
        tool(), scratch_path(&s, "full"));
    int status = system(command); /* 320 blocks of 512 or 1024 bytes: under 400000 */
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    scratch full;
    snprintf(full.dir, sizeof full.dir, "%.50s/full", s.dir);
    assert_int_equal(count_entries(&full), 0);
    scratch_remove(&s);
}

/* FNV-1a over the stored bytes of every tensor, in the order of names. */
static uint64_t hash_of(const nr_weights *w) {
    uint64_t h = 0xcbf29ce484222325u;
    for (int i = 0; i < nr_weights_count(w); i++) {
        const nr_weight *t = nr_weights_at(w, i);
        uint8_t *bytes = malloc(t->bytes);
        assert_int_equal(nr_weights_read(w, t, 0, bytes, t->bytes, NULL), 0);
        for (uint64_t k = 0; k < t->bytes; k++) h = (h ^ bytes[k]) * 0x100000001b3u;
        free(bytes);
    }
    return h;
}

/* The checkpoints that tests/tiny holds results for: "name hash options". */
static void reference_checkpoints_have_their_bytes(void **state) {
    (void)state;
    scratch s;
    scratch_make(&s);
    FILE *list = fopen("tests/tiny/checkpoints.txt", "r");
    assert_non_null(list);
    char line[512], name[64], options[400];
    int n = 0, n_wrong = 0;
    for (; fgets(line, sizeof line, list); n++) {
        unsigned long long expected;
        assert_int_equal(sscanf(line, "%63s %llx %399[^\n]", name, &expected, options), 3);
        make(&s, name, options);
        nr_weights *w = opened(&s, name);
        uint64_t found = hash_of(w);
        nr_weights_close(w);
        if (found == expected) continue;
        print_message("%s: %016llx, expected %016llx\n", name, (unsigned long long)found, expected);
        n_wrong++;
    }
    fclose(list);
    assert_int_equal(n, 5);
    assert_int_equal(n_wrong, 0);
    scratch_remove(&s);
}

static json_t *read_json(const char *folder, const char *name) {
    char path[1024];
    json_t *root = NULL;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(nr_json_read_file(path, NR_JSON_BYTES_MAX, &root, NULL), 0);
    return root;
}

/* name TAB type TAB [d, d] TAB shard, against the published names, shapes and, where known, shards.
 */
static void check_line(char *line, const json_t *shapes, const json_t *map) {
    char *field[4];
    for (int i = 0; i < 4; i++) field[i] = strtok(i ? NULL : line, "\t\n");
    assert_non_null(field[3]);
    assert_string_equal(field[1], "F16");
    const json_t *shape = json_object_get(shapes, field[0]);
    if (!shape) print_message("%s is not in the published list\n", field[0]);
    assert_non_null(shape);
    char *text = json_dumps(shape, 0);
    assert_string_equal(field[2], text);
    nr_free(text);
    if (map) assert_string_equal(field[3], json_string_value(json_object_get(map, field[0])));
}

/* Returns the number of tensors that the tool lists for a preset, each of them published. */
static int check_list(const char *preset, const json_t *shapes, const json_t *map) {
    scratch s;
    char arguments[128], line[512];
    scratch_make(&s);
    snprintf(arguments, sizeof arguments, "--preset %s --list", preset);
    assert_int_equal(run_tool(arguments, scratch_path(&s, "list")), 0);
    FILE *list = fopen(scratch_path(&s, "list"), "r");
    assert_non_null(list);
    int n = 0;
    for (; fgets(line, sizeof line, list); n++) check_line(line, shapes, map);
    fclose(list);
    scratch_remove(&s);
    return n;
}

static void lists_the_published_llava(void **state) {
    (void)state;
    const char *folder = shared_or_skip("data/model-configs/llava-1.5-7b-hf");
    json_t *tensors = read_json(folder, "tensors.json");
    json_t *index = read_json(folder, "model.safetensors.index.json");
    const json_t *shapes = json_object_get(tensors, "tensors");
    assert_int_equal(check_list("llava-1.5-7b", shapes, json_object_get(index, "weight_map")), 686);
    assert_int_equal(json_object_size(shapes), 686);
    nr_json_free(tensors);
    nr_json_free(index);
}

/* All but the head, which is the table again. */
static void lists_the_published_blip2(void **state) {
    (void)state;
    json_t *tensors =
        read_json(shared_or_skip("data/model-configs/blip2-opt-2.7b"), "tensors.json");
    json_t *shapes = json_object_get(tensors, "tensors");
    assert_int_equal(json_object_del(shapes, "language_model.lm_head.weight"), 0);
    assert_int_equal(check_list("blip2-opt-2.7b", shapes, NULL), 1247);
    assert_int_equal(json_object_size(shapes), 1247);
    nr_json_free(tensors);
}

/* Every key of the published small files that the tool writes too has the published value. */
static void check_subset(const char *where, const json_t *ours, const json_t *published,
                         const char *const *not_compared) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)published, key, value) {
        bool skipped = false;
        for (int i = 0; not_compared[i]; i++)
            skipped = skipped || strcmp(key, not_compared[i]) == 0;
        if (skipped) continue;
        const json_t *mine = json_object_get(ours, key);
        if (json_is_object(value)) {
            check_subset(key, mine, value, not_compared);
        } else if (!json_equal(mine, value)) {
            print_message("%s.%s differs\n", where, key);
            assert_true(json_equal(mine, value));
        }
    }
}

/* The settings of a preset with widths made small, against the published files. */
static void check_configs(const char *folder, const char *thin, const char *const *files) {
    /* the origin of the files, and the widths */
    static const char *const not_compared[] = {"_name_or_path",       "transformers_version",
                                               "_from_model_config",  "hidden_size",
                                               "intermediate_size",   "ffn_dim",
                                               "word_embed_proj_dim", NULL};
    scratch s;
    scratch_make(&s);
    make(&s, "thin", thin);
    for (; *files; files++) {
        json_t *published = read_json(folder, *files);
        json_t *ours = read_json(scratch_path(&s, "thin"), *files);
        json_object_del(published, "vocab_size"); /* repeated in text_config */
        if (json_object_get(published, "vision_config"))
            json_object_del(json_object_get(published, "vision_config"), "vocab_size");
        check_subset(*files, ours, published, not_compared);
        nr_json_free(published);
        nr_json_free(ours);
    }
    scratch_remove(&s);
}

static void configs_have_the_published_values(void **state) {
    static const char *const files[] = {"config.json", "generation_config.json",
                                        "preprocessor_config.json", "processor_config.json", NULL};
    (void)state;
    check_configs(shared_or_skip("data/model-configs/llava-1.5-7b-hf"),
                  "--preset llava-1.5-7b text.hidden_size=8 text.head_dim=2"
                  " text.intermediate_size=8 text.num_hidden_layers=1 vision.hidden_size=16"
                  " vision.intermediate_size=16",
                  files);
}

static void blip2_configs_have_the_published_values(void **state) {
    static const char *const files[] = {"config.json", NULL};
    (void)state;
    check_configs(shared_or_skip("data/model-configs/blip2-opt-2.7b"),
                  "--preset blip2-opt-2.7b --dtype f32 text.hidden_size=32 text.intermediate_size=8"
                  " vision.hidden_size=16 vision.intermediate_size=16 qformer.hidden_size=12"
                  " qformer.intermediate_size=8",
                  files);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_open),
        cmocka_unit_test(weights_are_lively),
        cmocka_unit_test(bytes_depend_on_the_seed_alone),
        cmocka_unit_test(writes_every_type_and_spelling),
        cmocka_unit_test(refuses_bad_options),
        cmocka_unit_test(leaves_nothing_on_a_full_disk),
        cmocka_unit_test(reference_checkpoints_have_their_bytes),
        cmocka_unit_test(lists_the_published_llava),
        cmocka_unit_test(lists_the_published_blip2),
        cmocka_unit_test(configs_have_the_published_values),
        cmocka_unit_test(blip2_configs_have_the_published_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
