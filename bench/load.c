/* load: the load generator of the server benchmark. One thread, epoll, plain C.
 *
 * Laws
 * - Each connection has DEPTH lanes. A lane has exactly one command in flight and walks the steps
 *   of its workload for ever; a reply to it sends its next command at once. So DEPTH commands are
 *   in flight on each connection at every moment, and, as replies come in order, the lane that is
 *   answered next is simply the next in turn.
 * - All commands that one read made possible leave in one send, as a pipelining client does.
 * - No workload can run dry or deadlock. A lane reserves only after its own put (or release) was
 *   answered, so at any moment the server has carried out more puts and releases than reserves
 *   whenever it comes to a reserve: one job at least is ready, be it this lane's or another's.
 *   Reserves are sent with timeout 0: a server that loses a job answers TIMED_OUT, which is an
 *   error here, and does not hang. Nor can full buffers stop both sides: we never wait in a send,
 *   and read whatever is there while a send waits, so a server that reads no more before its
 *   replies are taken is set free.
 * - Every reply is checked: its kind; that ids rise on a connection and none is given twice; that
 *   no job is reserved twice, nor after its delete; the body, byte by byte; and, at the end, that
 *   every job reserved was one we put. The server must be a fresh one. The first wrong reply ends
 *   the run with one line and status 1.
 * - Bounded: by seconds, by a count of commands, by memory, and by 5 s without any reply.
 * - The steps are evenly mixed throughout. Lanes that began together would put all at once, then
 *   reserve all at once, and with 128,000 of them a window of a second would see puts only. So
 *   each lane begins with its own number of extra puts, and the warm-up lasts until that is done.
 * - Rate, latency and the server's CPU belong to the same window, after a warm-up. CPU is read
 *   from the process clock of the server, which counts all its threads to the nanosecond.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum step { PUT, RESERVE, TOUCH, RELEASE, DELETE };

struct workload {
    const char *name;
    unsigned length;
    bool random_priority;
    enum step steps[6];
};

/* put-random: a priority out of 100,000, so that put lines hardly repeat and jobs do not arrive in
 * the order in which they would leave. */
static const struct workload WORKLOADS[] = {
    {"put", 1, false, {PUT}},
    {"put-random", 1, true, {PUT}},
    {"cycle", 3, false, {PUT, RESERVE, DELETE}},
    {"mixed", 6, false, {PUT, RESERVE, TOUCH, RELEASE, RESERVE, DELETE}},
};

struct lane {
    unsigned step;
    unsigned extra_puts; /* still to be sent before it leaves its first step */
    uint64_t job;
    int64_t sent_at;
};

struct connection {
    int fd;
    unsigned number;
    struct lane *lanes;
    unsigned turn;      /* the lane that is answered next */
    unsigned in_flight;
    uint64_t last_put;  /* id of the newest INSERTED */
    char *in;
    size_t in_length;
    char *out;
    size_t out_length;
    bool wants_out;     /* EPOLLOUT is armed */
};

enum { NAME_SPACE = 64, READ_SPACE = 65536, EVENTS = 1024, BUCKETS = 2048 };
enum { MOST_JOBS = 1 << 28, LONGEST_REPLY_LINE = 224 };
enum job_mark { INSERTED = 1, HELD = 2, GONE = 4 };
enum phase { WARMING, TIMED, DRAINING };

static const int64_t SECOND = 1000000000;
static const int64_t STALL = 5 * 1000000000LL;
static const unsigned TTR = 3600; /* longer than any run: no job expires, no DEADLINE_SOON */

static struct {
    int port;
    const struct workload *workload;
    unsigned connections, depth, body;
    double warm_up, seconds;
    uint64_t most;
    pid_t server;
} options = {0, NULL, 1, 1, 64, 0.3, 1.0, 10000000, 0};

static struct {
    enum phase phase;
    int64_t phase_began;
    uint64_t ops;          /* replies in this phase */
    unsigned in_flight;    /* over all connections */
    clockid_t server_clock;
    int64_t server_cpu, own_cpu, window;
    uint64_t window_ops;
    uint64_t latency[BUCKETS];
    uint64_t window_latency[BUCKETS];
    uint64_t random;
} run;

static char *body;         /* the body with its CR LF */
static char put_line[NAME_SPACE];
static size_t put_line_length;
static int epoll;
static uint8_t *jobs;      /* job_mark bits by id */
static size_t jobs_space;

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (memory == NULL) fail("out of memory");
    return memory;
}

static int64_t read_clock(clockid_t clock) {
    struct timespec time;
    if (clock_gettime(clock, &time) != 0)
        fail("clock: %s (has the server ended?)", strerror(errno));
    return time.tv_sec * SECOND + time.tv_nsec;
}

static int64_t read_server_cpu(void) {
    return options.server ? read_clock(run.server_clock) : 0;
}

/* --- latency: buckets of 32 to an octave, so a percentile is right within 3 % --- */

static unsigned bucket_of(uint64_t nanoseconds) {
    if (nanoseconds < 64) return (unsigned)nanoseconds;
    unsigned shift = 63 - (unsigned)__builtin_clzll(nanoseconds) - 5;
    return shift * 32 + (unsigned)(nanoseconds >> shift);
}

static double bucket_middle(unsigned bucket) {
    if (bucket < 64) return bucket;
    unsigned shift = bucket / 32 - 1;
    return ((double)(bucket - shift * 32) + 0.5) * (double)(1ULL << shift);
}

static double percentile_us(double share) {
    uint64_t seen = 0, wanted = (uint64_t)(share * (double)run.window_ops);
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += run.window_latency[i];
        if (seen > wanted) return bucket_middle(i) / 1000.0;
    }
    return 0;
}

/* --- phases --- */

static void begin_window(int64_t now) {
    run.phase = TIMED;
    run.ops = 0;
    memset(run.latency, 0, sizeof run.latency);
    run.server_cpu = read_server_cpu();
    run.own_cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID);
    run.phase_began = now;
}

static void end_window(int64_t now) {
    run.phase = DRAINING;
    run.server_cpu = read_server_cpu() - run.server_cpu;
    run.own_cpu = read_clock(CLOCK_PROCESS_CPUTIME_ID) - run.own_cpu;
    run.window = now - run.phase_began;
    run.window_ops = run.ops;
    memcpy(run.window_latency, run.latency, sizeof run.latency);
}

static void advance(int64_t now) {
    double elapsed = (double)(now - run.phase_began) / (double)SECOND;
    bool full = run.ops >= options.most;
    uint64_t lanes = (uint64_t)options.connections * options.depth;
    bool mixed = run.ops >= lanes * options.workload->length;
    if (run.phase == WARMING && (full || (mixed && elapsed >= options.warm_up))) begin_window(now);
    else if (run.phase == TIMED && (full || elapsed >= options.seconds)) end_window(now);
}

/* --- what we know of each job --- */

static uint8_t *marks_of(uint64_t id) {
    if (id >= MOST_JOBS) fail("job id %llu is out of any likely range", (unsigned long long)id);
    if (id >= jobs_space) {
        size_t space = jobs_space ? jobs_space : 1 << 20;
        while (space <= id) space *= 2;
        jobs = realloc(jobs, space);
        if (jobs == NULL) fail("out of memory");
        memset(jobs + jobs_space, 0, space - jobs_space);
        jobs_space = space;
    }
    return &jobs[id];
}

static void note_inserted(struct connection *c, uint64_t id) {
    uint8_t *marks = marks_of(id);
    if (*marks & INSERTED || id <= c->last_put)
        fail("connection %u: INSERTED %llu: an id must be new and rising (before it: %llu)",
             c->number, (unsigned long long)id, (unsigned long long)c->last_put);
    *marks |= INSERTED;
    c->last_put = id;
}

/* INSERTED may not have been read yet: another connection's put can be answered later than the
 * reserve that got its job. check_all_were_put() looks at the end. */
static void note_reserved(struct connection *c, uint64_t id) {
    uint8_t *marks = marks_of(id);
    if (*marks & (HELD | GONE))
        fail("connection %u: RESERVED %llu: that job %s", c->number, (unsigned long long)id,
             *marks & GONE ? "was deleted" : "is reserved already");
    *marks |= HELD;
}

static void check_all_were_put(void) {
    for (size_t id = 0; id < jobs_space; id++)
        if (jobs[id] && !(jobs[id] & INSERTED))
            fail("RESERVED %zu: no put was given that id", id);
}

/* --- commands --- */

static uint64_t random_priority(void) {
    run.random ^= run.random << 13;
    run.random ^= run.random >> 7;
    run.random ^= run.random << 17;
    return run.random % 100000;
}

static size_t write_put(char *out) {
    size_t length = put_line_length;
    if (options.workload->random_priority)
        length = (size_t)sprintf(out, "put %llu 0 %u %u\r\n",
                                 (unsigned long long)random_priority(), TTR, options.body);
    else memcpy(out, put_line, length);
    memcpy(out + length, body, options.body + 2);
    return length + options.body + 2;
}

static size_t write_with_id(char *out, const char *word, uint64_t id, const char *rest) {
    char digits[20], *end = out;
    unsigned count = 0;
    do digits[count++] = (char)('0' + id % 10);
    while (id /= 10);
    end = stpcpy(end, word);
    while (count) *end++ = digits[--count];
    return (size_t)(stpcpy(end, rest) - out);
}

static size_t write_command(char *out, enum step step, uint64_t job) {
    static const char reserve[] = "reserve-with-timeout 0\r\n";
    switch (step) {
    case PUT:
        return write_put(out);
    case RESERVE:
        memcpy(out, reserve, sizeof reserve - 1);
        return sizeof reserve - 1;
    case TOUCH:
        return write_with_id(out, "touch ", job, "\r\n");
    case RELEASE:
        /* Free as soon as it is sent: another lane may hold it before we read RELEASED. */
        *marks_of(job) &= (uint8_t)~HELD;
        return write_with_id(out, "release ", job, " 65536 0\r\n");
    case DELETE:
        *marks_of(job) |= GONE;
        return write_with_id(out, "delete ", job, "\r\n");
    }
    return 0;
}

/* The buffer cannot overflow: it has room for DEPTH commands and no more are in flight. */
static void queue_command(struct connection *c, struct lane *lane, int64_t now) {
    enum step step = options.workload->steps[lane->step];
    c->out_length += write_command(c->out + c->out_length, step, lane->job);
    lane->sent_at = now;
    c->in_flight++;
    run.in_flight++;
}

static void arm(struct connection *c, bool wants_out) {
    struct epoll_event event = {.events = EPOLLIN | (wants_out ? EPOLLOUT : 0), .data.ptr = c};
    if (c->wants_out == wants_out) return;
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event) != 0) fail("epoll_ctl: %s", strerror(errno));
    c->wants_out = wants_out;
}

static void flush(struct connection *c) {
    if (c->out_length == 0) return;
    ssize_t sent = send(c->fd, c->out, c->out_length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) fail("connection %u: send: %s", c->number, strerror(errno));
    if (sent > 0) {
        c->out_length -= (size_t)sent;
        memmove(c->out, c->out + sent, c->out_length);
    }
    arm(c, c->out_length > 0);
}

/* --- replies --- */

static void fail_reply(struct connection *c, const char *wanted, const char *line, size_t length) {
    fail("connection %u: expected %s, got \"%.*s\"", c->number, wanted,
         (int)(length > 80 ? 80 : length), line);
}

/* Reads decimal digits; returns where they end, or NULL if there is none or too many. */
static const char *read_number(const char *at, uint64_t *value) {
    const char *start = at;
    *value = 0;
    while (*at >= '0' && *at <= '9' && at - start < 19)
        *value = *value * 10 + (uint64_t)(*at++ - '0');
    return at == start ? NULL : at;
}

static void check_word(struct connection *c, const char *line, size_t length, const char *word) {
    if (length != strlen(word) || memcmp(line, word, length) != 0)
        fail_reply(c, word, line, length);
}

/* Reads the number behind a reply's word; returns where it ends, or NULL if it is another reply. */
static const char *read_after(const char *word, const char *line, size_t length, uint64_t *value) {
    size_t start = strlen(word);
    if (length <= start || memcmp(line, word, start) != 0) return NULL;
    return read_number(line + start, value);
}

static size_t take_inserted(struct connection *c, const char *line, size_t length) {
    uint64_t id;
    const char *end = read_after("INSERTED ", line, length, &id);
    if (end == NULL || end != line + length) fail_reply(c, "INSERTED <id>", line, length);
    note_inserted(c, id);
    return length + 2;
}

/* Returns 0 when the body is not all here yet. */
static size_t take_reserved(struct connection *c, struct lane *lane, const char *line,
                            size_t length, size_t available) {
    uint64_t id, bytes;
    const char *end = read_after("RESERVED ", line, length, &id);
    if (end != NULL) end = *end == ' ' ? read_number(end + 1, &bytes) : NULL;
    if (end == NULL || end != line + length || bytes != options.body)
        fail_reply(c, "RESERVED <id> <bytes put>", line, length);
    size_t total = length + 2 + options.body + 2;
    if (available < total) return 0;
    if (memcmp(line + length + 2, body, options.body + 2) != 0)
        fail("connection %u: job %llu: the body is not the one put", c->number,
             (unsigned long long)id);
    note_reserved(c, id);
    lane->job = id;
    return total;
}

/* Takes one reply from the front; returns its length, or 0 when it is not complete. */
static size_t take_reply(struct connection *c, struct lane *lane, const char *at,
                         size_t available) {
    size_t searched = available < LONGEST_REPLY_LINE ? available : LONGEST_REPLY_LINE;
    const char *newline = memchr(at, '\n', searched);
    if (newline == NULL) {
        if (searched == LONGEST_REPLY_LINE) fail_reply(c, "a reply line", at, available);
        return 0;
    }
    if (newline == at || newline[-1] != '\r') fail_reply(c, "CR LF", at, (size_t)(newline - at));
    size_t length = (size_t)(newline - at) - 1;
    switch (options.workload->steps[lane->step]) {
    case PUT: return take_inserted(c, at, length);
    case RESERVE: return take_reserved(c, lane, at, length, available);
    case TOUCH: check_word(c, at, length, "TOUCHED"); break;
    case RELEASE: check_word(c, at, length, "RELEASED"); break;
    case DELETE: check_word(c, at, length, "DELETED"); break;
    }
    return length + 2;
}

static void answered(struct connection *c, struct lane *lane, int64_t now) {
    unsigned bucket = bucket_of((uint64_t)(now - lane->sent_at));
    run.latency[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    run.ops++;
    run.in_flight--;
    c->in_flight--;
    if (++c->turn == options.depth) c->turn = 0;
    if (lane->extra_puts > 0) lane->extra_puts--;
    else if (++lane->step == options.workload->length) lane->step = 0;
    if (run.phase != DRAINING) queue_command(c, lane, now);
}

static void read_replies(struct connection *c, int64_t *last_reply) {
    size_t space = READ_SPACE + options.body;
    ssize_t got = recv(c->fd, c->in + c->in_length, space - c->in_length, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0) fail("connection %u: recv: %s", c->number, strerror(errno));
    if (got == 0) fail("connection %u: closed by the server", c->number);
    c->in_length += (size_t)got;

    int64_t now = read_clock(CLOCK_MONOTONIC);
    size_t at = 0, taken;
    advance(now);
    while (at < c->in_length) {
        struct lane *lane = &c->lanes[c->turn];
        if (c->in_flight == 0) fail_reply(c, "nothing", c->in + at, c->in_length - at);
        if ((taken = take_reply(c, lane, c->in + at, c->in_length - at)) == 0) break;
        at += taken;
        answered(c, lane, now);
        *last_reply = now;
    }
    c->in_length -= at;
    memmove(c->in, c->in + at, c->in_length);
}

/* --- a run --- */

static int connect_to_server(unsigned number) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("connection %u to 127.0.0.1:%d: %s", number, options.port, strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    /* End by a reset: runs of 1,000 connections would leave all our ports in TIME_WAIT. */
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void open_connection(struct connection *c, unsigned number) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    c->number = number;
    c->fd = connect_to_server(number);
    c->lanes = allocate(options.depth, sizeof *c->lanes);
    for (unsigned i = 0; i < options.depth; i++)
        c->lanes[i].extra_puts = (number + i) % options.workload->length;
    /* one byte more than is ever read: read_number() may look at what follows the last digit */
    c->in = allocate(READ_SPACE + options.body + 1, 1);
    c->out = allocate(options.depth, NAME_SPACE + options.body + 2);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0) fail("epoll_ctl: %s", strerror(errno));
}

static void start_all(struct connection *connections) {
    int64_t now = read_clock(CLOCK_MONOTONIC);
    run.phase_began = now;
    for (unsigned i = 0; i < options.connections; i++) {
        for (unsigned k = 0; k < options.depth; k++)
            queue_command(&connections[i], &connections[i].lanes[k], now);
        flush(&connections[i]);
    }
}

static void turn_until_drained(void) {
    struct epoll_event events[EVENTS];
    int64_t last_reply = read_clock(CLOCK_MONOTONIC);
    while (run.phase != DRAINING || run.in_flight > 0) {
        int count = epoll_wait(epoll, events, EVENTS, 500);
        if (count < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_replies(c, &last_reply);
            flush(c);
        }
        if (read_clock(CLOCK_MONOTONIC) - last_reply > STALL)
            fail("no reply for 5 s with %u commands in flight", run.in_flight);
    }
}

static void print_result(void) {
    printf("ops=%llu seconds=%.6f server_cpu=%.6f own_cpu=%.6f p50_us=%.1f p99_us=%.1f\n",
           (unsigned long long)run.window_ops, (double)run.window / 1e9,
           (double)run.server_cpu / 1e9, (double)run.own_cpu / 1e9, percentile_us(0.50),
           percentile_us(0.99));
}

/* --- the command line --- */

static const char USAGE[] =
    "usage: load -p PORT -w put|put-random|cycle|mixed [-c CONNECTIONS] [-d DEPTH]\n"
    "            [-b BODY_BYTES] [-u WARM_UP_SECONDS] [-s SECONDS] [-n MOST_COMMANDS]\n"
    "            [-P SERVER_PID]\n"
    "The server must listen on 127.0.0.1 and be fresh. Warm-up and timed part each end after\n"
    "their seconds or after MOST_COMMANDS, whichever is first; the warm-up not before each\n"
    "lane has gone through its workload once.";

static double number_option(const char *text, double low, double high, char name) {
    char *end;
    double value = strtod(text, &end);
    if (*text == 0 || *end != 0 || !(value >= low && value <= high))
        fail("-%c takes a number from %g to %g, not \"%s\"", name, low, high, text);
    return value;
}

static const struct workload *workload_named(const char *name) {
    for (size_t i = 0; i < sizeof WORKLOADS / sizeof *WORKLOADS; i++)
        if (strcmp(WORKLOADS[i].name, name) == 0) return &WORKLOADS[i];
    fail("no workload \"%s\"\n%s", name, USAGE);
    return NULL;
}

static void read_options(int argc, char **argv) {
    int letter;
    while ((letter = getopt(argc, argv, "p:w:c:d:b:u:s:n:P:")) != -1) switch (letter) {
        case 'p': options.port = (int)number_option(optarg, 1, 65535, 'p'); break;
        case 'w': options.workload = workload_named(optarg); break;
        case 'c': options.connections = (unsigned)number_option(optarg, 1, 10000, 'c'); break;
        case 'd': options.depth = (unsigned)number_option(optarg, 1, 1024, 'd'); break;
        case 'b': options.body = (unsigned)number_option(optarg, 0, 1 << 20, 'b'); break;
        case 'u': options.warm_up = number_option(optarg, 0, 60, 'u'); break;
        case 's': options.seconds = number_option(optarg, 0.01, 60, 's'); break;
        case 'n': options.most = (uint64_t)number_option(optarg, 1, 1e8, 'n'); break;
        case 'P': options.server = (pid_t)number_option(optarg, 1, 1 << 30, 'P'); break;
        default: fail("%s", USAGE);
        }
    if (options.port == 0 || options.workload == NULL || optind != argc) fail("%s", USAGE);
}

static void prepare(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    body = allocate(options.body + 2, 1);
    memset(body, 'x', options.body);
    memcpy(body + options.body, "\r\n", 2);
    put_line_length = (size_t)snprintf(put_line, sizeof put_line, "put 65536 0 %u %u\r\n", TTR,
                                       options.body);
    run.random = 88172645463325252ULL; /* the same priorities in every run */
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) fail("epoll_create1: %s", strerror(errno));
    if (options.server && clock_getcpuclockid(options.server, &run.server_clock) != 0)
        fail("no process %d", (int)options.server);
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    prepare();
    struct connection *connections = allocate(options.connections, sizeof *connections);
    for (unsigned i = 0; i < options.connections; i++) open_connection(&connections[i], i);
    start_all(connections);
    turn_until_drained();
    check_all_were_put();
    print_result();
    return 0;
}
