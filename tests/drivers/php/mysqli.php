<?php
// mysqli with mysqlnd. What is printed and how it is told where to connect to: ../README.md
declare(strict_types=1);

require 'common.php';

mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);

function connect(?string $authority = null, ?string $password = null, ?string $schema = null): mysqli
{
    $db = mysqli_init();
    $db->options(MYSQLI_OPT_INT_AND_FLOAT_NATIVE, true);
    $db->options(MYSQLI_OPT_LOCAL_INFILE, true);
    $flags = 0;
    if ($authority !== null) {
        $db->options(MYSQLI_OPT_SSL_VERIFY_SERVER_CERT, true);
        $db->ssl_set(null, null, $authority, null, null);
        $flags = MYSQLI_CLIENT_SSL;
    }
    $db->real_connect(
        getenv('DB_HOST'), getenv('DB_USER'), $password ?? getenv('DB_PASSWORD'), $schema ?? getenv('DB_SCHEMA'),
        (int) getenv('DB_PORT'), null, $flags,
    );
    $db->set_charset('utf8mb4');
    return $db;
}

function failure(callable $action): array
{
    try {
        $action();
    } catch (mysqli_sql_exception $error) {
        return [$error->getCode(), $error->getSqlState(), $error->getMessage()];
    }
    throw new Exception('an error was expected');
}

function rows(mysqli $db, string $statement): array
{
    return $db->query($statement)->fetch_all();
}

function connects(): void
{
    $db = connect();
    check($db->thread_id === rows($db, 'SELECT CONNECTION_ID()')[0][0], $db->thread_id);
    report('connect', [rows($db, "SELECT 1, 'text'"), $db->server_info, $db->character_set_name()]);
    $db->change_user(getenv('DB_USER'), getenv('DB_PASSWORD'), getenv('DB_SCHEMA'));
    check(rows($db, 'SELECT DATABASE()') === [[getenv('DB_SCHEMA')]], 'the schema');
    $db->close();
}

function connects_with_tls(): void
{
    $db = connect(getenv('DB_CA'));
    report('connect with TLS', rows($db, "SELECT SHA2('" . str_repeat('x', 300_000) . "', 256)"));
}

function migrations(): void
{
    $db = connect();
    array_map($db->query(...), MIGRATIONS);
    report('migrations', [rows($db, 'SHOW COLUMNS FROM cats'), rows($db, 'SHOW CREATE TABLE cats')]);
}

function types(): void
{
    $db = connect();
    $db->query(TYPES);
    $marks = str_repeat(', ?', count(VALUES));
    $insert = $db->prepare("INSERT INTO types VALUES (1$marks)");
    $insert->execute(VALUES);
    $select = $db->prepare('SELECT * FROM types WHERE id > ?');
    $select->execute([0]);
    $seen = [];
    foreach ([$select->get_result(), $db->query('SELECT * FROM types')] as $result) {
        $row = $result->fetch_row();
        check([$row[1], $row[9], $row[10]] === [-128, VALUES[8], VALUES[9]], $row[9]);
        $row[10] = bin2hex($row[10]);
        $row[11] = hash('sha256', $row[11]);
        $columns = array_map(fn($field) => [
            $field->name, $field->orgname, $field->table, $field->orgtable, $field->db, $field->catalog, $field->length,
            $field->charsetnr, $field->flags, $field->type, $field->decimals,
        ], $result->fetch_fields());
        $seen[] = [$row, $columns];
    }
    report('types', $seen);
}

function prepared_statements(): void
{
    $db = connect();
    $db->query('CREATE TABLE prepared (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50), data LONGBLOB)');
    $insert = $db->prepare('INSERT INTO prepared (text, data) VALUES (?, ?)');
    $insert->bind_param('sb', $text, $data);
    for ($number = 1; $number <= 20; $number++) {
        $text = "text $number";
        $insert->send_long_data(1, 'first,');
        $insert->send_long_data(1, 'second');
        $insert->execute();
        check([$insert->insert_id, $insert->affected_rows] === [$number, 1], $insert->insert_id);
    }
    $select = $db->prepare('SELECT id, text, data FROM prepared WHERE id >= ? AND id < ? ORDER BY id');
    $seen = [];
    foreach ([[1, 3], [5, 5], [19, 100]] as $between) {
        $select->execute($between);
        $seen[] = $select->get_result()->fetch_all();
    }
    // Read with a cursor, a row at a time.
    $select->attr_set(MYSQLI_STMT_ATTR_CURSOR_TYPE, MYSQLI_CURSOR_TYPE_READ_ONLY);
    $select->execute([1, 100]);
    $select->bind_result($id, $text, $data);
    for ($number = 1; $select->fetch(); $number++) {
        check([$id, $text, $data] === [$number, "text $number", 'first,second'], $id);
    }
    check($number === 21, $number);
    $select->close();
    $seen[] = failure(fn() => $db->prepare('SELECT * FROM missing WHERE id = ?'));
    report('prepared statements', $seen);
}

function transactions(): void
{
    [$db, $other] = [connect(), connect()];
    $db->query('CREATE TABLE transactions (id INT PRIMARY KEY)');
    $seen = [];
    $look = function () use (&$seen, $db, $other): void {
        $seen[] = rows($db, 'SELECT id FROM transactions ORDER BY id');
        $seen[] = rows($other, '/* isthmus:writer */ SELECT id FROM transactions ORDER BY id');
    };
    $db->autocommit(false);
    $db->query('INSERT INTO transactions VALUES (1)');
    $look();
    $db->rollback();
    $db->autocommit(true);
    $look();
    $db->begin_transaction(MYSQLI_TRANS_START_WITH_CONSISTENT_SNAPSHOT);
    $db->query('INSERT INTO transactions VALUES (2)');
    $db->savepoint('here');
    $db->query('INSERT INTO transactions VALUES (3)');
    $db->query('ROLLBACK TO SAVEPOINT here');
    $db->release_savepoint('here');
    $db->commit();
    $look();
    check($seen === [[[1]], [], [], [], [[2]], [[2]]], $seen);
    $db->begin_transaction(MYSQLI_TRANS_START_READ_ONLY);
    $seen[] = failure(fn() => $db->query('INSERT INTO transactions VALUES (4)'));
    $db->rollback();
    report('transactions', $seen);
}

function bulk_insert(): void
{
    $db = connect();
    $db->query('CREATE TABLE bulk (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50), number INT)');
    $db->query('INSERT INTO bulk (text, number) VALUES ' . many());
    check($db->affected_rows === 5000, $db->affected_rows);
    report('bulk insert', [$db->insert_id, $db->info, rows($db, 'SELECT COUNT(*), SUM(number) FROM bulk')]);
}

function errors(): void
{
    [$db, $holder] = [connect(), connect()];
    array_map($db->query(...), BEFORE_ERRORS);
    $holder->begin_transaction();
    $holder->query('INSERT INTO errors VALUES (2)');
    $seen = array_map(fn($statement) => failure(fn() => $db->query($statement)), array_keys(ERRORS));
    $holder->rollback();
    foreach (array_values(ERRORS) as $place => $codes) {
        check(in_array($seen[$place][0], $codes), $seen[$place]);
    }
    $db->query("INSERT IGNORE INTO errors VALUES (1), ('x')");
    $seen[] = [$db->warning_count, $db->info, (array) $db->get_warnings(), rows($db, 'SHOW WARNINGS')];
    check(failure(fn() => connect(null, 'wrong'))[0] === 1045, 'a wrong password');
    check(failure(fn() => connect(null, null, 'missing_schema'))[0] === 1049, 'a wrong schema');
    report('errors', $seen);
}

function big_results(): void
{
    $db = connect();
    $count = $sum = $length = 0;
    foreach ($db->query(big(), MYSQLI_USE_RESULT) as $row) {
        [$number, $text] = array_values($row);
        $count++;
        $sum += $number;
        $length += strlen($text);
    }
    report('big results', [$count, $sum, $length]);
    check([$count, $sum] === [10_000, 49_995_000], $count);
}

function big_packets(): void
{
    $db = connect();
    $db->query('CREATE TABLE packets (id INT PRIMARY KEY, data LONGBLOB)');
    $data = str_repeat('some data', intdiv(17 * 1024 * 1024, 9));
    $db->execute_query('INSERT INTO packets VALUES (1, ?)', [$data]);
    $db->query("INSERT INTO packets VALUES (2, '$data')");
    $seen = [];
    foreach (rows($db, 'SELECT data FROM packets ORDER BY id') as [$back]) {
        check($back === $data, strlen($back));
        $seen[] = hash('sha256', $back);
    }
    report('big packets', $seen);
}

function several_results(): void
{
    $db = connect();
    $db->query('CREATE PROCEDURE several() BEGIN SELECT 4; SELECT 5, 6; END');
    $seen = [];
    foreach (['SELECT 1; SET @a = 2; SELECT @a, 3', 'CALL several()'] as $statement) {
        $db->multi_query($statement);
        do {
            $result = $db->store_result();
            $seen[] = $result ? $result->fetch_all() : $db->affected_rows;
        } while ($db->more_results() && $db->next_result());
    }
    $seen[] = failure(fn() => $db->query('SELECT 1; SELECT 2'));
    report('several results', $seen);
}

function local_files(): void
{
    $db = connect();
    $db->query('CREATE TABLE files (id INT PRIMARY KEY, text VARCHAR(50))');
    $file = lines();
    $db->query("LOAD DATA LOCAL INFILE '$file' INTO TABLE files FIELDS TERMINATED BY ','");
    unlink($file);
    check($db->affected_rows === 50_000, $db->affected_rows);
    report('local files', [$db->info, rows($db, 'SELECT COUNT(*), MAX(id), MAX(text) FROM files')]);
}

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
