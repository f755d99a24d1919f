<?php
// PHP's mysqli, with mysqlnd's own implementation of compression.
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
$db = mysqli_init();
$db->options(MYSQLI_OPT_LOCAL_INFILE, 1);
$user = getenv('DB_USER');
$password = getenv('DB_PASSWORD');
$schema = getenv('DB_SCHEMA');
$db->real_connect(getenv('DB_HOST'), $user, $password, $schema, (int) getenv('DB_PORT'), null, MYSQLI_CLIENT_COMPRESS);
$db->query('CREATE TABLE php_lines (id INT PRIMARY KEY, text VARCHAR(2000))');
$db->query("LOAD DATA LOCAL INFILE 'lines.tsv' INTO TABLE php_lines");
$rows = $db->query('SELECT * FROM php_lines WHERE id < 9000 ORDER BY id')->fetch_all();
echo json_encode([count($rows), $rows[8999]]), "\n";
$statement = $db->prepare('SELECT id, text FROM php_lines WHERE id = ?');
foreach ([1, 500, 49999] as $id) {
    $statement->bind_param('i', $id);
    $statement->execute();
    echo json_encode($statement->get_result()->fetch_all()), "\n";
}
$statement->close();
$db->multi_query("SELECT 1; SELECT REPEAT('ab', 5000); SELECT 3");
do {
    echo json_encode($db->store_result()->fetch_all()), "\n";
} while ($db->next_result());
$big = str_repeat('x', 17 << 20);
echo json_encode($db->query("SELECT LENGTH('$big')")->fetch_all()), "\n";
echo strlen($db->query("SELECT REPEAT('z', 17825792)")->fetch_row()[0]), "\n";
try {
    $db->query('SELECT missing FROM php_lines');
} catch (mysqli_sql_exception $error) {
    echo json_encode([$error->getCode(), $error->getMessage()]), "\n";
}
$db->begin_transaction();
$db->query("UPDATE php_lines SET text = REPEAT('y', 2000) WHERE id < 100");
echo json_encode([$db->affected_rows, $db->info]), "\n";
$db->rollback();
$db->change_user($user, $password, $schema);
echo json_encode($db->query('SELECT MAX(id) FROM php_lines')->fetch_all()), "\n";
