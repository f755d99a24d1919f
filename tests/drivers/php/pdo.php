<?php
// PDO with mysqlnd. What is printed and how it is told where to connect to: ../README.md
declare(strict_types=1);

require 'common.php';

function connect(array $options = [], ?string $password = null, ?string $schema = null): PDO
{
    $name = 'mysql:host=' . getenv('DB_HOST') . ';port=' . getenv('DB_PORT') . ';charset=utf8mb4;dbname='
        . ($schema ?? getenv('DB_SCHEMA'));
    return new PDO($name, getenv('DB_USER'), $password ?? getenv('DB_PASSWORD'), $options + [
        PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION, PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_NUM,
    ]);
}

function failure(callable $action): array
{
    try {
        $action();
    } catch (PDOException $error) {
        return [$error->errorInfo, $error->getMessage()];
    }
    throw new Exception('an error was expected');
}

function rows(PDO $db, string $statement): array
{
    return $db->query($statement)->fetchAll();
}

function connects(): void
{
    $db = connect();
    report('connect', [rows($db, "SELECT 1, 'text'"), $db->getAttribute(PDO::ATTR_SERVER_VERSION)]);
}

function connects_with_tls(): void
{
    $db = connect([PDO::MYSQL_ATTR_SSL_CA => getenv('DB_CA'), PDO::MYSQL_ATTR_SSL_VERIFY_SERVER_CERT => true]);
    report('connect with TLS', rows($db, "SELECT SHA2('" . str_repeat('x', 300_000) . "', 256)"));
}

function migrations(): void
{
    $db = connect();
    foreach (MIGRATIONS as $statement) {
        $db->exec($statement);
    }
    report('migrations', [rows($db, 'SHOW COLUMNS FROM cats'), rows($db, 'SHOW CREATE TABLE cats')]);
}

function types(): void
{
    $seen = [];
    foreach ([false, true] as $number => $emulated) {
        $db = connect([PDO::ATTR_EMULATE_PREPARES => $emulated]);
        if ($number === 0) {
            $db->exec(TYPES);
        }
        $marks = str_repeat(', ?', count(VALUES));
        $insert = $db->prepare("INSERT INTO types VALUES (?$marks)");
        $insert->execute([$number, ...VALUES]);
        $select = $db->prepare('SELECT * FROM types WHERE id >= ? ORDER BY id');
        $select->execute([0]);
        foreach ($select->fetchAll() as $row) {
            check($row[9] === VALUES[8] && $row[10] === VALUES[9] && $row[1] === -128, $row[9]);
            $row[10] = bin2hex($row[10]);
            $row[11] = hash('sha256', $row[11]);
            $seen[] = $row;
        }
        for ($column = 0; $column < $select->columnCount(); $column++) {
            $meta = $select->getColumnMeta($column);
            $seen[] = [$meta['name'], $meta['native_type'] ?? null, $meta['flags'], $meta['len'], $meta['precision']];
        }
    }
    report('types', $seen);
}

function prepared_statements(): void
{
    $db = connect([PDO::ATTR_EMULATE_PREPARES => false]);
    $db->exec('CREATE TABLE prepared (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50))');
    $insert = $db->prepare('INSERT INTO prepared (text) VALUES (:text)');
    for ($number = 1; $number <= 20; $number++) {
        $insert->execute(['text' => "text $number"]);
        check([$db->lastInsertId(), $insert->rowCount()] === ["$number", 1], $db->lastInsertId());
    }
    $select = $db->prepare('SELECT id, text FROM prepared WHERE id >= ? AND id < ? ORDER BY id');
    $seen = [];
    foreach ([[1, 3], [5, 5], [19, 100]] as $between) {
        $select->execute($between);
        $seen[] = $select->fetchAll();
    }
    $seen[] = failure(fn() => $db->prepare('SELECT * FROM missing WHERE id = ?'));
    report('prepared statements', $seen);
}

function transactions(): void
{
    [$db, $other] = [connect(), connect()];
    $db->exec('CREATE TABLE transactions (id INT PRIMARY KEY)');
    $seen = [];
    $look = function () use (&$seen, $db, $other): void {
        $seen[] = rows($db, 'SELECT id FROM transactions ORDER BY id');
        $seen[] = rows($other, '/* isthmus:writer */ SELECT id FROM transactions ORDER BY id');
    };
    $db->beginTransaction();
    $db->exec('INSERT INTO transactions VALUES (1)');
    check($db->inTransaction(), 'the transaction');
    $look();
    $db->rollBack();
    $look();
    $db->beginTransaction();
    $db->exec('INSERT INTO transactions VALUES (2)');
    $db->exec('SAVEPOINT here');
    $db->exec('INSERT INTO transactions VALUES (3)');
    $db->exec('ROLLBACK TO SAVEPOINT here');
    $db->commit();
    check(!$db->inTransaction(), 'no transaction');
    $look();
    check($seen === [[[1]], [], [], [], [[2]], [[2]]], $seen);
    report('transactions', $seen);
}

function bulk_insert(): void
{
    $db = connect();
    $db->exec('CREATE TABLE bulk (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50), number INT)');
    $inserted = $db->exec('INSERT INTO bulk (text, number) VALUES ' . many());
    report('bulk insert', [$inserted, $db->lastInsertId(), rows($db, 'SELECT COUNT(*), SUM(number) FROM bulk')]);
    check($inserted === 5000, $inserted);
}

function errors(): void
{
    [$db, $holder] = [connect(), connect()];
    array_map($db->exec(...), BEFORE_ERRORS);
    $holder->beginTransaction();
    $holder->exec('INSERT INTO errors VALUES (2)');
    $seen = array_map(fn($statement) => failure(fn() => $db->exec($statement)), array_keys(ERRORS));
    $holder->rollBack();
    foreach (array_values(ERRORS) as $place => $codes) {
        check(in_array($seen[$place][0][1], $codes), $seen[$place]);
    }
    check(failure(fn() => connect([], 'wrong'))[0][1] === 1045, 'a wrong password');
    check(failure(fn() => connect([], null, 'missing_schema'))[0][1] === 1049, 'a wrong schema');
    report('errors', $seen);
}

function big_results(): void
{
    $db = connect([PDO::MYSQL_ATTR_USE_BUFFERED_QUERY => false]);
    $count = $sum = $length = 0;
    foreach ($db->query(big()) as [$number, $text]) {
        $count++;
        $sum += $number;
        $length += strlen($text);
    }
    report('big results', [$count, $sum, $length]);
    check([$count, $sum] === [10_000, 49_995_000], $count);
}

function big_packets(): void
{
    $db = connect([PDO::ATTR_EMULATE_PREPARES => false]);
    $db->exec('CREATE TABLE packets (id INT PRIMARY KEY, data LONGBLOB)');
    $data = str_repeat('some data', intdiv(17 * 1024 * 1024, 9));
    $insert = $db->prepare('INSERT INTO packets VALUES (1, ?)');
    $insert->bindParam(1, $data, PDO::PARAM_LOB);
    $insert->execute();
    $db->exec("INSERT INTO packets VALUES (2, '$data')");
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
    $seen = [];
    $db->exec('CREATE PROCEDURE several() BEGIN SELECT 4; SELECT 5, 6; END');
    foreach (['SELECT 1; SET @a = 2; SELECT @a, 3', 'CALL several()'] as $statement) {
        $result = $db->query($statement);
        do {
            $seen[] = $result->columnCount() > 0 ? $result->fetchAll() : $result->rowCount();
        } while ($result->nextRowset());
    }
    report('several results', $seen);
}

function local_files(): void
{
    $db = connect([PDO::MYSQL_ATTR_LOCAL_INFILE => true]);
    $db->exec('CREATE TABLE files (id INT PRIMARY KEY, text VARCHAR(50))');
    $file = lines();
    $loaded = $db->exec("LOAD DATA LOCAL INFILE '$file' INTO TABLE files FIELDS TERMINATED BY ','");
    unlink($file);
    check($loaded === 50_000, $loaded);
    report('local files', rows($db, 'SELECT COUNT(*), MAX(id), MAX(text) FROM files'));
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
