-- For the command-line clients, with --force.
CREATE TABLE texts (id INT PRIMARY KEY, text VARCHAR(2000));
LOAD DATA LOCAL INFILE 'lines.tsv' INTO TABLE texts;
SELECT COUNT(*), SUM(id), MAX(text) FROM texts;
SELECT * FROM texts WHERE id < 9000 ORDER BY id;
SELECT REPEAT('x', 20), 1;
SELECT missing FROM texts;
INSERT INTO texts VALUES (1, 'twice');
PREPARE statement FROM 'SELECT id, text FROM texts WHERE id BETWEEN ? AND ? ORDER BY id';
SET @low = 10, @high = 90;
EXECUTE statement USING @low, @high;
DEALLOCATE PREPARE statement;
DELIMITER //
CREATE PROCEDURE results() BEGIN SELECT 1; SELECT id, REPEAT(text, 50) FROM texts WHERE id < 50 ORDER BY id; SELECT 3; END//
CALL results()//
SELECT 1; SELECT id FROM texts WHERE id < 300 ORDER BY id; SELECT missing; SELECT 4//
DELIMITER ;
SELECT CAST('12x' AS SIGNED);
SHOW WARNINGS;
BEGIN;
UPDATE texts SET text = REPEAT('y', 2000) WHERE id < 100;
SELECT SHA2(GROUP_CONCAT(text), 256) FROM texts WHERE id < 3;
ROLLBACK;
SELECT text FROM texts WHERE id = 5;
SELECT REPEAT('z', 17825792);
