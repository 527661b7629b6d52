/* SPDX-License-Identifier: MIT
 *
 * test_batch_rate.c - what batching is for: four answers written together against one alone, on a
 * decoder of 1.1 G parameters (TinyLlama's shapes, random weights), where each token reads all
 * weights from memory. Only `make test-full` runs it; the figure needs a machine that has nothing
 * else to do (docs/RELIABILITY.md has the command).
 */
#include "../engine/engine_fixture.h"

#include "newsreader_sched.h"

#define N_TOKENS 48
#define N_ROUNDS 5

static nr_engine *engine;

static int set_up(void **state) {
    char dir[4096];
    nr_engine_options o = nr_engine_options_default();
    (void)state;
    fixture_temp_dir(temp);
    fixture_make_checkpoint("llava-1.5-7b", fixture_path(dir, "%s/llama-1b", temp),
                            "text.hidden_size=2048 text.intermediate_size=5632 "
                            "text.num_hidden_layers=22 text.num_key_value_heads=4 "
                            "text.head_dim=64 vision.num_hidden_layers=2 vision.image_size=56");
    o.scheduler = true;
    o.n_slots = 4;
    o.n_queued = 0;
    o.context_tokens = 256;
    MUST(nr_engine_open(dir, &o, &engine, err));
    fixture_remove_tree(temp); /* the weights are in memory */
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    nr_engine_close(engine);
    return 0;
}

/* Tokens a second while n answers are written together: all tokens over the longest time. */
static double rate_of(nr_sched *sched, int n) {
    const char *questions[] = {"What?"};
    nr_request r = nr_request_default();
    nr_job *jobs[4];
    double longest_ms = 0;
    int n_tokens = 0;
    r.questions = questions;
    r.n_questions = 1;
    r.generation.max_tokens = N_TOKENS;
    r.generation.ignore_stop = true;
    for (int i = 0; i < n; i++) MUST(nr_sched_submit(sched, &r, &jobs[i], err));
    for (int i = 0; i < n; i++) {
        nr_event event;
        while ((event = nr_job_next(jobs[i], 600000)).kind != NR_EVENT_END) {
            assert_true(event.kind != NR_EVENT_NONE);
            if (event.kind != NR_EVENT_ANSWER) continue;
            longest_ms = fmax(longest_ms, event.stats.decode_ms);
            n_tokens += event.stats.answer_tokens - 1; /* the first is the prompt's */
        }
        assert_int_equal(event.status, NR_STATUS_OK);
        nr_job_close(jobs[i]);
    }
    assert_int_equal(n_tokens, n * (N_TOKENS - 1));
    return n_tokens / longest_ms * 1e3;
}

/* Alone and together in turns, the best of each. */
static void test_rate(void **state) {
    nr_sched_options o = nr_sched_options_default();
    nr_sched *sched = NULL;
    double alone = 0, together = 0;
    (void)state;
    o.n_slots = 4;
    o.n_queued = 0;
    MUST(nr_sched_open(engine, &o, &sched, err));
    for (int i = 0; i < N_ROUNDS; i++) {
        double one = rate_of(sched, 1), four = rate_of(sched, 4);
        print_message("alone %.2f, four together %.2f tokens a second: %.2f times\n", one, four,
                      four / one);
        alone = fmax(alone, one);
        together = fmax(together, four);
    }
    print_message("best: %.2f, %.2f: %.2f times\n", alone, together, together / alone);
    assert_true(together >= 2.5 * alone);
    nr_sched_close(sched);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rate)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
