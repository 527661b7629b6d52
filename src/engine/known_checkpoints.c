/* SPDX-License-Identifier: MIT
 *
 * known_checkpoints.c - see known_checkpoints.h. A model type that the registry knows is planned by
 * the model's own code from config_json; the shapes serve the others until then.
 */
#include "known_checkpoints.h"

#include "engine_internal.h"
#include "nr_limits.h"
#include "nr_threads.h"
#include "weight_loader.h"

#include <string.h>

/* Scales, biases, norms and outlier columns of INT8, as measured on LLaVA-1.5-7B: a 150th part
 * more than a byte a parameter. */
#define INT8_BYTES_OF(n_params) ((n_params) + (n_params) / NR_KNOWN_SIDES_PART)
#define NR_KNOWN_SIDES_PART 150
#define ROWS_MAX 256 /* of one forward call */
#define LOGITS_ROWS 4

static const nr_known known[] = {
    {.name = "llava-1.5-7b",
     .repository = "llava-hf/llava-1.5-7b-hf",
     .model_type = "llava",
     .config_json =
         "{\"model_type\": \"llava\", \"image_token_index\": 32000, \"text_config\": {"
         "\"model_type\": \"llama\", \"vocab_size\": 32064, \"hidden_size\": 4096,"
         "\"intermediate_size\": 11008, \"num_hidden_layers\": 32, \"num_attention_heads\": 32,"
         "\"max_position_embeddings\": 4096}, \"vision_config\": {"
         "\"model_type\": \"clip_vision_model\", \"hidden_size\": 1024,"
         "\"intermediate_size\": 4096, \"num_hidden_layers\": 24, \"num_attention_heads\": 16,"
         "\"image_size\": 336, \"patch_size\": 14}}",
     .tokenizer_bytes = 3201933,
     .encoder_factor = 35,
     .rows_max = 11008},
    {.name = "blip2-opt-2.7b",
     .repository = "Salesforce/blip2-opt-2.7b",
     .model_type = "blip-2",
     .config_json =
         "{\"model_type\": \"blip-2\", \"num_query_tokens\": 32, \"image_token_index\": 50265,"
         "\"vision_config\": {\"model_type\": \"blip_2_vision_model\", \"hidden_size\": 1408,"
         "\"intermediate_size\": 6144, \"num_hidden_layers\": 39, \"num_attention_heads\": 16,"
         "\"image_size\": 224, \"patch_size\": 14}, \"qformer_config\": {"
         "\"model_type\": \"blip_2_qformer\", \"hidden_size\": 768, \"intermediate_size\": 3072,"
         "\"num_hidden_layers\": 12, \"num_attention_heads\": 12, \"cross_attention_frequency\": 2,"
         "\"encoder_hidden_size\": 1408}, \"text_config\": {\"model_type\": \"opt\","
         "\"vocab_size\": 50304, \"hidden_size\": 2560, \"word_embed_proj_dim\": 2560,"
         "\"ffn_dim\": 10240, \"num_hidden_layers\": 32, \"num_attention_heads\": 32,"
         "\"max_position_embeddings\": 2048}}",
     .tokenizer_bytes = 3793423,
     .encoder_factor = 30,
     .rows_max = 10240,
     .shapes = {.vision = 985952256,
                .bridge = 105137664 + 24576 + 1968640,
                .language = 2651678720,
                .n_layers = 32,
                .n_heads = 32,
                .n_kv_heads = 32,
                .head_dim = 80,
                .hidden = 2560,
                .ffn = 10240,
                .vocab = 50304,
                .image_tokens = 32,
                .context = 256,
                .vision_rows = 257,
                .vision_hidden = 1408,
                .vision_ffn = 6144,
                .vision_side = 224}},
    {.name = "llava-1.6-mistral-7b",
     .repository = "llava-hf/llava-v1.6-mistral-7b-hf",
     .model_type = "llava_next",
     .config_json = "{}",
     .tokenizer_bytes = 3190365,
     .encoder_factor = 35,
     .rows_max = 14336,
     .shapes = {.vision = 303507456,
                .bridge = 20979712 + 4096,
                .language = 7242256384 - 32064 * 4096,
                .head = 32064 * 4096,
                .n_layers = 32,
                .n_heads = 32,
                .n_kv_heads = 8,
                .head_dim = 128,
                .hidden = 4096,
                .ffn = 14336,
                .vocab = 32064,
                .image_tokens = 2880,
                .context = 2880 + 448,
                .vision_rows = 577,
                .vision_hidden = 1024,
                .vision_ffn = 4096,
                .vision_side = 336}},
    {.name = "llama-3-8b",
     .repository = "meta-llama/Meta-Llama-3-8B",
     .model_type = "llama",
     .config_json =
         "{\"model_type\": \"llama\", \"vocab_size\": 128256, \"hidden_size\": 4096,"
         "\"intermediate_size\": 14336, \"num_hidden_layers\": 32, \"num_attention_heads\": 32,"
         "\"num_key_value_heads\": 8, \"rope_theta\": 500000.0,"
         "\"max_position_embeddings\": 8192, \"tie_word_embeddings\": false}",
     .tokenizer_bytes = 21040758,
     .encoder_factor = 30,
     .rows_max = 14336},
};

const nr_known *nr_known_find(const char *name) {
    for (size_t i = 0; i < NR_COUNT(known); i++) {
        const char *slash = strchr(known[i].repository, '/');
        if (strcmp(name, known[i].name) == 0 || strcmp(name, known[i].repository) == 0 ||
            strcmp(name, slash + 1) == 0)
            return &known[i];
    }
    return NULL;
}

const char *nr_known_checkpoint(int i) {
    return i >= 0 && (size_t)i < NR_COUNT(known) ? known[i].name : NULL;
}

static uint64_t weights_of(uint64_t n_params, const nr_engine_options *o) {
    return o->precision == NR_PRECISION_F32 ? 4 * n_params : INT8_BYTES_OF(n_params);
}

/* Activations of the larger of a chunk of the prompt and one picture, f32. */
static uint64_t scratch_of(const nr_known_shapes *s) {
    uint64_t qkv = (uint64_t)(s->n_heads + 2 * s->n_kv_heads) * (uint64_t)s->head_dim;
    uint64_t text = ROWS_MAX * (3 * (uint64_t)s->hidden + qkv + 3 * (uint64_t)s->ffn) +
                    LOGITS_ROWS * ((uint64_t)s->hidden + (uint64_t)s->vocab);
    uint64_t rows = (uint64_t)s->vision_rows, d = (uint64_t)s->vision_hidden;
    uint64_t vision = rows * (9 * d + (uint64_t)s->vision_ffn);
    return 4 * NR_MAX(text, vision);
}

static uint64_t kv_of(const nr_known_shapes *s, const nr_engine_options *o, int32_t context) {
    uint64_t cells = 2 * (uint64_t)s->n_layers * (uint64_t)s->n_kv_heads * (uint64_t)context;
    uint64_t bytes_a_row = (uint64_t)s->head_dim * 2;
    if (nr_kv_used(o) == NR_KV_INT8)
        bytes_a_row = (uint64_t)s->head_dim + sizeof(float);
    else if (o->precision == NR_PRECISION_F32)
        bytes_a_row = (uint64_t)s->head_dim * 4;
    return cells * bytes_a_row;
}

void nr_known_estimate(const nr_known *k, const nr_engine_options *o, nr_memory_plan *p) {
    const nr_known_shapes *s = &k->shapes;
    uint64_t n = (uint64_t)p->n_slots;
    p->estimate = true;
    p->context_tokens = (int32_t)nr_round_up(
        (size_t)(o->context_tokens ? o->context_tokens : s->context), NR_KV_BLOCK);
    uint64_t features = 4 * (uint64_t)s->image_tokens * (uint64_t)s->hidden;
    uint64_t kv = kv_of(s, o, p->context_tokens);
    uint64_t pixels = 12 * (uint64_t)s->vision_side * (uint64_t)s->vision_side;
    uint64_t prompt =
        k->encoder_factor * nr_prompt_room(p->context_tokens) + 12 * (uint64_t)s->vocab;
    nr_plan_add(p, "weights: vision", "estimate", weights_of(s->vision, o), true);
    nr_plan_add(p, "weights: bridge", "estimate", weights_of(s->bridge, o), true);
    nr_plan_add(p, "weights: language", "estimate", weights_of(s->language, o), true);
    nr_plan_add(p, "weights: head", "estimate", weights_of(s->head, o), true);
    for (int i = 0; i < p->n_parts; i++) p->weights_bytes += p->parts[i].bytes;
    nr_plan_add(p, "kv cache", "context x slots", n * kv, true);
    nr_plan_add(p, "picture features", "x slots", n * features, true);
    nr_plan_add(p, "picture preprocessing", "x slots", n * pixels, false);
    nr_plan_add(p, "prompt and logits buffers", "x slots", n * prompt, false);
    p->session_bytes = kv + features + pixels + prompt;
    p->scratch_bytes = scratch_of(s);
    nr_plan_add(p, "scratch", "estimate", p->scratch_bytes, true);
    p->image_cache_bytes = (uint64_t)o->image_cache * features;
    nr_plan_add(p, "image cache", "pictures kept", p->image_cache_bytes, true);
    p->tokenizer_bytes = k->tokenizer_bytes;
    p->staging_bytes = nr_loader_bytes_of(NR_MAX(s->ffn, s->hidden), 3 * (int64_t)s->vocab,
                                          o->n_threads ? o->n_threads : nr_cpu_count());
}
