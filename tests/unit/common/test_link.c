/*
 * The link's protocol, one step at a time with a clock of the test's: credit, acknowledgement, death, poison, sessions,
 * the end; messages that lie.
 */
#include "scratch.h"

#include "common/endpoint.h"
#include "common/err.h"
#include "common/link.h"
#include "common/log.h"
#include "common/random.h"
#include <unistd.h>

static double now = 1000;
static struct link *feeder, *worker, *other;

/* Lets both ends do all that they have to, at one moment of the clock. */
static void settle(void)
{
    for (int i = 0; i < 30; i++) {
        struct link *all[] = {feeder, worker, other};
        for (size_t j = 0; j < 3; j++)
            if (all[j])
                assert_int_equal(link_service(all[j], now), 0);
        usleep(1000);
    }
}

/* Seconds go by in steps that no heartbeat misses. */
static void pass_time(double seconds)
{
    for (double end = now + seconds; now < end;) {
        now += 0.5;
        settle();
    }
}

static void open_feeder(const char *name, bool binds)
{
    char *uri = xasprintf("%sipc://%s", binds ? "bind+" : "", scratch_path(name));
    assert_int_equal(link_open(&feeder, uri, &(struct link_options){.role = LINK_FEEDER}), 0);
    free(uri);
}

static struct link *open_worker(const char *name, bool binds, uint64_t credit_items)
{
    struct link *l;
    char *uri = xasprintf("%sipc://%s", binds ? "bind+" : "", scratch_path(name));
    const struct link_options o = {.role = LINK_WORKER, .credit_items = credit_items, .credit_bytes = 1 << 20};
    assert_int_equal(link_open(&l, uri, &o), 0);
    free(uri);
    return l;
}

static int close_all(void **state)
{
    (void)state;
    link_close(&worker);
    link_close(&other);
    link_close(&feeder);
    return 0;
}

static void feed(uint64_t first, uint32_t items, uint64_t ticket)
{
    zmq_msg_t body;
    struct buf bytes = {0};
    struct record r = {0};
    for (uint32_t i = 0; i < items; i++) {
        record_set_u64(&r, FIELD_ID, first + i);
        link_record_pack(&bytes, &r);
    }
    record_free(&r);
    link_body(&body, &bytes);
    link_feed(feeder, &body, items, 0);
    link_seal(feeder, ticket);
}

/* Takes a batch: its ticket, or 0 when there is none; `r` gets its first record. */
static uint64_t take(struct link *l, uint32_t items, struct record *r)
{
    struct link_batch b;
    const unsigned char *data;
    size_t len;
    if (!link_take(l, &b))
        return 0;
    assert_int_equal(b.items, items);
    struct link_records records = {zmq_msg_data(&b.body),
                                   (unsigned char *)zmq_msg_data(&b.body) + zmq_msg_size(&b.body)};
    assert_true(link_record_next(&records, &data, &len));
    assert_int_equal(record_unpack(r, data, len), 0);
    zmq_msg_close(&b.body);
    return b.ticket;
}

static void test_either_end_binds(void **state)
{
    (void)state;
    struct record r = {0};
    for (int binds = 0; binds < 2; binds++) {
        uint64_t ticket, total;
        if (binds)
            open_feeder("b1", true);
        worker = open_worker(binds ? "b1" : "b0", !binds, 4);
        if (!binds)
            open_feeder("b0", false);
        feed(7, 3, 70);
        pass_time(1);
        assert_false(link_next_settled(feeder, &ticket));
        uint64_t mine = take(worker, 3, &r);
        assert_true(mine > 0);
        assert_int_equal(r.id, 7);
        link_pass(worker, mine);
        link_ack(worker, mine);
        settle();
        assert_true(link_next_settled(feeder, &ticket));
        assert_int_equal(ticket, 70);
        assert_int_equal(link_counts(feeder)->open_items, 0);
        assert_false(link_has_ended(worker, &total));
        assert_false(link_end_is_told(feeder, now));
        link_end(feeder, 10);
        settle();
        assert_true(link_has_ended(worker, &total));
        assert_int_equal(total, 10);
        pass_time(5);
        assert_false(link_end_is_told(feeder, now));
        assert_false(link_end_is_heard(worker, now));
        link_confirm_end(worker);
        settle();
        assert_true(link_end_is_told(feeder, now));
        assert_true(link_end_is_heard(worker, now));
        close_all(NULL);
    }
    record_free(&r);
}

/* A worker that dies with what it knows of the end is no loss: the feeder waits for one that confirms it, and then for
 * all that are there, but not for long. */
static void test_end(void **state)
{
    (void)state;
    uint64_t total;
    open_feeder("e", true);
    worker = open_worker("e", false, 4);
    settle();
    link_end(feeder, 10);
    pass_time(1);
    assert_true(link_has_ended(worker, &total));
    link_close(&worker);
    pass_time(20);
    assert_int_equal(link_counts(feeder)->peers, 0);
    assert_false(link_end_is_told(feeder, now));
    worker = open_worker("e", false, 4);
    other = open_worker("e", false, 4);
    pass_time(2);
    assert_true(link_has_ended(worker, &total) && link_has_ended(other, &total));
    link_confirm_end(other);
    pass_time(1);
    assert_false(link_end_is_told(feeder, now));
    pass_time(3);
    assert_true(link_end_is_told(feeder, now));
    assert_false(link_is_forsaken(worker, now));
    link_close(&feeder);
    pass_time(9);
    assert_false(link_is_forsaken(worker, now));
    pass_time(2);
    assert_true(link_is_forsaken(worker, now));
}

/* A worker has what it granted in its hands, and one batch more at most; credit comes back with what it passes on. */
static void test_credit(void **state)
{
    (void)state;
    struct record r = {0};
    uint64_t tickets[3];
    open_feeder("c", true);
    worker = open_worker("c", false, 5);
    for (uint64_t i = 0; i < 10; i++)
        feed(3 * i, 3, i);
    pass_time(1);
    assert_int_equal(link_counts(worker)->open_items, 6);
    assert_int_equal(link_counts(feeder)->pending_items, 24);
    for (int i = 0; i < 2; i++)
        tickets[i] = take(worker, 3, &r);
    assert_int_equal(take(worker, 3, &r), 0);
    link_pass(worker, tickets[0]);
    pass_time(1);
    assert_int_equal(link_counts(worker)->open_items, 9);
    record_free(&r);
}

/* A worker that is silent for three seconds has died; the others get what it held, and it starts anew when it speaks.
 */
static void test_death(void **state)
{
    (void)state;
    struct record r = {0};
    uint64_t mine, theirs, settled;
    open_feeder("d", true);
    worker = open_worker("d", false, 4);
    settle();
    feed(1, 4, 1);
    settle();
    mine = take(worker, 4, &r);
    assert_true(mine > 0);
    struct link *silent = worker;
    worker = open_worker("d", false, 4);
    pass_time(2);
    assert_int_equal(take(worker, 4, &r), 0);
    pass_time(2);
    theirs = take(worker, 4, &r);
    assert_true(theirs > 0);
    assert_int_equal(link_counts(feeder)->deaths, 1);

    /* It has not noticed, and acknowledges: that is stale. */
    other = silent;
    link_pass(other, mine);
    link_ack(other, mine);
    settle();
    assert_false(link_next_settled(feeder, &settled));
    assert_true(link_counts(feeder)->stale > 0);
    link_pass(worker, theirs);
    link_ack(worker, theirs);
    settle();
    assert_true(link_next_settled(feeder, &settled));
    assert_int_equal(link_counts(feeder)->peers, 2);
    feed(5, 4, 2);
    feed(9, 4, 3);
    pass_time(1);
    assert_true(take(worker, 4, &r) > 0);
    assert_true(take(other, 4, &r) > 0);
    record_free(&r);
}

/* Three failures of a batch, then two of a record alone: it goes on as a reject, the others of the batch as they are.
 */
static void test_poison(void **state)
{
    (void)state;
    struct record r = {0};
    uint64_t ticket, settled;
    unsigned kept = 0, rejected = 0, alone = 0;
    open_feeder("p", true);
    worker = open_worker("p", false, 100);
    feed(1, 3, 1);
    pass_time(1);
    for (int i = 0; i < LINK_SPLIT_FAILURES; i++) {
        ticket = take(worker, 3, &r);
        assert_true(ticket > 0);
        link_nack(worker, ticket, LINK_RETRY, "no reason");
        settle();
    }
    for (int i = 0; i < 10; i++) {
        ticket = take(worker, 1, &r);
        if (ticket == 0)
            break;
        assert_int_equal(link_counts(worker)->open_items, 1);
        alone++;
        if (record_has(&r, FIELD_REJECT)) {
            assert_string_equal(buf_string(&r.reject), "poison: failed 5 times, at last: id 2");
            rejected++;
        }
        if (r.id == 2 && !record_has(&r, FIELD_REJECT)) {
            link_nack(worker, ticket, LINK_RETRY, "id 2");
        } else {
            kept += !record_has(&r, FIELD_REJECT);
            link_pass(worker, ticket);
            link_ack(worker, ticket);
        }
        pass_time(1);
    }
    assert_int_equal(kept, 2);
    assert_int_equal(rejected, 1);
    assert_int_equal(alone, 5);
    assert_true(link_next_settled(feeder, &settled));
    assert_int_equal(settled, 1);
    assert_int_equal(link_counts(feeder)->poisoned, 1);
    record_free(&r);
}

/* What is given back was not tried: nobody is blamed. */
static void test_leaving(void **state)
{
    (void)state;
    struct record r = {0};
    open_feeder("l", true);
    feed(1, 2, 1);
    for (int i = 0; i < 2 * LINK_MAX_FAILURES; i++) {
        worker = open_worker("l", false, 100);
        pass_time(1);
        uint64_t ticket = i % 2 ? take(worker, 2, &r) : 0;
        if (ticket)
            link_nack(worker, ticket, LINK_RETURN, "");
        else
            link_retire(worker);
        settle();
        link_close(&worker);
    }
    worker = open_worker("l", false, 100);
    pass_time(1);
    assert_true(take(worker, 2, &r) > 0);
    assert_false(record_has(&r, FIELD_REJECT));
    assert_int_equal(link_counts(feeder)->deaths, 0);
    record_free(&r);
}

/* A feeder or worker of another run, or one with the same role, is told why it is refused. */
static void test_refusal(void **state)
{
    (void)state;
    struct link *l;
    char *uri = xasprintf("bind+ipc://%s", scratch_path("r"));
    assert_int_equal(link_open(&feeder, uri, &(struct link_options){.role = LINK_FEEDER, .run = "one"}), 0);
    static const struct {
        struct link_options o;
        const char *text;
    } strangers[] = {{{.role = LINK_WORKER, .run = "two"}, "belongs to the run 'one', the other end to the run 'two'"},
                     {{.role = LINK_FEEDER}, "both ends of the link want to feed records"}};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(link_open(&l, uri + strlen("bind+"), &strangers[i].o), 0);
        int rc = 0;
        for (int j = 0; j < 500 && rc == 0; j++) {
            settle();
            rc = link_service(l, now);
        }
        assert_int_equal(rc, -1);
        assert_non_null(strstr(err_text(), strangers[i].text));
        link_close(&l);
    }
    worker = open_worker("r", false, 4); /* one that names no run */
    pass_time(1);
    assert_int_equal(link_counts(feeder)->peers, 1);
    free(uri);
}

static void test_bad_addresses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "inproc://a", "udp://127.0.0.1:1", "tcp://nowhere", "bind+", "tcp://", "bind+ipc:///no/such/folder/socket"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(link_open(&worker, bad[i], &(struct link_options){.role = LINK_WORKER}), -1);
        assert_non_null(strstr(err_text(), bad[i]));
    }
}

/* Other hosts are let in with a listed key alone; others are counted. */
static void test_keys(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        bool admitted;
        bool counted; /* without keys it leaves by itself, if it is the first to see that */
    } comers[] = {{"keys", true, false}, {"strangers", false, true}, {NULL, false, false}};
    char *keys = xstrdup(scratch_path("keys")), *strangers = xstrdup(scratch_path("strangers"));
    char *uri = xasprintf("bind+ipc://%s", scratch_path("k"));
    struct buf server = {0};
    assert_int_equal(link_keys_make(keys), 0);
    assert_int_equal(link_keys_make(strangers), 0);
    assert_int_equal(link_keys_make(keys), -1);
    /* Whoever knows the server's public key is not let in for that. */
    assert_int_equal(file_read(scratch_path("keys/server"), 100, &server), 0);
    assert_int_equal(unlink(scratch_path("strangers/server")), 0);
    mode_t before = umask(077);
    scratch_write(scratch_path("strangers/server"), server.data, server.len);
    umask(before);
    assert_int_equal(link_open(&feeder, uri, &(struct link_options){.role = LINK_FEEDER, .keys = keys}), 0);
    for (size_t i = 0; i < 3; i++) {
        const struct link_options o = {.role = LINK_WORKER,
                                       .credit_items = 1,
                                       .credit_bytes = 1,
                                       .keys = comers[i].keys ? scratch_path(comers[i].keys) : NULL};
        assert_int_equal(link_open(&worker, uri + strlen("bind+"), &o), 0);
        const struct link_counts *c = link_counts(feeder);
        const uint64_t refused = c->refused;
        for (int j = 0; j < 200 && c->peers == 0 && c->refused + link_counts(worker)->refused == refused; j++)
            pass_time(0.5);
        assert_int_equal(c->peers, comers[i].admitted);
        assert_true(c->refused > refused || !comers[i].counted);
        link_close(&worker);
        pass_time(5);
        assert_int_equal(link_counts(feeder)->peers, 0);
    }
    assert_int_equal(chmod(scratch_path("keys/key"), 0644), 0);
    assert_int_equal(link_open(&worker, uri, &(struct link_options){.role = LINK_WORKER, .keys = keys}), -1);
    assert_non_null(strstr(err_text(), "chmod 600"));
    buf_free(&server);
    free(uri);
    free(keys);
    free(strangers);
}

/* --keys and --insecure reach both kinds of endpoint. */
static void test_keys_of_endpoints(void **state)
{
    (void)state;
    static const struct {
        struct endpoint_link link;
        const char *text; /* NULL: it opens */
    } cases[] = {{{0}, "other hosts can reach it"}, {{.keys = "/no/keys"}, "/no/keys/key"}, {{.insecure = true}, NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct source *source = NULL;
        struct sink *sink = NULL;
        const int expected = cases[i].text ? -1 : 0;
        assert_int_equal(source_open(&source, "tcp://192.0.2.1:9", &(struct source_options){.link = cases[i].link}),
                         expected);
        assert_true(expected == 0 || strstr(err_text(), cases[i].text));
        assert_int_equal(sink_open(&sink, "tcp://192.0.2.1:9", &(struct sink_options){.link = cases[i].link}),
                         expected);
        assert_true(expected == 0 || strstr(err_text(), cases[i].text));
        source_close(&source);
        sink_close(&sink);
    }
}

/* Damaged, cut, lengthened and random messages on a live link are refused and counted, and the link goes on. */
static void test_hostile_messages(void **state)
{
    (void)state;
    struct record r = {0};
    unsigned char head[LINK_HEAD_BYTES], body[64];
    open_feeder("h", true);
    worker = open_worker("h", false, 4);
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_DEALER);
    char *uri = xasprintf("ipc://%s", scratch_path("h"));
    assert_int_equal(zmq_connect(socket, uri), 0);
    for (unsigned i = 0; i < 2000; i++) {
        struct random4 draw = random_philox(7, 0, i);
        size_t len = draw.v[1] % sizeof body;
        for (size_t j = 0; j < sizeof body; j++)
            body[j] = (unsigned char)random_philox(8, i, j).v[0];
        const struct link_head random = {
            .type = draw.v[0] % 10, .session = draw.v[2] % 3, .batch = draw.v[3] % 5, .items = draw.v[2] % 7};
        link_head_pack(&random, body, len, head);
        if (i % 3 == 0)
            head[draw.v[1] % sizeof head] ^= 1u << draw.v[2] % 8;
        zmq_send(socket, head, i % 5 == 0 ? draw.v[3] % sizeof head : sizeof head, ZMQ_SNDMORE);
        zmq_send(socket, body, len, i % 7 == 0 ? ZMQ_SNDMORE : 0);
        if (i % 7 == 0)
            zmq_send(socket, body, len, 0);
        if (i % 100 == 0)
            settle();
    }
    feed(1, 4, 1);
    pass_time(2);
    assert_true(take(worker, 4, &r) > 0);
    assert_true(link_counts(feeder)->refused > 500);
    int linger = 0;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_close(socket);
    zmq_ctx_term(context);
    free(uri);
    record_free(&r);
}

static void say(void *socket, struct link_head head, const void *body, size_t len)
{
    unsigned char bytes[LINK_HEAD_BYTES];
    link_head_pack(&head, body, len, bytes);
    zmq_send(socket, bytes, sizeof bytes, ZMQ_SNDMORE);
    zmq_send(socket, body, len, 0);
}

/* Acknowledgements twice, in any order, of batches that others have, of sessions that are over: whatever a worker says,
 * each ticket comes back once, and none that nobody acknowledged. */
static void test_confused_worker(void **state)
{
    (void)state;
    enum { BATCHES = 200 };
    unsigned settled[BATCHES + 1] = {0};
    struct record r = {0};
    uint64_t ticket;
    open_feeder("f", true);
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_DEALER);
    char *uri = xasprintf("ipc://%s", scratch_path("f"));
    assert_int_equal(zmq_connect(socket, uri), 0);
    for (uint64_t i = 1; i <= BATCHES; i++)
        feed(i, 1, i);
    for (unsigned i = 0; i < 3000; i++) {
        struct random4 draw = random_philox(11, 1, i);
        const unsigned char kind = 1 + draw.v[1] % 2;
        struct link_head head = {.session = 1 + draw.v[2] % 2,
                                 .batch = draw.v[3] % (BATCHES + 3),
                                 .sequence = draw.v[1] % (2 * BATCHES),
                                 .attempt = 1 + draw.v[0] % 3};
        static const enum link_type types[] = {LINK_ACK,  LINK_ACK,    LINK_ACK,  LINK_NACK,
                                               LINK_PING, LINK_CREDIT, LINK_HELLO};
        head.type = types[draw.v[0] / 8 % (i % 100 == 0 ? 7 : 6)];
        if (i == 0)
            head = (struct link_head){.type = LINK_HELLO, .session = 1};
        const unsigned char role = LINK_WORKER;
        bool has_body = head.type == LINK_HELLO || head.type == LINK_NACK;
        say(socket, head, head.type == LINK_HELLO ? &role : &kind, has_body);
        if (i % 50 == 0)
            settle();
        while (link_next_settled(feeder, &ticket))
            settled[ticket]++;
    }
    settle();
    assert_true(link_counts(feeder)->stale > 100);
    int linger = 0;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    zmq_close(socket);
    zmq_ctx_term(context);
    worker = open_worker("f", false, 1000);
    for (int i = 0; i < 40 && link_counts(feeder)->open_items > 0; i++) {
        pass_time(1);
        uint64_t mine;
        while ((mine = take(worker, 1, &r)) > 0) {
            link_pass(worker, mine);
            link_ack(worker, mine);
        }
        while (link_next_settled(feeder, &ticket))
            settled[ticket]++;
    }
    while (link_next_settled(feeder, &ticket))
        settled[ticket]++;
    for (int i = 1; i <= BATCHES; i++)
        assert_int_equal(settled[i], 1);
    free(uri);
    record_free(&r);
}

/* Bytes of a message, each flipped: none of it passes. */
static void test_every_bit_counts(void **state)
{
    (void)state;
    unsigned char bytes[LINK_HEAD_BYTES];
    struct buf body = {0};
    struct record r = {0};
    struct link_head out;
    record_set_u64(&r, FIELD_ID, 5);
    link_record_pack(&body, &r);
    const struct link_head head = {
        .type = LINK_DATA, .attempt = 1, .items = 1, .session = 2, .batch = 3, .sequence = 4};
    link_head_pack(&head, body.data, body.len, bytes);
    assert_int_equal(link_head_unpack(&out, bytes, sizeof bytes, body.data, body.len), 0);
    assert_int_equal(out.batch, 3);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= 1u << bit % 8;
        assert_int_equal(link_head_unpack(&out, bytes, sizeof bytes, body.data, body.len), -1);
        bytes[bit / 8] ^= 1u << bit % 8;
    }
    for (size_t bit = 0; bit < 8 * body.len; bit++) {
        body.data[bit / 8] ^= 1u << bit % 8;
        assert_int_equal(link_head_unpack(&out, bytes, sizeof bytes, body.data, body.len), -1);
        body.data[bit / 8] ^= 1u << bit % 8;
    }
    for (size_t len = 0; len < body.len; len++)
        assert_int_equal(link_head_unpack(&out, bytes, sizeof bytes, body.data, len), -1);
    record_free(&r);
    buf_free(&body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_either_end_binds, close_all),
        cmocka_unit_test_teardown(test_end, close_all),
        cmocka_unit_test_teardown(test_credit, close_all),
        cmocka_unit_test_teardown(test_death, close_all),
        cmocka_unit_test_teardown(test_poison, close_all),
        cmocka_unit_test_teardown(test_leaving, close_all),
        cmocka_unit_test_teardown(test_refusal, close_all),
        cmocka_unit_test_teardown(test_bad_addresses, close_all),
        cmocka_unit_test_teardown(test_keys, close_all),
        cmocka_unit_test(test_keys_of_endpoints),
        cmocka_unit_test_teardown(test_hostile_messages, close_all),
        cmocka_unit_test_teardown(test_confused_worker, close_all),
        cmocka_unit_test(test_every_bit_counts),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
