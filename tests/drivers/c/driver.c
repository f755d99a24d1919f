/* libmariadb, the C library. What is printed and how it is told where to connect to: ../README.md */
#include <mysql.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LENGTH(array) (sizeof(array) / sizeof *(array))

static void fail(const char *what)
{
    fprintf(stderr, "not as it should be: %s\n", what);
    exit(1);
}

static void check(bool truth, const char *what)
{
    if (!truth)
        fail(what);
}

/* A client that has not connected yet. */
static MYSQL *prepared_client(void)
{
    MYSQL *client = mysql_init(NULL);
    mysql_options(client, MYSQL_SET_CHARSET_NAME, "utf8mb4");
    mysql_options(client, MYSQL_OPT_LOCAL_INFILE, &(unsigned){1});
    mysql_options4(client, MYSQL_OPT_CONNECT_ATTR_ADD, "program_name", "driver");
    return client;
}

static bool try_connect(MYSQL *client, const char *password, const char *schema)
{
    return mysql_real_connect(client, getenv("DB_HOST"), getenv("DB_USER"), password, schema, atoi(getenv("DB_PORT")),
                              NULL, CLIENT_MULTI_STATEMENTS | CLIENT_REMEMBER_OPTIONS) != NULL;
}

static MYSQL *connected(MYSQL *client)
{
    if (!try_connect(client, getenv("DB_PASSWORD"), getenv("DB_SCHEMA")))
        fail(mysql_error(client));
    return client;
}

static void run(MYSQL *client, const char *statement)
{
    if (mysql_query(client, statement) != 0)
        fail(mysql_error(client));
}

static void print_text(const char *text, size_t length)
{
    putchar('"');
    for (size_t place = 0; place < length; place++) {
        unsigned char byte = text[place];
        if (byte < ' ' || byte >= 127 || byte == '"' || byte == '\\')
            printf("\\u%04x", byte);
        else
            putchar(byte);
    }
    putchar('"');
}

static void begin(const char *name)
{
    printf("{\"check\": \"%s\", \"saw\": [", name);
}

static void end(void)
{
    printf("null]}\n");
    fflush(stdout);
}

static void print_error(unsigned code, const char *state, const char *message)
{
    printf("[%u, \"%s\", ", code, state);
    print_text(message, strlen(message));
    printf("], ");
}

/* The columns and rows of one result, or what a statement without one did. */
static void print_result(MYSQL *client)
{
    MYSQL_RES *result = mysql_store_result(client);
    if (result == NULL) {
        check(mysql_errno(client) == 0, mysql_error(client));
        printf("[%llu, %llu, %u], ", mysql_affected_rows(client), mysql_insert_id(client), mysql_warning_count(client));
        return;
    }
    unsigned columns = mysql_num_fields(result);
    for (unsigned column = 0; column < columns; column++) {
        MYSQL_FIELD *field = mysql_fetch_field_direct(result, column);
        printf("[\"%s\", \"%s\", \"%s\", \"%s\", %lu, %u, %u, %u, %d], ", field->name, field->org_name, field->table,
               field->db, field->length, field->flags, field->decimals, field->charsetnr, field->type);
    }
    for (MYSQL_ROW row; (row = mysql_fetch_row(result)) != NULL;) {
        unsigned long *lengths = mysql_fetch_lengths(result);
        for (unsigned column = 0; column < columns; column++) {
            if (row[column] != NULL)
                print_text(row[column], lengths[column]);
            else
                printf("null");
            printf(", ");
        }
    }
    mysql_free_result(result);
}

static void print_query(MYSQL *client, const char *statement)
{
    run(client, statement);
    int more;
    do {
        print_result(client);
        more = mysql_next_result(client);
    } while (more == 0);
    check(more == -1, mysql_error(client));
}

static void print_failure(MYSQL *client, const char *statement, unsigned code, unsigned or)
{
    check(mysql_query(client, statement) != 0, statement);
    check(mysql_errno(client) == code || mysql_errno(client) == or, mysql_error(client));
    print_error(mysql_errno(client), mysql_sqlstate(client), mysql_error(client));
}

static void connects(void)
{
    MYSQL *client = connected(prepared_client());
    begin("connect");
    check(mysql_ping(client) == 0, mysql_error(client));
    check(mysql_get_ssl_cipher(client) == NULL, "no TLS");
    printf("%lu, \"%s\", ", mysql_get_server_version(client), mysql_get_server_info(client));
    print_query(client, "SELECT 1, 'text'");
    check(mysql_change_user(client, getenv("DB_USER"), getenv("DB_PASSWORD"), getenv("DB_SCHEMA")) == 0, "another user");
    check(mysql_reset_connection(client) == 0, mysql_error(client));
    print_query(client, "SELECT DATABASE(), @@character_set_results");
    const char *statistics = mysql_stat(client);
    check(statistics != NULL && strstr(statistics, "Uptime") != NULL, "statistics");
    end();
    mysql_close(client);
}

static void connects_with_tls(void)
{
    MYSQL *client = prepared_client();
    mysql_ssl_set(client, NULL, NULL, getenv("DB_CA"), NULL, NULL);
    mysql_options(client, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &(my_bool){1});
    connected(client);
    check(mysql_get_ssl_cipher(client) != NULL, "TLS");
    begin("connect with TLS");
    print_query(client, "SELECT SHA2(REPEAT('x', 300000), 256), REPEAT('y', 300)");
    end();
    mysql_close(client);
}

static void migrations(void)
{
    MYSQL *client = connected(prepared_client());
    begin("migrations");
    print_query(client, "CREATE TABLE owners (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL UNIQUE)");
    print_query(client, "CREATE TABLE cats (id INT AUTO_INCREMENT PRIMARY KEY, owner INT NOT NULL, lives INT DEFAULT 9,"
                        " FOREIGN KEY (owner) REFERENCES owners (id))");
    print_query(client, "ALTER TABLE cats ADD COLUMN name VARCHAR(50), ADD INDEX names (name);"
                        "ALTER TABLE cats RENAME COLUMN lives TO lives_left");
    print_query(client, "SHOW COLUMNS FROM cats");
    print_query(client, "SHOW CREATE TABLE cats");
    end();
    mysql_close(client);
}

static MYSQL_STMT *prepare(MYSQL *client, const char *statement)
{
    MYSQL_STMT *prepared = mysql_stmt_init(client);
    if (mysql_stmt_prepare(prepared, statement, strlen(statement)) != 0)
        fail(mysql_stmt_error(prepared));
    return prepared;
}

static void execute(MYSQL_STMT *prepared)
{
    if (mysql_stmt_execute(prepared) != 0)
        fail(mysql_stmt_error(prepared));
}

/* Prints the rows of an executed statement, each column as text. */
static void print_rows(MYSQL_STMT *prepared)
{
    MYSQL_RES *metadata = mysql_stmt_result_metadata(prepared);
    unsigned columns = mysql_num_fields(metadata);
    MYSQL_BIND results[20] = {0};
    static char buffers[20][400];
    unsigned long lengths[20];
    my_bool nulls[20];
    for (unsigned column = 0; column < columns; column++) {
        MYSQL_FIELD *field = mysql_fetch_field_direct(metadata, column);
        printf("[\"%s\", %lu, %u, %u, %d], ", field->name, field->length, field->flags, field->charsetnr, field->type);
        results[column] = (MYSQL_BIND){.buffer_type = MYSQL_TYPE_STRING, .buffer = buffers[column],
                                       .buffer_length = sizeof buffers[column], .length = &lengths[column],
                                       .is_null = &nulls[column]};
    }
    mysql_free_result(metadata);
    check(mysql_stmt_bind_result(prepared, results) == 0, mysql_stmt_error(prepared));
    for (int fetched; (fetched = mysql_stmt_fetch(prepared)) != MYSQL_NO_DATA;) {
        check(fetched == 0, mysql_stmt_error(prepared));
        for (unsigned column = 0; column < columns; column++) {
            if (nulls[column])
                printf("null");
            else
                print_text(buffers[column], lengths[column]);
            printf(", ");
        }
    }
    mysql_stmt_free_result(prepared);
}

static void types(void)
{
    MYSQL *client = connected(prepared_client());
    run(client, "CREATE TABLE types (id INT PRIMARY KEY, small TINYINT, big BIGINT UNSIGNED, exact DECIMAL(30,10),"
                " single FLOAT, approximate DOUBLE, bits BIT(12), day DATE, at DATETIME(6), took TIME(6), year YEAR,"
                " text VARCHAR(200), bytes VARBINARY(300), choice ENUM('one', 'two'), choices SET('a', 'b'),"
                " document JSON, nothing INT)");
    signed char small = -128;
    unsigned long long big = ~0ULL;
    float single = 0.5;
    double approximate = -2.5e300;
    short year = 2155;
    MYSQL_TIME day = {.year = 1000, .month = 1, .day = 1, .time_type = MYSQL_TIMESTAMP_DATE};
    MYSQL_TIME at = {9999, 12, 31, 23, 59, 59, 999999, 0, MYSQL_TIMESTAMP_DATETIME};
    MYSQL_TIME took = {.hour = 800, .second = 1, .second_part = 1, .neg = 1, .time_type = MYSQL_TIMESTAMP_TIME};
    char bytes[256];
    for (size_t value = 0; value < sizeof bytes; value++)
        bytes[value] = value;
#define TEXT(kind, value) {.buffer_type = kind, .buffer = value, .buffer_length = sizeof(value) - 1}
    MYSQL_BIND values[] = {
        {.buffer_type = MYSQL_TYPE_TINY, .buffer = &small},
        {.buffer_type = MYSQL_TYPE_LONGLONG, .buffer = &big, .is_unsigned = 1},
        TEXT(MYSQL_TYPE_NEWDECIMAL, "-12345678901234567890.0123456789"),
        {.buffer_type = MYSQL_TYPE_FLOAT, .buffer = &single},
        {.buffer_type = MYSQL_TYPE_DOUBLE, .buffer = &approximate},
        TEXT(MYSQL_TYPE_BLOB, "\x0a\xbc"),
        {.buffer_type = MYSQL_TYPE_DATE, .buffer = &day},
        {.buffer_type = MYSQL_TYPE_DATETIME, .buffer = &at},
        {.buffer_type = MYSQL_TYPE_TIME, .buffer = &took},
        {.buffer_type = MYSQL_TYPE_SHORT, .buffer = &year},
        TEXT(MYSQL_TYPE_STRING, "na\xc3\xafve \xe6\xb5\xb7\xe5\xb3\xa1 \xf0\x9f\x8c\x89 'q' \\ \n ?"),
        {.buffer_type = MYSQL_TYPE_BLOB, .buffer = bytes, .buffer_length = sizeof bytes},
        TEXT(MYSQL_TYPE_STRING, "two"),
        TEXT(MYSQL_TYPE_STRING, "a,b"),
        TEXT(MYSQL_TYPE_STRING, "{\"a\": [1, null]}"),
        {.buffer_type = MYSQL_TYPE_NULL},
    };
    MYSQL_STMT *insert = prepare(client, "INSERT INTO types VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    check(mysql_stmt_param_count(insert) == LENGTH(values), "as many parameters");
    check(mysql_stmt_bind_param(insert, values) == 0, mysql_stmt_error(insert));
    execute(insert);
    mysql_stmt_close(insert);
    begin("types");
    print_query(client, "SELECT * FROM types");
    MYSQL_STMT *select = prepare(client, "SELECT * FROM types");
    execute(select);
    print_rows(select);
    mysql_stmt_close(select);
    end();
    mysql_close(client);
}

static void prepared_statements(void)
{
    MYSQL *client = connected(prepared_client());
    run(client, "CREATE TABLE prepared (id INT AUTO_INCREMENT PRIMARY KEY, text LONGTEXT)");
    MYSQL_STMT *insert = prepare(client, "INSERT INTO prepared (text) VALUES (?)");
    char text[20];
    unsigned long length;
    check(mysql_stmt_bind_param(insert, &(MYSQL_BIND){.buffer_type = MYSQL_TYPE_STRING, .buffer = text,
                                                      .length = &length}) == 0, mysql_stmt_error(insert));
    for (unsigned number = 1; number <= 20; number++) {
        length = snprintf(text, sizeof text, "text %u", number);
        execute(insert);
        check(mysql_stmt_insert_id(insert) == number && mysql_stmt_affected_rows(insert) == 1, "the id");
    }
    for (unsigned part = 0; part < 3; part++)
        check(mysql_stmt_send_long_data(insert, 0, "in parts ", 9) == 0, mysql_stmt_error(insert));
    execute(insert);
    check(mysql_stmt_send_long_data(insert, 0, "forgotten", 9) == 0, mysql_stmt_error(insert));
    check(mysql_stmt_reset(insert) == 0, mysql_stmt_error(insert));
    execute(insert);
    begin("prepared statements");
    MYSQL_STMT *select = prepare(client, "SELECT id, text FROM prepared WHERE id >= ? AND id < ? ORDER BY id");
    int from, to;
    MYSQL_BIND between[] = {{.buffer_type = MYSQL_TYPE_LONG, .buffer = &from}, {.buffer_type = MYSQL_TYPE_LONG, .buffer = &to}};
    check(mysql_stmt_bind_param(select, between) == 0, mysql_stmt_error(select));
    unsigned long cursor = CURSOR_TYPE_READ_ONLY, rows = 3;
    for (int round = 0; round < 4; round++) {
        from = (int[]){1, 5, 19, 1}[round];
        to = (int[]){3, 5, 100, 100}[round];
        if (round == 3) {
            mysql_stmt_attr_set(select, STMT_ATTR_CURSOR_TYPE, &cursor);
            mysql_stmt_attr_set(select, STMT_ATTR_PREFETCH_ROWS, &rows);
        }
        execute(select);
        print_rows(select);
    }
    mysql_stmt_close(select);
    MYSQL_STMT *missing = mysql_stmt_init(client);
    check(mysql_stmt_prepare(missing, "SELECT * FROM missing", 21) != 0, "no such table");
    print_error(mysql_stmt_errno(missing), mysql_stmt_sqlstate(missing), mysql_stmt_error(missing));
    end();
    mysql_stmt_close(missing);
    mysql_stmt_close(insert);
    mysql_close(client);
}

static void transactions(void)
{
    MYSQL *client = connected(prepared_client()), *other = connected(prepared_client());
    const char *look = "SELECT id FROM transactions ORDER BY id";
    const char *look_from_outside = "/* isthmus:writer */ SELECT id FROM transactions ORDER BY id";
    run(client, "CREATE TABLE transactions (id INT PRIMARY KEY)");
    begin("transactions");
    check(mysql_autocommit(client, 0) == 0, mysql_error(client));
    print_query(client, "INSERT INTO transactions VALUES (1)");
    print_query(client, look);
    print_query(other, look_from_outside);
    check(mysql_rollback(client) == 0, mysql_error(client));
    print_query(client, look);
    print_query(client, "INSERT INTO transactions VALUES (2); SAVEPOINT here; INSERT INTO transactions VALUES (3);"
                        "ROLLBACK TO SAVEPOINT here");
    check(mysql_commit(client) == 0 && mysql_autocommit(client, 1) == 0, mysql_error(client));
    print_query(client, look);
    print_query(other, look_from_outside);
    end();
    mysql_close(client);
    mysql_close(other);
}

static void bulk_insert(void)
{
    MYSQL *client = connected(prepared_client());
    begin("bulk insert");
    print_query(client, "CREATE TABLE bulk (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50), number INT)");
    char *statement = malloc(5000 * 40);
    int length = sprintf(statement, "INSERT INTO bulk (text, number) VALUES ");
    for (int number = 0; number < 5000; number++)
        length += sprintf(statement + length, "%s('text %d', %d)", number ? ", " : "", number, number);
    check(mysql_real_query(client, statement, length) == 0, mysql_error(client));
    printf("\"%s\", ", mysql_info(client));
    print_result(client);
    print_query(client, "SELECT COUNT(*), SUM(number) FROM bulk");
    end();
    free(statement);
    mysql_close(client);
}

static void errors(void)
{
    MYSQL *client = connected(prepared_client()), *holder = connected(prepared_client());
    run(client, "CREATE TABLE errors (id INT PRIMARY KEY)");
    run(client, "CREATE TABLE parts (id INT NOT NULL, CONSTRAINT part FOREIGN KEY (id) REFERENCES errors (id))");
    run(client, "INSERT INTO errors VALUES (1)");
    run(holder, "BEGIN");
    run(holder, "INSERT INTO errors VALUES (2)");
    begin("errors");
    print_failure(client, "SELEKT 1", 1064, 0);
    print_failure(client, "SELECT * FROM missing", 1146, 0);
    print_failure(client, "INSERT INTO errors VALUES (1)", 1062, 0);
    print_failure(client, "USE missing_schema", 1049, 0);
    print_failure(client, "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'by hand'", 1644, 0);
    print_failure(client, "INSERT INTO parts VALUES (3)", 1452, 0);
    print_failure(client, "INSERT INTO parts VALUES (NULL)", 1048, 0);
    print_failure(client, "SELECT * FROM errors WHERE id = 2 FOR UPDATE NOWAIT", 3572, 1205);
    print_query(client, "INSERT IGNORE INTO errors VALUES (1), ('x')");
    print_query(client, "SHOW WARNINGS");
    MYSQL *wrong = prepared_client();
    check(!try_connect(wrong, "wrong", getenv("DB_SCHEMA")) && mysql_errno(wrong) == 1045, mysql_error(wrong));
    check(!try_connect(wrong, getenv("DB_PASSWORD"), "missing_schema") && mysql_errno(wrong) == 1049, mysql_error(wrong));
    end();
    mysql_close(wrong);
    mysql_close(holder);
    mysql_close(client);
}

static void big_results(void)
{
    MYSQL *client = connected(prepared_client());
#define DIGITS "(SELECT 0 AS d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL " \
               "SELECT 5 UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)"
    run(client, "SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d, REPEAT('x', 3000) FROM " DIGITS " a, " DIGITS " b, " DIGITS
                " c, " DIGITS " e");
    MYSQL_RES *result = mysql_use_result(client);
    long count = 0, sum = 0, length = 0;
    for (MYSQL_ROW row; (row = mysql_fetch_row(result)) != NULL; count++) {
        sum += atol(row[0]);
        length += strlen(row[1]);
    }
    check(count == 10000 && sum == 49995000, mysql_error(client));
    mysql_free_result(result);
    begin("big results");
    printf("%ld, %ld, %ld, ", count, sum, length);
    end();
    mysql_close(client);
}

static void big_packets(void)
{
    MYSQL *client = connected(prepared_client());
    run(client, "CREATE TABLE packets (id INT PRIMARY KEY, data LONGBLOB)");
    unsigned long length = 17 << 20;
    char *data = malloc(length);
    memset(data, 'x', length);
    MYSQL_STMT *insert = prepare(client, "INSERT INTO packets VALUES (1, ?)");
    mysql_stmt_bind_param(insert, &(MYSQL_BIND){.buffer_type = MYSQL_TYPE_BLOB, .buffer = data, .buffer_length = length});
    execute(insert);
    mysql_stmt_close(insert);
    run(client, "SELECT data FROM packets");
    MYSQL_RES *result = mysql_store_result(client);
    MYSQL_ROW row = mysql_fetch_row(result);
    check(mysql_fetch_lengths(result)[0] == length && memcmp(row[0], data, length) == 0, "the data");
    mysql_free_result(result);
    begin("big packets");
    print_query(client, "SELECT id, LENGTH(data), SHA2(data, 256) FROM packets");
    end();
    free(data);
    mysql_close(client);
}

static void several_results(void)
{
    MYSQL *client = connected(prepared_client());
    begin("several results");
    print_query(client, "SELECT 1; SET @a = 2; SELECT @a, 3");
    print_query(client, "CREATE PROCEDURE several() BEGIN SELECT 4; SELECT 5, 6; END");
    print_query(client, "CALL several()");
    check(mysql_set_server_option(client, MYSQL_OPTION_MULTI_STATEMENTS_OFF) == 0, mysql_error(client));
    print_failure(client, "SELECT 1; SELECT 2", 1064, 0);
    end();
    mysql_close(client);
}

static void local_files(void)
{
    MYSQL *client = connected(prepared_client());
    run(client, "CREATE TABLE files (id INT PRIMARY KEY, text VARCHAR(50))");
    char name[] = "/tmp/lines.XXXXXX";
    FILE *file = fdopen(mkstemp(name), "w");
    for (int number = 0; number < 50000; number++)
        fprintf(file, "%d,text %d\n", number, number);
    fclose(file);
    char statement[200];
    snprintf(statement, sizeof statement, "LOAD DATA LOCAL INFILE '%s' INTO TABLE files FIELDS TERMINATED BY ','", name);
    begin("local files");
    print_query(client, statement);
    remove(name);
    print_query(client, "SELECT COUNT(*), MAX(id), MAX(text) FROM files");
    end();
    mysql_close(client);
}

int main(void)
{
    connects();
    connects_with_tls();
    migrations();
    types();
    prepared_statements();
    transactions();
    bulk_insert();
    errors();
    big_results();
    big_packets();
    several_results();
    local_files();
    mysql_library_end();
}
