/*
 * The skeleton of stages, run whole in child processes: counts that add up, rejects, exit codes, signals, cut input.
 */
#include "scratch.h"

#include "common/err.h"
#include "common/stage.h"
#include "common/store.h"
#include <jansson.h>
#include <signal.h>
#include <sys/wait.h>

struct test_stage {
    int64_t copies;
    bool hold, stop;
    uint64_t held;
};

static const struct argp_option options[] = {
    {"copies", 'n', "N", 0, "Emit each record N times", 0},
    {"hold", 256, NULL, 0, "Count the records, emit one at the end", 0},
    {"stop", 257, NULL, 0, "Raise SIGTERM at a caption S", 0},
    {0},
};

static int option(void *self, int key, const char *arg)
{
    struct test_stage *s = self;
    if (key == 'n')
        return option_int("copies", arg, 0, 10, &s->copies);
    s->hold = s->hold || key == 256;
    s->stop = s->stop || key == 257;
    return 0;
}

static int process(void *self, struct record *r, struct stage_output *out)
{
    struct test_stage *s = self;
    char first = r->caption.len > 0 ? (char)r->caption.data[0] : 0;
    stage_count(out, "seen", 1);
    if (first == 'F')
        return err_set(ERR_IO, "the device failed");
    if (first == 'S' && s->stop)
        raise(SIGTERM);
    if (first == 'r' || first == 'b') {
        record_reject(r, "%s: %.5s", first == 'r' ? "red" : "blue", buf_string(&r->caption));
        return stage_emit(out, r);
    }
    if (s->hold) {
        s->held++;
        return 0;
    }
    for (int64_t i = 0; i < s->copies; i++)
        if (stage_emit(out, r) < 0)
            return -1;
    return 0;
}

static int finish(void *self, struct stage_output *out)
{
    const struct test_stage *s = self;
    struct record r = {0};
    if (!s->hold)
        return 0;
    record_set_u64(&r, FIELD_ID, s->held);
    int result = stage_emit(out, &r);
    record_free(&r);
    return result;
}

static const struct stage stage = {
    .name = "try", .doc = "Test.", .options = options, .option = option, .process = process, .finish = finish};

/* Starts the stage in a child: its stdin and stdout are given (and closed here), stderr goes to a file. */
static pid_t start(int in, int out, const char *const *arguments)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct test_stage self = {.copies = 1};
        const char *argv[20] = {"try"};
        int argc = 1, err = open(scratch_path("stderr"), O_WRONLY | O_CREAT | O_TRUNC, 0666);
        for (; arguments[argc - 1] != NULL; argc++)
            argv[argc] = arguments[argc - 1];
        dup2(in, 0);
        dup2(out, 1);
        dup2(err, 2);
        _exit(stage_main(&stage, &self, argc, (char **)argv));
    }
    close(in);
    close(out);
    return child;
}

static int end(pid_t child)
{
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

#define ARGUMENTS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Runs it over lines of text and gives the exit code. */
static int run(const char *lines, const char *const *arguments)
{
    return end(start(memory_file(lines, strlen(lines)), open("/dev/null", O_WRONLY), arguments));
}

static void assert_said(const char *text)
{
    struct buf b = {0};
    assert_int_equal(file_read(scratch_path("stderr"), 1 << 20, &b), 0);
    if (strstr(buf_string(&b), text) == NULL)
        fail_msg("'%s' is not in '%s'", text, buf_string(&b));
    buf_free(&b);
}

static void assert_file(const char *path, const char *text)
{
    struct buf b = {0};
    assert_int_equal(file_read(path, 1 << 20, &b), 0);
    assert_string_equal(buf_string(&b), text);
    buf_free(&b);
}

static json_int_t statistic(const char *name, const char *inner)
{
    json_t *stats = json_load_file(scratch_path("stats"), 0, NULL);
    assert_non_null(stats);
    const json_t *value = json_object_get(stats, name);
    if (inner)
        value = json_object_get(value, inner);
    json_int_t number = json_is_true(value) ? 1 : json_integer_value(value);
    json_decref(stats);
    return number;
}

static void test_counts(void **state)
{
    (void)state;
    const char *stats = scratch_path("stats"), *rejects = scratch_path("rejects");
    char *out = xasprintf("text:%s", scratch_path("out"));
    assert_int_equal(run("a\nred 1\nb 2\n\nrust\nz",
                         ARGUMENTS("--in", "text:-", "--out", out, "--stats", stats, "--rejects", rejects, "-n", "2")),
                     0);
    assert_said("try: 6 records, 6 kept, 3 rejected (red 2, blue 1), seen 6, ");
    assert_int_equal(statistic("records", NULL), 6);
    assert_int_equal(statistic("kept", NULL), 6);
    assert_int_equal(statistic("rejected", NULL), 3);
    assert_int_equal(statistic("rejected_upstream", NULL), 0);
    assert_int_equal(statistic("rejects", "red"), 2);
    assert_int_equal(statistic("counts", "seen"), 6);
    assert_int_equal(statistic("complete", NULL), 1);
    assert_file(scratch_path("out"), "a\na\n\n\nz\nz\n");
    assert_file(rejects, "{\"id\":1,\"key\":\"stdin:2\",\"caption\":\"red 1\",\"reject\":\"red: red 1\"}\n"
                         "{\"id\":2,\"key\":\"stdin:3\",\"caption\":\"b 2\",\"reject\":\"blue: b 2\"}\n"
                         "{\"id\":4,\"key\":\"stdin:5\",\"caption\":\"rust\",\"reject\":\"red: rust\"}\n");
    assert_int_equal(run("", ARGUMENTS("--in", "text:-", "--out", out)), 0);
    assert_said("try: 0 records, 0 kept, 0 rejected, 0/s");
    assert_file(scratch_path("out"), "");
    assert_int_equal(run("a\nb\nc\nd\n", ARGUMENTS("--in", "text:-", "--out", out, "--from", "2", "--hold")), 0);
    assert_said("2 records, 1 kept");
    assert_int_equal(run("a\nb\n", ARGUMENTS("--in", "text:-", "--dry-run", "--log", "json")), 0);
    assert_said("\"program\":\"try\",\"message\":\"2 records, 1 kept, 1 rejected (blue 1)");
    free(out);
}

/* Rejects of a stage before pass through, are counted as such, and do not come to process. */
static void test_upstream(void **state)
{
    (void)state;
    const char *stats = scratch_path("stats");
    char *out = xasprintf("jsonl:%s", scratch_path("out"));
    int file = memory_file("", 0);
    assert_int_equal(end(start(memory_file("a\nred\nz\n", 8), dup(file), ARGUMENTS("--in", "text:-"))), 0);
    assert_int_equal(lseek(file, 0, SEEK_SET), 0);
    assert_int_equal(end(start(file, open("/dev/null", O_WRONLY),
                               ARGUMENTS("--out", out, "--stats", stats, "--keep-rejects", "--max-rejects", "0"))),
                     0);
    assert_said("3 records, 2 kept, 0 rejected, 1 rejected upstream, seen 2");
    assert_int_equal(statistic("rejected_upstream", NULL), 1);
    assert_file(scratch_path("out"), "{\"id\":0,\"key\":\"stdin:1\",\"caption\":\"a\"}\n"
                                     "{\"id\":1,\"key\":\"stdin:2\",\"caption\":\"red\",\"reject\":\"red: red\"}\n"
                                     "{\"id\":2,\"key\":\"stdin:3\",\"caption\":\"z\"}\n");
    free(out);
}

static void test_usage(void **state)
{
    (void)state;
    static const char *const wrong[][3] = {
        {"--none", NULL, "unrecognized option"},
        {"file", NULL, "'file' is no option"},
        {"--copies", "11", "--copies: '11' is not a whole number from 0 to 10"},
        {"--copies", "1x", "--copies: '1x'"},
        {"--copies", "", "--copies: ''"},
        {"--threads", "0", "--threads: '0'"},
        {"--from", "-1", "--from: '-1'"},
        {"--max-rejects", "101%", "from 0 to 100"},
        {"--max-rejects", "x", "--max-rejects: 'x'"},
        {"--max-rejects", "", "--max-rejects: ''"},
        {"--log", "xml", "--log: 'xml'"},
        {"--in", "nothing", "nothing: no kind of source"},
        {"--out", "nothing", "nothing: no kind of sink"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(run("", (const char *const[]){wrong[i][0], wrong[i][1], NULL}), ERR_USAGE);
        assert_said(wrong[i][2]);
    }
    assert_int_equal(run("", ARGUMENTS("--help")), 0);
    assert_int_equal(run("", ARGUMENTS("--version")), 0);
}

static void test_terminal(void **state)
{
    (void)state;
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) < 0 || unlockpt(terminal) < 0)
        skip();
    int ours = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    assert_int_equal(end(start(memory_file("a\n", 2), dup(ours), ARGUMENTS("--in", "text:-"))), ERR_USAGE);
    assert_said("stdout is a terminal");
    assert_int_equal(end(start(ours, open("/dev/null", O_WRONLY), ARGUMENTS("--dry-run"))), ERR_USAGE);
    assert_said("stdin is a terminal");
    close(terminal);
}

static void test_max_rejects(void **state)
{
    (void)state;
    static const char lines[] = "a\nred\nb\na\n";
    assert_int_equal(run(lines, ARGUMENTS("--in", "text:-", "--max-rejects", "2")), 0);
    assert_int_equal(run(lines, ARGUMENTS("--in", "text:-", "--max-rejects", "50%")), 0);
    assert_int_equal(run(lines, ARGUMENTS("--in", "text:-", "--max-rejects", "1")), ERR_DATA);
    assert_said("2 of the records were rejected, more than --max-rejects 1");
    assert_int_equal(run(lines, ARGUMENTS("--in", "text:-", "--max-rejects", "49.9%")), ERR_DATA);
    assert_said("50% of the records were rejected, more than --max-rejects 49.9%");
    assert_int_equal(run("", ARGUMENTS("--in", "text:-", "--max-rejects", "0%")), 0);
}

static void test_failure(void **state)
{
    (void)state;
    const char *stats = scratch_path("stats");
    char *out = xasprintf("text:%s", scratch_path("failed"));
    assert_int_equal(run("a\nFail\nb\n", ARGUMENTS("--in", "text:-", "--out", out, "--stats", stats)), ERR_IO);
    assert_said("try: error: the device failed");
    assert_int_equal(statistic("records", NULL), 2);
    assert_int_equal(statistic("complete", NULL), 0);
    assert_int_equal(access(scratch_path("failed"), F_OK), -1);
    assert_int_equal(run("a\n", ARGUMENTS("--in", "text:-", "--out", "text:/dev/full")), ERR_AGAIN);
    assert_said("/dev/full: No space left on device");
    free(out);
}

/* Whatever was written of the stream, its reader takes it for cut. */
static void assert_cut(int stream, const char *records)
{
    char *said = xasprintf("stream cut after %s", records);
    assert_int_equal(lseek(stream, 0, SEEK_SET), 0);
    assert_int_equal(end(start(stream, open("/dev/null", O_WRONLY), ARGUMENTS("--out", "text:/dev/null"))), ERR_AGAIN);
    assert_said(said);
    free(said);
}

static void test_signal_while_waiting(void **state)
{
    (void)state;
    static const struct {
        int number, code;
    } signals[] = {{SIGTERM, 143}, {SIGINT, 130}};
    for (size_t i = 0; i < 2; i++) {
        int ends[2], file = memory_file("", 0);
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        assert_int_equal(write(ends[1], "a\nb\n", 4), 4);
        pid_t child = start(ends[0], dup(file), ARGUMENTS("--in", "text:-"));
        /* Both records are out once the file has grown over the first one's share. */
        for (int wait = 0; wait < 500 && lseek(file, 0, SEEK_END) == 0; wait++)
            usleep(2000);
        usleep(20000);
        kill(child, signals[i].number);
        assert_int_equal(end(child), signals[i].code);
        assert_said("stopped by a signal: 2 records");
        close(ends[1]);
        assert_cut(file, "2 records");
    }
}

/* The record in hand is done, the next is not begun. */
static void test_signal_within_record(void **state)
{
    (void)state;
    int file = memory_file("", 0);
    assert_int_equal(end(start(memory_file("a\nS\nb\n", 6), dup(file), ARGUMENTS("--in", "text:-", "--stop"))), 143);
    assert_cut(file, "2 records");
}

static uint64_t stored(const char *path)
{
    struct store *store;
    assert_int_equal(store_open_read(&store, path), 0);
    uint64_t records = store_cursor(store);
    assert_int_equal(store_close(&store), 0);
    return records;
}

static void test_store(void **state)
{
    (void)state;
    char *out = xasprintf("lmdb:%s", scratch_path("store")), *cut = xasprintf("lmdb:%s", scratch_path("store-cut"));
    assert_int_equal(run("a\nS\nb\n", ARGUMENTS("--in", "text:-", "--out", out, "--stop")), 0);
    assert_int_equal(stored(scratch_path("store")), 2);
    assert_int_equal(run("a\nS\nred\nd\n", ARGUMENTS("--in", "text:-", "--out", out, "--from", "2")), 0);
    assert_int_equal(stored(scratch_path("store")), 4);

    int file = memory_file("", 0);
    assert_int_equal(end(start(memory_file("a\nS\n", 4), dup(file), ARGUMENTS("--in", "text:-", "--stop"))), 143);
    assert_int_equal(lseek(file, 0, SEEK_SET), 0);
    assert_int_equal(end(start(file, open("/dev/null", O_WRONLY), ARGUMENTS("--out", cut))), ERR_AGAIN);
    assert_said("stream cut after 2 records");
    assert_int_equal(stored(scratch_path("store-cut")), 2);
    free(out);
    free(cut);
}

static void test_reader_gone(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    close(ends[0]);
    struct buf lines = {0};
    for (int i = 0; i < 30000; i++)
        buf_printf(&lines, "line\n");
    assert_int_equal(
        end(start(memory_file(lines.data, lines.len), ends[1], ARGUMENTS("--in", "text:-", "--out", "text:-"))), 141);
    assert_file(scratch_path("stderr"), "");
    buf_free(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_upstream),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_terminal),
        cmocka_unit_test(test_max_rejects),
        cmocka_unit_test(test_failure),
        cmocka_unit_test(test_signal_while_waiting),
        cmocka_unit_test(test_signal_within_record),
        cmocka_unit_test(test_store),
        cmocka_unit_test(test_reader_gone),
    };
    setenv("OMP_WAIT_POLICY", "passive", 0); /* a stage without it would start this program anew */
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
