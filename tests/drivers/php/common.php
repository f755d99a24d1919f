<?php
// What pdo.php and mysqli.php share.
declare(strict_types=1);

ini_set('memory_limit', '512M');

const MIGRATIONS = [
    'CREATE TABLE owners (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL UNIQUE)',
    'CREATE TABLE cats (id INT AUTO_INCREMENT PRIMARY KEY, owner INT NOT NULL, lives INT DEFAULT 9, '
        . 'FOREIGN KEY (owner) REFERENCES owners (id))',
    'ALTER TABLE cats ADD COLUMN name VARCHAR(50), ADD INDEX names (name)',
    'ALTER TABLE cats RENAME COLUMN lives TO lives_left',
];

const TYPES = "CREATE TABLE types (id INT PRIMARY KEY, small TINYINT, big BIGINT UNSIGNED, exact DECIMAL(30,10),
    approximate DOUBLE, day DATE, at DATETIME(6), took TIME(6), year YEAR, text VARCHAR(200), bytes VARBINARY(300),
    long_bytes LONGBLOB, choice ENUM('one', 'two'), choices SET('a', 'b'), document JSON, nothing INT)";

define('VALUES', [
    -128, '18446744073709551615', '-12345678901234567890.0123456789', -2.5e300, '1000-01-01',
    '9999-12-31 23:59:59.999999', '-800:00:01.000001', 2155, "naïve 海峡 🌉 'q' \"d\" \\ \n \0 :a",
    implode(array_map(chr(...), range(0, 255))), str_repeat("\x00\xff", 100_000), 'two', 'a,b', '{"a": [1, null]}', null,
]);

const BEFORE_ERRORS = [
    'CREATE TABLE errors (id INT PRIMARY KEY)',
    'CREATE TABLE parts (id INT NOT NULL, CONSTRAINT part FOREIGN KEY (id) REFERENCES errors (id))',
    'INSERT INTO errors VALUES (1)',
];

// Statements, and the codes of the errors that they end with; the last while another transaction has row 2.
const ERRORS = [
    'SELEKT 1' => [1064],
    'SELECT * FROM missing' => [1146],
    'INSERT INTO errors VALUES (1)' => [1062],
    'USE missing_schema' => [1049],
    "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'by hand'" => [1644],
    'INSERT INTO parts VALUES (3)' => [1452],
    'INSERT INTO parts VALUES (NULL)' => [1048],
    'SELECT * FROM errors WHERE id = 2 FOR UPDATE NOWAIT' => [3572, 1205],
];

function many(): string
{
    return implode(', ', array_map(fn($number) => "('text $number', $number)", range(0, 4999)));
}

function big(): string
{
    $numbers = '(SELECT 0 AS d UNION ALL SELECT ' . implode(' UNION ALL SELECT ', range(1, 9)) . ')';
    return "SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d, REPEAT('x', 3000)
        FROM $numbers a, $numbers b, $numbers c, $numbers e";
}

function lines(): string
{
    $file = tempnam(sys_get_temp_dir(), 'lines');
    file_put_contents($file, implode(array_map(fn($number) => "$number,text $number\n", range(0, 49_999))));
    return $file;
}

function report(string $check, mixed $saw): void
{
    echo json_encode(['check' => $check, 'saw' => $saw], JSON_UNESCAPED_UNICODE | JSON_THROW_ON_ERROR), "\n";
}

function check(bool $truth, mixed $what): void
{
    $truth || throw new Exception('not as it should be: ' . print_r($what, true));
}
