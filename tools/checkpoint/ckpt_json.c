/* SPDX-License-Identifier: MIT
 *
 * ckpt_json.c - see ckpt_json.h. Every value that a config class would fill in is written out, so
 * that a reader that knows no defaults reads the same model. Values that do not depend on the sizes
 * are those of llava-1.5-7b.
 */
#include "ckpt_json.h"

#include "ckpt_tokenizer.h"
#include "nr_alloc.h"
#include "nr_file.h"
#include "nr_json.h"

#include <stdlib.h>
#include <string.h>

/* Takes root over. NULL root: building it ran out of memory. */
static nr_status write_json(const char *dir, const char *name, json_t *root, nr_error *err) {
    NR_FAIL_IF(!root, NO_MEMORY, "%s", name);
    char path[4096];
    char *text = json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(16));
    json_decref(root);
    NR_FAIL_IF(!text, NO_MEMORY, "%s", name);
    nr_file_writer w = {.fd = -1};
    nr_status status = nr_path_join(path, sizeof path, dir, name, err);
    if (status == NR_STATUS_OK) status = nr_file_writer_open(&w, path, err);
    if (status == NR_STATUS_OK) status = nr_file_writer_put(&w, text, strlen(text), err);
    if (status == NR_STATUS_OK) status = nr_file_writer_put(&w, "\n", 1, err);
    if (status == NR_STATUS_OK) status = nr_file_writer_commit(&w, err);
    nr_file_writer_abort(&w);
    nr_free(text);
    return status;
}

static const char *dtype_word(nr_dtype dtype) {
    return dtype == NR_DTYPE_F16 ? "float16" : dtype == NR_DTYPE_BF16 ? "bfloat16" : "float32";
}

static json_t *text_config(const ckpt_spec *spec) {
    return json_pack(
        "{s:s, s:[s], s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:n, s:s, s:b, s:b,"
        " s:b, s:i, s:i, s:i}",
        "model_type", "llama", "architectures", "LlamaForCausalLM", "torch_dtype",
        dtype_word(spec->dtype), "vocab_size", (int)spec->text.vocab_size, "hidden_size",
        (int)spec->text.hidden_size, "intermediate_size", (int)spec->text.intermediate_size,
        "num_hidden_layers", (int)spec->text.num_hidden_layers, "num_attention_heads",
        (int)spec->text.num_attention_heads, "num_key_value_heads",
        (int)spec->text.num_key_value_heads, "head_dim", (int)spec->text.head_dim,
        "max_position_embeddings", (int)spec->text.max_position_embeddings, "rms_norm_eps", 1e-5,
        "rope_theta", 10000.0, "rope_scaling", "hidden_act", "silu", "attention_bias", 0,
        "mlp_bias", 0, "tie_word_embeddings", 0, "bos_token_id", 1, "eos_token_id", 2,
        "pad_token_id", (int)spec->n_base_tokens + 1);
}

static json_t *vision_config(const ckpt_spec *spec) {
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:f}", "model_type",
                     "clip_vision_model", "hidden_size", (int)spec->vision.hidden_size,
                     "intermediate_size", (int)spec->vision.intermediate_size, "num_hidden_layers",
                     (int)spec->vision.num_hidden_layers, "num_attention_heads",
                     (int)spec->vision.num_attention_heads, "num_channels", 3, "image_size",
                     (int)spec->vision.image_size, "patch_size", (int)spec->vision.patch_size,
                     "projection_dim", (int)spec->vision.projection_dim, "hidden_act", "quick_gelu",
                     "layer_norm_eps", 1e-5);
}

static json_t *config(const ckpt_spec *spec) {
    int grid = spec->vision.image_size / spec->vision.patch_size;
    return json_pack(
        "{s:[s], s:s, s:s, s:i, s:i, s:i, s:i, s:b, s:s, s:i, s:s, s:b, s:o, s:o}", "architectures",
        "LlavaForConditionalGeneration", "model_type", "llava", "torch_dtype",
        dtype_word(spec->dtype), "image_token_index", (int)spec->n_base_tokens, "image_seq_length",
        grid * grid, "ignore_index", -100, "pad_token_id", (int)spec->n_base_tokens + 1,
        "multimodal_projector_bias", 1, "projector_hidden_act", "gelu", "vision_feature_layer", -2,
        "vision_feature_select_strategy", "default", "tie_word_embeddings", 0, "text_config",
        text_config(spec), "vision_config", vision_config(spec));
}

static json_t *generation_config(const ckpt_spec *spec) {
    return json_pack("{s:i, s:i, s:i}", "bos_token_id", 1, "eos_token_id", 2, "pad_token_id",
                     (int)spec->n_base_tokens + 1);
}

static json_t *preprocessor_config(const ckpt_spec *spec) {
    int side = spec->vision.image_size;
    return json_pack("{s:s, s:s, s:b, s:b, s:b, s:b, s:b, s:{s:i}, s:{s:i, s:i}, s:i, s:f,"
                     " s:[f, f, f], s:[f, f, f]}",
                     "image_processor_type", "CLIPImageProcessor", "processor_class",
                     "LlavaProcessor", "do_convert_rgb", 1, "do_resize", 1, "do_center_crop", 1,
                     "do_rescale", 1, "do_normalize", 1, "size", "shortest_edge", side, "crop_size",
                     "height", side, "width", side, "resample", 3, "rescale_factor", 1.0 / 255.0,
                     "image_mean", 0.48145466, 0.4578275, 0.40821073, "image_std", 0.26862954,
                     0.26130258, 0.27577711);
}

static json_t *processor_config(const ckpt_spec *spec) {
    return json_pack("{s:s, s:s, s:i, s:i, s:s}", "processor_class", "LlavaProcessor",
                     "image_token", "<image>", "patch_size", (int)spec->vision.patch_size,
                     "num_additional_image_tokens", 1, "vision_feature_select_strategy", "default");
}

static json_t *tokenizer_config(const ckpt_spec *spec) {
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:b, s:s}", "tokenizer_class",
                     "PreTrainedTokenizerFast", "processor_class", "LlavaProcessor", "bos_token",
                     "<s>", "eos_token", "</s>", "unk_token", "<unk>", "pad_token", "<pad>",
                     "image_token", "<image>", "model_max_length",
                     (int)spec->text.max_position_embeddings, "clean_up_tokenization_spaces", 0,
                     "padding_side", "left");
}

static int compare_pointers(const void *a, const void *b) {
    return strcmp((*(const ckpt_tensor *const *)a)->name, (*(const ckpt_tensor *const *)b)->name);
}

/* {"metadata": {"total_size"}, "weight_map": {name: shard}}, names ascending. */
static json_t *index_of(const ckpt_list *list) {
    const ckpt_tensor **order = nr_calloc((size_t)list->n, sizeof *order);
    json_t *map = json_object();
    bool failed = !order || !map;
    for (int i = 0; i < list->n && !failed; i++) order[i] = &list->tensors[i];
    if (!failed) qsort(order, (size_t)list->n, sizeof *order, compare_pointers);
    for (int i = 0; i < list->n && !failed; i++) {
        char shard[64];
        ckpt_shard_name(shard, sizeof shard, order[i]->i_shard, list->n_shards);
        failed = json_object_set_new(map, order[i]->name, json_string(shard)) != 0;
    }
    nr_free(order);
    if (failed) {
        json_decref(map);
        return NULL;
    }
    return json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)list->bytes,
                     "weight_map", map);
}

nr_status ckpt_json_write(const char *dir, const ckpt_spec *spec, const ckpt_list *list,
                          nr_error *err) {
    json_t *tokenizer;
    NR_TRY(ckpt_tokenizer_make(spec, &tokenizer, err));
    NR_TRY(write_json(dir, "tokenizer.json", tokenizer, err));
    NR_TRY(write_json(dir, "tokenizer_config.json", tokenizer_config(spec), err));
    NR_TRY(write_json(dir, "preprocessor_config.json", preprocessor_config(spec), err));
    NR_TRY(write_json(dir, "processor_config.json", processor_config(spec), err));
    NR_TRY(write_json(dir, "generation_config.json", generation_config(spec), err));
    if (list->n_shards > 1)
        NR_TRY(write_json(dir, "model.safetensors.index.json", index_of(list), err));
    return write_json(dir, "config.json", config(spec), err);
}
