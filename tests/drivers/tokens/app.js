// An album on Node, over mysql2: serves HTTP and prints its port. See ../README.md
'use strict';

const crypto = require('node:crypto');
const http = require('node:http');
const mysql = require('mysql2/promise');
const readYourWrites = require('./read_your_writes.js');

const { env } = process;
const KEY = 'the same in both regions';

const pool = mysql.createPool({
  host: env.DB_HOST,
  port: Number(env.DB_PORT),
  user: env.DB_USER,
  password: env.DB_PASSWORD,
  database: env.DB_SCHEMA,
});

const mac = (text) => crypto.createHmac('sha256', KEY).update(text).digest('base64url');
const sign = (text) => `${text}~${mac(text)}`;
const verify = (signed) => {
  const at = signed.lastIndexOf('~');
  const text = signed.slice(0, at);
  return signed === sign(text) && text;
};
const middleware = readYourWrites(pool, { sign, verify });

async function photos(request, response) {
  const url = new URL(request.url, 'http://localhost');
  if (request.method === 'POST') {
    await request.db('INSERT INTO photos (title) VALUES (?)', [url.searchParams.get('title')]);
    response.end('added');
  } else {
    const [rows] = await request.db('SELECT COUNT(*) AS photos FROM photos');
    response.end(String(rows[0].photos));
  }
}

const server = http.createServer((request, response) => {
  middleware(request, response, () => photos(request, response)).catch((error) => {
    response.statusCode = 500;
    response.end(String(error));
  });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
