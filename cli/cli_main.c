/* SPDX-License-Identifier: MIT
 * cli_main.c - `newsreader`: which command, and the help. */
#include "cli.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "newsreader reads news pictures and page screenshots with a vision-language model, in INT8.\n"
    "\n"
    "usage: newsreader read [options] IMAGE...      what the pictures say; - is standard input\n"
    "       newsreader serve [options]              the service, at http://127.0.0.1:8009/\n"
    "       newsreader quantize DIR OUT             a checkpoint as INT8 that loads in seconds\n"
    "       newsreader plan [options]               memory it will take, from headers alone\n"
    "       newsreader test [options]               every configured model: load, self-test, "
    "memory\n"
    "       newsreader bench [options]              load, read 40 tokens and a picture, write 128\n"
    "       newsreader trace [options]              every stage into a safetensors file\n"
    "       newsreader tokenize [options]           JSON strings in, JSON lists of ids out\n"
    "\n"
    "model\n"
    "  --model DIR          Hugging Face folder: config.json, safetensors, tokenizer.json;\n"
    "                       default: $NEWSREADER_MODEL, else the bundled reader of news pages\n"
    "  --dtype int8|f32     precision; int8 is the default, f32 the reference\n"
    "  --threads N          0: one per usable core\n"
    "  --context N          tokens of picture, prompt and answer together\n"
    "  --device NAME        cpu (default), cuda:0, or auto: the card if it is there and the plan "
    "fits\n"
    "  --cpu NAME           scalar, avx2, avx512vnni, amx or neon; default: the best (or $NR_CPU)\n"
    "memory and fallbacks\n"
    "  --max-ram BYTES      ceiling of the whole process (3.5GB, 4GiB); a plan over it is refused\n"
    "  --max-vram BYTES     the same of what is planned on a graphics card; what does not fit it\n"
    "                       stays on the CPU\n"
    "  --gpu-layers auto|all|N   layers on the card: what fits (default), all or nothing, or so "
    "many\n"
    "  --vision auto|gpu|cpu     where the vision tower is; auto: on the card if all layers are\n"
    "  --kv int8|f16        keys and values of the context; as --dtype without it\n"
    "  --slots N            sessions at the same time; 1\n"
    "  --image-cache N      pictures whose features are kept; 0\n"
    "  --max-pixels N       largest picture there is room for; 50000000\n"
    "  --fallback DIR       tried when --model fails; may be given several times\n"
    "  --config FILE        models, policy and the options above (JSON)\n"
    "  --self-test, --no-self-test   read an embedded picture after loading; on with a fallback\n"
    "reading\n"
    "  --prompt TEXT        the question; the checkpoint's own template goes around it. Without:\n"
    "                       what the page shows, or a caption from a model that writes captions\n"
    "  --fields LIST        of headline,byline,site,date,lead: a question each, one picture pass;\n"
    "                       default with a reader of news: headline,byline,site,date\n"
    "  --image-fit FIT      pad, crop or squash: how a picture gets into the square; default: as\n"
    "                       the model's own files say, but pad where they would crop\n"
    "  --max-tokens N       of an answer; default 256\n"
    "  --temperature T      0 (default): always the likeliest token\n"
    "  --top-p P --top-k K --seed S\n"
    "  --ignore-stop        write max-tokens tokens whatever the model wants\n"
    "  --json               one JSON object a picture\n"
    "trace: --image FILE --prompt TEXT --out FILE\n"
    "tokenize: --no-special (without <s>), --parse-special (\"</s>\" in the text is the token)\n"
    "plan: --gpu 24GB --also scout=8GB,others=8GB,buffer=4.5GB (a card that is shared); --model "
    "may\n"
    "      name a known checkpoint: llava-1.5-7b, blip2-opt-2.7b, llava-1.6-mistral-7b, "
    "llama-3-8b;\n"
    "      --service: of serve, with its options\n"
    "serve: the options of model, memory and fallbacks (4 slots), and --host ADDRESS --port N\n"
    "  --queue N --api-key-file FILE --allow-host NAME --allow-net NET --request-seconds N\n"
    "  --drain-seconds N --connections N --max-bodies BYTES --quiet\n"
    "bench: --tokens N --runs N --image FILE --json\n"
    "\n"
    "exit: 0 done, 1 a picture, file or test failed or the plan does not fit, 2 wrong usage,\n"
    "      3 model not opened, 130 interrupted\n";

typedef struct command {
    const char *name;
    int (*run)(const cli_options *options);
} command;

static const command commands[] = {
    {"read", cmd_read}, {"serve", cmd_serve}, {"quantize", cmd_quantize}, {"plan", cmd_plan},
    {"test", cmd_test}, {"bench", cmd_bench}, {"trace", cmd_trace}, {"tokenize", cmd_tokenize}};

/* What a full disk kept from standard output is an error, whatever the command thought. */
static int finish(int code) {
    nr_error err;
    if (cli_flush(&err) == NR_STATUS_OK) return code;
    if (code == CLI_OK) cli_error("%s: %s", nr_status_text(err.status), err.message);
    return code == CLI_OK ? CLI_FAILED : code;
}

static int run(const command *c, int argc, char **argv) {
    cli_options options;
    int code = cli_parse(argc, argv, &options);
    if (code != CLI_OK) return code;
    if (options.n_settings && c->run != cmd_serve && !options.service) {
        cli_error("--%s is an option of serve", options.settings[0].name);
        return CLI_USAGE;
    }
    if (options.help) fputs(help, stdout);
    return finish(options.help ? CLI_OK : c->run(&options));
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fputs(help, stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        fputs(help, stdout);
        return finish(CLI_OK);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("newsreader %s\n", nr_version());
        return finish(CLI_OK);
    }
    if (strcmp(argv[1], "serve-helper") == 0) return helper_main(argc - 1, argv + 1);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(argv[1], commands[i].name) != 0) continue;
        return run(&commands[i], argc - 1, argv + 1);
    }
    cli_error("\"%s\" is no command; newsreader --help lists them", argv[1]);
    return CLI_USAGE;
}
