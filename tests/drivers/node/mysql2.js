// mysql2. What is printed and how it is told where to connect to: ../README.md
'use strict';

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const fs = require('node:fs');
const mysql = require('mysql2/promise');

const { env } = process;

function connect(options = {}) {
  return mysql.createConnection({
    host: env.DB_HOST,
    port: Number(env.DB_PORT),
    user: env.DB_USER,
    password: env.DB_PASSWORD,
    database: env.DB_SCHEMA,
    supportBigNumbers: true,
    dateStrings: true,
    ...options,
  });
}

async function failure(action) {
  try {
    await action();
  } catch (error) {
    return [error.code, error.errno, error.sqlState, error.sqlMessage];
  }
  throw new Error('an error was expected');
}

function report(check, saw) {
  console.log(JSON.stringify({ check, saw }));
}

const rows = async (connection, statement, values) => (await connection.query(statement, values))[0];
const sha256 = (data) => crypto.createHash('sha256').update(data).digest('hex');

const checks = {
  async connect() {
    const connection = await connect({ connectAttributes: { program_name: 'driver', note: 'n'.repeat(2000) } });
    const [[{ id }]] = await connection.query('SELECT CONNECTION_ID() AS id');
    assert.equal(connection.threadId, id);
    await connection.ping();
    report('connect', await rows(connection, "SELECT 1, 'text'"));
    await connection.end();
  },

  async connectWithTls() {
    const ca = fs.readFileSync(env.DB_CA);
    const connection = await connect({ ssl: { ca, rejectUnauthorized: true } });
    assert.equal(connection.connection.stream.encrypted, true);
    report('connect with TLS', await rows(connection, 'SELECT SHA2(?, 256) AS sum', ['x'.repeat(300000)]));
    await connection.end();
  },

  async migrations() {
    const connection = await connect();
    for (const statement of [
      'CREATE TABLE owners (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL UNIQUE)',
      `CREATE TABLE cats (id INT AUTO_INCREMENT PRIMARY KEY, owner INT NOT NULL, lives INT DEFAULT 9,
        FOREIGN KEY (owner) REFERENCES owners (id))`,
      'ALTER TABLE cats ADD COLUMN name VARCHAR(50), ADD INDEX names (name)',
      'ALTER TABLE cats RENAME COLUMN lives TO lives_left',
    ]) await connection.execute(statement);
    const seen = [await rows(connection, 'SHOW COLUMNS FROM cats'), await rows(connection, 'SHOW CREATE TABLE cats')];
    report('migrations', seen);
    await connection.end();
  },

  async types() {
    const connection = await connect();
    await connection.query(`CREATE TABLE types (
      id INT PRIMARY KEY, small TINYINT, big BIGINT UNSIGNED, exact DECIMAL(30,10), approximate DOUBLE, bits BIT(12),
      day DATE, at DATETIME(6), took TIME, year YEAR, text VARCHAR(200), bytes VARBINARY(300), long_bytes LONGBLOB,
      choice ENUM('one', 'two'), choices SET('a', 'b'), document JSON, nothing INT
    )`);
    const values = [
      -128, '18446744073709551615', '-12345678901234567890.0123456789', -2.5e300, Buffer.from([0x0a, 0xbc]),
      '1000-01-01', '9999-12-31 23:59:59.999999', '-800:00:01', 2155, 'naïve 海峡 🌉 \'q\' "d" \\ \n \0 ?',
      Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)), Buffer.alloc(200000, 7), 'two', 'a,b',
      '{"a": [1, null]}', null,
    ];
    const marks = new Array(values.length + 1).fill('?').join(', ');
    await connection.query(`INSERT INTO types VALUES (${marks})`, [1, ...values]);
    await connection.execute(`INSERT INTO types VALUES (${marks})`, [2, ...values]);
    const seen = [];
    for (const [results] of [
      await connection.query('SELECT * FROM types ORDER BY id'),
      await connection.execute('SELECT * FROM types ORDER BY id'),
    ]) {
      for (const { id, document, ...row } of results) {
        const parsed = typeof document === 'string' ? JSON.parse(document) : document;
        assert.deepEqual(parsed, { a: [1, null] });
        assert.deepEqual(Object.values(row), [...values.slice(0, 14), ...values.slice(15)]);
        seen.push(sha256(JSON.stringify(row)));
      }
    }
    assert.equal(seen.length, 4);
    report('types', seen);
    await connection.end();
  },

  async preparedStatements() {
    const connection = await connect();
    await connection.query('CREATE TABLE prepared (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50))');
    for (let number = 1; number <= 20; number += 1) {
      const [{ insertId, affectedRows }] =
        await connection.execute('INSERT INTO prepared (text) VALUES (?)', [`text ${number}`]);
      assert.deepEqual([insertId, affectedRows], [number, 1]);
    }
    const statement = await connection.prepare('SELECT text FROM prepared WHERE id >= ? AND id < ? ORDER BY id');
    const seen = [];
    for (const range of [[1, 3], [5, 5], [19, 100]]) seen.push((await statement.execute(range))[0]);
    await statement.close();
    seen.push(await failure(() => connection.execute('SELECT * FROM missing WHERE id = ?', [1])));
    report('prepared statements', seen);
    await connection.end();
  },

  async bulkInsert() {
    const connection = await connect();
    await connection.query('CREATE TABLE bulk (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50), number INT)');
    const many = Array.from({ length: 5000 }, (_, number) => [`text ${number}`, number]);
    const [{ affectedRows, insertId, info }] = await connection.query('INSERT INTO bulk (text, number) VALUES ?', [many]);
    assert.equal(affectedRows, 5000);
    report('bulk insert', [insertId, info, await rows(connection, 'SELECT COUNT(*), SUM(number) FROM bulk')]);
    await connection.end();
  },

  async transactions() {
    const [connection, other] = [await connect(), await connect()];
    await connection.query('CREATE TABLE transactions (id INT PRIMARY KEY)');
    const seen = [];
    const look = async () => {
      seen.push(await rows(connection, 'SELECT id FROM transactions ORDER BY id'));
      seen.push(await rows(other, '/* isthmus:writer */ SELECT id FROM transactions ORDER BY id'));
    };
    await connection.beginTransaction();
    await connection.execute('INSERT INTO transactions VALUES (?)', [1]);
    await look();
    await connection.rollback();
    await look();
    await connection.beginTransaction();
    await connection.query('INSERT INTO transactions VALUES (2)');
    await connection.query('SAVEPOINT here');
    await connection.query('INSERT INTO transactions VALUES (3)');
    await connection.query('ROLLBACK TO SAVEPOINT here');
    await connection.commit();
    await look();
    assert.deepEqual(seen.map((ids) => ids.map(({ id }) => id)), [[1], [], [], [], [2], [2]]);
    report('transactions', seen);
    await Promise.all([connection.end(), other.end()]);
  },

  async errors() {
    const connection = await connect();
    await connection.query('CREATE TABLE errors (id INT PRIMARY KEY)');
    await connection.query(
      'CREATE TABLE parts (id INT NOT NULL, CONSTRAINT part FOREIGN KEY (id) REFERENCES errors (id))');
    await connection.query('INSERT INTO errors VALUES (1)');
    const holder = await connect();
    await holder.beginTransaction();
    await holder.query('INSERT INTO errors VALUES (2)');
    const seen = [];
    for (const statement of ['SELEKT 1', 'SELECT * FROM missing', 'INSERT INTO errors VALUES (1)', 'USE missing_schema',
      "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'by hand'", 'SELECT 1; SELECT 2', 'INSERT INTO parts VALUES (3)',
      'INSERT INTO parts VALUES (NULL)', 'SELECT * FROM errors WHERE id = 2 FOR UPDATE NOWAIT']) {
      seen.push(await failure(() => connection.query(statement)));
    }
    await holder.rollback();
    await holder.end();
    assert.deepEqual(seen.map(([, errno]) => errno).slice(0, 8), [1064, 1146, 1062, 1049, 1644, 1064, 1452, 1048]);
    assert.equal((await rows(connection, 'SELECT id FROM errors')).length, 1);
    assert.equal((await failure(() => connect({ password: 'wrong' })))[1], 1045);
    assert.equal((await failure(() => connect({ database: 'missing_schema' })))[1], 1049);
    report('errors', seen);
    await connection.end();
  },

  async bigResults() {
    const connection = await connect();
    const numbers = `(SELECT 0 AS d UNION ALL SELECT ${[1, 2, 3, 4, 5, 6, 7, 8, 9].join(' UNION ALL SELECT ')})`;
    const statement = `SELECT d0.d + 10 * d1.d + 100 * d2.d + 1000 * d3.d AS number, REPEAT('x', 3000) AS text
      FROM ${[0, 1, 2, 3].map((place) => `${numbers} AS d${place}`).join(', ')}`;
    let [count, sum, length] = [0, 0, 0];
    for await (const row of connection.connection.query(statement).stream()) {
      count += 1;
      sum += row.number;
      length += row.text.length;
    }
    assert.deepEqual([count, sum, length], [10000, 49995000, 30000000]);
    report('big results', [count, sum, length]);
    await connection.end();
  },

  async bigPackets() {
    const connection = await connect();
    await connection.query('CREATE TABLE packets (id INT PRIMARY KEY, data LONGBLOB)');
    const data = Buffer.alloc(17 * 1024 * 1024, 'some data');
    await connection.execute('INSERT INTO packets VALUES (1, ?)', [data]);
    await connection.query('INSERT INTO packets VALUES (2, ?)', [data]);
    const seen = [];
    for (const [[row]] of [
      await connection.query('SELECT data FROM packets WHERE id = 1'),
      await connection.execute('SELECT data FROM packets WHERE id = ?', [2]),
    ]) {
      assert.ok(data.equals(row.data));
      seen.push(sha256(row.data));
    }
    report('big packets', seen);
    await connection.end();
  },

  async severalResults() {
    const connection = await connect({ multipleStatements: true });
    const [results] = await connection.query('SELECT 1 AS a; SET @a = 2; SELECT @a AS a, 3 AS b');
    assert.equal(results.length, 3);
    await connection.query('CREATE PROCEDURE several() BEGIN SELECT 4 AS a; SELECT 5 AS a, 6 AS b; END');
    const [called] = await connection.query('CALL several()');
    const [executed] = await connection.execute('CALL several()');
    report('several results', [results[0], results[2], called.slice(0, 2), executed.slice(0, 2)]);
    await connection.changeUser({ database: env.DB_SCHEMA });
    const [[{ schema }]] = await connection.query('SELECT DATABASE() AS `schema`');
    assert.equal(schema, env.DB_SCHEMA);
    await connection.end();
  },

  async localFiles() {
    const connection = await connect();
    await connection.query('CREATE TABLE files (id INT PRIMARY KEY, text VARCHAR(50))');
    const { Readable } = require('node:stream');
    const lines = Array.from({ length: 50000 }, (_, number) => `${number},text ${number}\n`).join('');
    const [{ affectedRows }] = await connection.query({
      sql: "LOAD DATA LOCAL INFILE 'stream' INTO TABLE files FIELDS TERMINATED BY ','",
      infileStreamFactory: () => Readable.from([Buffer.from(lines)]),
    });
    assert.equal(affectedRows, 50000);
    report('local files', await rows(connection, 'SELECT COUNT(*) AS count, MAX(id) AS id FROM files'));
    await connection.end();
  },
};

(async () => {
  for (const check of Object.values(checks)) await check();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
