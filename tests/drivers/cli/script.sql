-- For `mysql` and `mariadb`, run with --force: errors are printed, and the script goes on.
SELECT 1, 'text', NULL, 1.50, 2.5e3, DATE '2026-11-22', TIMESTAMP '2026-11-22 10:11:12.123456', x'00FF';

CREATE TABLE types (
    id INT PRIMARY KEY, small TINYINT, big BIGINT UNSIGNED, exact DECIMAL(30,10), approximate DOUBLE, bits BIT(12),
    day DATE, at DATETIME(6), took TIME(6), year YEAR, text VARCHAR(200), bytes VARBINARY(300), long_text LONGTEXT,
    choice ENUM('one', 'two'), choices SET('a', 'b'), document JSON, nothing INT
) CHARACTER SET utf8mb4;
INSERT INTO types VALUES (
    1, -128, 18446744073709551615, -12345678901234567890.0123456789, -2.5e300, b'101010111100', '1000-01-01',
    '9999-12-31 23:59:59.999999', '-800:00:01.000001', 2155, 'naïve 海峡 🌉 ''q'' "d" \\ \n', x'000102FDFEFF',
    REPEAT('long', 50000), 'two', 'a,b', '{"a": [1, null]}', NULL
);
SELECT * FROM types;
/* isthmus:writer */ SELECT * FROM types;

PREPARE statement FROM 'SELECT small + ?, text FROM types WHERE id = ?';
SET @one = 1;
EXECUTE statement USING @one, @one;
DEALLOCATE PREPARE statement;
EXECUTE statement USING @one, @one;

CREATE TABLE transactions (id INT PRIMARY KEY);
BEGIN;
INSERT INTO transactions VALUES (1);
SELECT id FROM transactions;
ROLLBACK;
SELECT COUNT(*) FROM transactions;
START TRANSACTION;
INSERT INTO transactions VALUES (2);
SAVEPOINT here;
INSERT INTO transactions VALUES (3);
ROLLBACK TO SAVEPOINT here;
COMMIT;
SELECT id FROM transactions;
SET autocommit = 0;
INSERT INTO transactions VALUES (4);
COMMIT;
SET autocommit = 1;
SELECT id FROM transactions ORDER BY id;

SELEKT 1;
SELECT * FROM missing;
SELECT missing FROM types;
INSERT INTO transactions VALUES (2);
USE missing_schema;
SELECT id FROM transactions ORDER BY id;
CALL missing();
SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'by hand';

SELECT CAST('12x' AS SIGNED);
SHOW WARNINGS;
INSERT IGNORE INTO transactions VALUES (2), (5);
SHOW COUNT(*) WARNINGS;
SELECT ROW_COUNT();
SELECT SQL_CALC_FOUND_ROWS id FROM transactions ORDER BY id LIMIT 1;
SELECT FOUND_ROWS();
CREATE TABLE numbered (id INT AUTO_INCREMENT PRIMARY KEY, a INT);
INSERT INTO numbered (a) VALUES (1), (2);
SELECT LAST_INSERT_ID();

DELIMITER $$
CREATE PROCEDURE several(OUT answer INT)
BEGIN
    SELECT 4 AS a;
    SELECT 5 AS a, 6 AS b;
    SET answer = 42;
END$$
DELIMITER ;
CALL several(@answer);
SELECT @answer;

CREATE TEMPORARY TABLE own (a INT);
INSERT INTO own VALUES (1);
SELECT a FROM own;
DROP TEMPORARY TABLE own;

CREATE TABLE files (id INT PRIMARY KEY, text VARCHAR(50));
LOAD DATA LOCAL INFILE 'lines.tsv' INTO TABLE files;
SELECT COUNT(*), MAX(id), MAX(text) FROM files;

CREATE TABLE packets (id INT PRIMARY KEY, data LONGTEXT);
INSERT INTO packets VALUES (1, REPEAT('some data', 2000000));
SELECT data FROM packets;
SELECT DATABASE();
