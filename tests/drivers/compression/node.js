// Node's mysql2 with compression.
const mysql = require('mysql2/promise');
const say = (what) => console.log(JSON.stringify(what));
(async () => {
  const db = await mysql.createConnection({
    host: process.env.DB_HOST, port: +process.env.DB_PORT, user: process.env.DB_USER,
    password: process.env.DB_PASSWORD, database: process.env.DB_SCHEMA,
    compress: true, multipleStatements: true,
    infileStreamFactory: () => require('fs').createReadStream('lines.tsv'),
  });
  await db.query('CREATE TABLE node_lines (id INT PRIMARY KEY, text VARCHAR(2000))');
  await db.query({ sql: "LOAD DATA LOCAL INFILE 'lines.tsv' INTO TABLE node_lines", infileStreamFactory: () => require('fs').createReadStream('lines.tsv') });
  const [rows] = await db.query('SELECT * FROM node_lines WHERE id < 9000 ORDER BY id');
  say([rows.length, rows[8999]]);
  for (const id of [1, 500, 49999]) {
    const [found] = await db.execute('SELECT id, text FROM node_lines WHERE id = ?', [id]);
    say(found);
  }
  const [several] = await db.query("SELECT 1 AS one; SELECT REPEAT('ab', 5000) AS two; SELECT 3 AS three");
  say(several);
  const big = 'x'.repeat(17 << 20);
  const [length] = await db.query('SELECT LENGTH(?) AS length', [big]);
  say(length);
  const [back] = await db.query("SELECT REPEAT('z', 17825792) AS z");
  say(back[0].z.length);
  try { await db.query('SELECT missing FROM node_lines'); } catch (error) { say([error.errno, error.message]); }
  await db.query('BEGIN');
  await db.query('INSERT INTO node_lines VALUES (-1, ?)', ['y'.repeat(2000)]);
  say((await db.query('SELECT COUNT(*) AS n FROM node_lines'))[0]);
  await db.query('ROLLBACK');
  await db.changeUser({ database: process.env.DB_SCHEMA });
  say((await db.query('SELECT MAX(id) AS max FROM node_lines'))[0]);
  await db.end();
})().catch((error) => { console.error(error); process.exit(1); });
