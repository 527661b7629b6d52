/* SPDX-License-Identifier: MIT
 *
 * nr_limits.h - every maximum in the program, with the reason beside it. A limit that guards
 * input is checked before the first byte that depends on it is allocated or read.
 */
#ifndef NR_LIMITS_H
#define NR_LIMITS_H

/* Pictures (they come from strangers). */
#define NR_IMAGE_BYTES_MAX (20u << 20)   /* encoded file: 20 MiB, more than any news photo */
#define NR_IMAGE_PIXELS_MAX 50000000u    /* 50 M pixels: 150 MB decoded, the largest we plan for */
#define NR_PICTURE_PIXELS_MIN 200704u    /* least that --max-pixels may say: the self-test's page */
#define NR_IMAGE_SIDE_MAX 16384u         /* longest side in pixels */
#define NR_IMAGE_ASPECT_MAX 200u         /* long:short side; beyond it nothing is legible */
#define NR_IMAGE_ASPECT_SHORT_MIN 8u     /* a shorter side counts as 8: 1,600 pixels by 1 are let
                                            through, thin small pictures cost nothing */
#define NR_JPEG_SCANS_MAX 500            /* progressive scans: an 80,000-scan file is a bomb */
#define NR_JPEG_SCAN_PIXELS_MAX 1600000000u /* scans * pixels: 32 scans of 50 M pixels, 1.3 s */
#define NR_JPEG_COEFFICIENT_BYTES 8u     /* a pixel of a progressive file: four int16 */
#define NR_JPEG_WORK_BYTES (32u << 20)   /* libjpeg's markers (at most the file), rows and tables */

/* Text formats. */
#define NR_JSON_BYTES_MAX (64u << 20)    /* tokenizer.json of 128k entries is 9 MB */
#define NR_JSON_DEPTH_MAX 64             /* no checkpoint file nests deeper than 10 */
#define NR_JSON_NODES_MAX 4000000u       /* LLaMA-3's tokenizer.json has about 0.7 M values */
#define NR_JSON_TOKEN_BYTES_MAX (8u << 20) /* one string; tokenizers' character maps reach 0.4 MB */
#define NR_CONFIG_BYTES_MAX (4u << 20)   /* config.json and the like: the largest seen is 60 KB */
#define NR_CHAT_TEMPLATE_BYTES_MAX (256u << 10) /* the largest seen is 12 KB */
#define NR_SAFETENSORS_HEADER_MAX (32u << 20) /* 65,536 long names; the format: 100 MB */
#define NR_SAFETENSORS_TENSORS_MAX 65536 /* a 7B LLaVA has 686 */
#define NR_SHARDS_MAX 1024               /* files of one checkpoint */
#define NR_TENSOR_DIMS_MAX 8
#define NR_TENSOR_NAME_MAX 256           /* bytes with the final NUL */

/* Architecture limits: a config.json outside them is refused before anything is sized by it. */
#define NR_LAYERS_MAX 256
#define NR_HEADS_MAX 256
#define NR_HEAD_DIM_MAX 1024
#define NR_HIDDEN_MAX 65536
#define NR_VOCAB_MAX (1 << 20)
#define NR_CONTEXT_MAX (1 << 20)
#define NR_PATCH_GRID_MAX 1024           /* patches along one side */
#define NR_VISION_SIDE_MAX 4096          /* model input side in pixels */
#define NR_REDUCTION_MAX 131072          /* K of an INT8 product: 127*127*K fits int32 */

/* Generation. */
#define NR_PROMPT_BYTES_MAX (1u << 20)
#define NR_TOKEN_BYTES_MAX 1024          /* one vocabulary entry */
#define NR_MERGES_MAX (1 << 22)          /* BPE merges; LLaMA-3 has 280,147 */
#define NR_ADDED_TOKENS_MAX 65536        /* LLaMA-3 has 256 */
#define NR_REGEX_BYTES_MAX 4096          /* split pattern of a tokenizer; LLaMA-3's has 111 */
#define NR_THREADS_MAX 256
#define NR_STOP_IDS_MAX 16
#define NR_BATCH_MAX 64                  /* sequences of one forward call, slots of a scheduler */

/* Memory. */
#define NR_SLOTS_MAX 256                 /* sessions of one engine */
#define NR_PICTURES_MAX 256              /* pictures read at the same time */
#define NR_IMAGE_CACHE_MAX 65536         /* pictures whose features are kept */
/* What a process has beside everything the plan counts: code and data of the program and its
 * libraries, stacks, the C library's heap, parsed configuration. docs/MEMORY.md measures it. */
#define NR_PROCESS_BYTES (6u << 20)
/* What the driver of a graphics card adds to the process on the host: 0.15 GB measured. */
#define NR_CUDA_PROCESS_BYTES (160u << 20)
/* And on the card itself, beside what is planned: code, its own buffers. 0.545 GB on an H200. */
#define NR_CUDA_CONTEXT_BYTES (520u << 20)
/* What a plan that is fitted to a card's free memory leaves of it: code and graphs come later. */
#define NR_CUDA_SPARE_BYTES (64u << 20)

#endif
