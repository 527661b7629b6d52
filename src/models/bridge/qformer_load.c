/* SPDX-License-Identifier: MIT
 * qformer_load.c - Blip2QFormerConfig's fields with its defaults, checked; then the tensors. */
#include "activation_config.h"
#include "qformer.h"

#include "nr_alloc.h"
#include "nr_limits.h"

static nr_status read_config(const nr_json_at *at, nr_qformer_config *c, nr_error *err) {
    bool text_input = false;
    c->hidden = 768;
    c->ffn = 3072;
    c->n_layers = 12;
    c->n_heads = 12;
    c->cross_every = 2;
    c->layer_norm_eps = 1e-12f;
    c->activation = NR_ACTIVATION_GELU;
    NR_TRY(nr_json_opt_i32(at, "hidden_size", 1, NR_HIDDEN_MAX, &c->hidden, err));
    NR_TRY(nr_json_opt_i32(at, "intermediate_size", 1, NR_REDUCTION_MAX, &c->ffn, err));
    NR_TRY(nr_json_opt_i32(at, "num_hidden_layers", 1, NR_LAYERS_MAX, &c->n_layers, err));
    NR_TRY(nr_json_opt_i32(at, "num_attention_heads", 1, NR_HEADS_MAX, &c->n_heads, err));
    NR_TRY(
        nr_json_opt_i32(at, "cross_attention_frequency", 1, NR_LAYERS_MAX, &c->cross_every, err));
    NR_TRY(nr_json_opt_f32(at, "layer_norm_eps", 0.0f, 1.0f, &c->layer_norm_eps, err));
    NR_TRY(nr_json_opt_bool(at, "use_qformer_text_input", &text_input, err));
    NR_FAIL_IF(text_input, UNSUPPORTED, "%s: use_qformer_text_input is true, expected false",
               at->where);
    return nr_activation_config(at, "hidden_act", &c->activation, err);
}

nr_status nr_qformer_configure(nr_qformer *m, const nr_json_at *at, nr_error *err) {
    nr_qformer_config *c = &m->config;
    NR_TRY(read_config(at, c, err));
    NR_FAIL_IF(c->hidden % c->n_heads != 0 || c->hidden / c->n_heads > NR_HEAD_DIM_MAX, SHAPE,
               "%s: hidden_size %d, expected 1 to %d values for each of the %d attention heads",
               at->where, c->hidden, NR_HEAD_DIM_MAX, c->n_heads);
    m->layers = nr_calloc((size_t)c->n_layers, sizeof *m->layers);
    NR_FAIL_IF(!m->layers, NO_MEMORY, "description of %d Q-Former layers", c->n_layers);
    return NR_STATUS_OK;
}

void nr_qformer_release(nr_qformer *m) {
    nr_free(m->layers);
    m->layers = NULL;
}

/* Weights of the norms that feed linears. */
typedef struct gammas {
    float *own;          /* host [hidden]: of the norm that wrote x last */
    const float *vision; /* host [vision_hidden] */
} gammas;

static nr_status load_attention(nr_qformer *m, nr_loader *l, const char *prefix,
                                nr_qformer_attention *at, gammas g, bool cross, nr_error *err) {
    int32_t d = m->config.hidden;
    nr_modules query = {prefix, {"attention.query"}, {d}, true, g.own};
    nr_modules kv = {
        prefix, {"attention.key", "attention.value"}, {d, d}, true, cross ? g.vision : g.own};
    nr_modules out = {prefix, {"output.dense"}, {d}, true, NULL};
    NR_TRY(nr_modules_load_wide(l, &at->query, &query, err));
    NR_TRY(nr_modules_load_wide(l, &at->kv, &kv, err));
    NR_TRY(nr_modules_load_wide(l, &at->out, &out, err));
    return nr_norm_load(l, &at->norm, prefix, "output.LayerNorm", d, g.own, err);
}

static nr_status load_layer(nr_qformer *m, nr_loader *l, const char *prefix, int32_t i, gammas g,
                            nr_error *err) {
    const nr_qformer_config *c = &m->config;
    nr_qformer_layer *layer = &m->layers[i];
    char at[NR_LOAD_NAME_MAX], part[NR_LOAD_NAME_MAX];
    nr_load_name(at, "%sqformer.encoder.layer.%d.", prefix, i);
    nr_load_name(part, "%sqformer.encoder.layer.%d.attention.", prefix, i);
    NR_TRY(load_attention(m, l, part, &layer->self, g, false, err));
    nr_load_name(part, "%sqformer.encoder.layer.%d.crossattention.", prefix, i);
    if (i % c->cross_every == 0) NR_TRY(load_attention(m, l, part, &layer->cross, g, true, err));
    nr_modules fc1 = {at, {"intermediate_query.dense"}, {c->ffn}, true, g.own};
    nr_modules fc2 = {at, {"output_query.dense"}, {c->hidden}, true, NULL};
    NR_TRY(nr_modules_load_wide(l, &layer->fc1, &fc1, err));
    NR_TRY(nr_modules_load_wide(l, &layer->fc2, &fc2, err));
    return nr_norm_load(l, &layer->norm, at, "output_query.LayerNorm", c->hidden, g.own, err);
}

static nr_status load_all(nr_qformer *m, nr_loader *l, const char *prefix, gammas g,
                          nr_error *err) {
    const nr_qformer_config *c = &m->config;
    char name[NR_LOAD_NAME_MAX];
    int64_t dims[3] = {1, c->n_queries, c->hidden};
    nr_load_name(name, "%squery_tokens", prefix);
    NR_TRY(nr_load_tensor(l, name, 3, dims, m->queries, NULL, err));
    nr_load_name(name, "%sqformer.", prefix);
    NR_TRY(nr_norm_load(l, &m->norm, name, "layernorm", c->hidden, g.own, err));
    for (int32_t i = 0; i < c->n_layers; i++) NR_TRY(load_layer(m, l, prefix, i, g, err));
    nr_modules projection = {prefix, {"language_projection"}, {c->text_hidden}, true, g.own};
    return nr_modules_load_wide(l, &m->projection, &projection, err);
}

nr_status nr_qformer_load(nr_qformer *m, nr_loader *l, const char *prefix,
                          const float *vision_gamma, nr_error *err) {
    gammas g = {.own = nr_calloc((size_t)m->config.hidden, sizeof(float)), .vision = vision_gamma};
    NR_FAIL_IF(!g.own, NO_MEMORY, "norm weights");
    nr_status status = load_all(m, l, prefix, g, err);
    nr_free(g.own);
    return status;
}
