# mysql2. What is printed and how it is told where to connect to: ../README.md

require 'bigdecimal'
require 'digest'
require 'json'
require 'mysql2'
require 'tempfile'

SCHEMA = ENV.fetch('DB_SCHEMA')

def connect(**options)
  Mysql2::Client.new(
    host: ENV.fetch('DB_HOST'), port: ENV.fetch('DB_PORT').to_i, username: ENV.fetch('DB_USER'),
    password: ENV.fetch('DB_PASSWORD'), database: SCHEMA, encoding: 'utf8mb4', **options
  )
end

def report(check, saw)
  puts JSON.generate(check:, saw:)
  $stdout.flush
end

def check(condition, what)
  raise "not as it should be: #{what.inspect}" unless condition
end

def error
  yield
  raise 'an error was expected'
rescue Mysql2::Error => error
  [error.error_number, error.sql_state, error.message]
end

def rows(client, statement)
  client.query(statement, as: :array).to_a
end

def connects
  client = connect
  check(client.thread_id == rows(client, 'SELECT CONNECTION_ID()')[0][0], client.thread_id)
  check(client.ping, 'ping')
  report('connect', [rows(client, "SELECT 1, 'text'"), client.server_info[:version]])
  client.close
end

def connects_with_tls
  client = connect(sslca: ENV.fetch('DB_CA'), sslverify: true)
  check(client.ssl_cipher, 'no TLS')
  report('connect with TLS', rows(client, "SELECT SHA2('#{'x' * 300_000}', 256)"))
  client.close
end

def migrations
  client = connect
  [
    'CREATE TABLE owners (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL UNIQUE)',
    'CREATE TABLE cats (id INT AUTO_INCREMENT PRIMARY KEY, owner INT NOT NULL, lives INT DEFAULT 9, ' \
      'FOREIGN KEY (owner) REFERENCES owners (id))',
    'ALTER TABLE cats ADD COLUMN name VARCHAR(50), ADD INDEX names (name)',
    'ALTER TABLE cats RENAME COLUMN lives TO lives_left'
  ].each { |statement| client.query(statement) }
  report('migrations', [rows(client, 'SHOW COLUMNS FROM cats'), rows(client, 'SHOW CREATE TABLE cats')])
  client.close
end

def types
  client = connect
  client.query(<<~SQL)
    CREATE TABLE types (
      id INT PRIMARY KEY, small TINYINT, big BIGINT UNSIGNED, exact DECIMAL(30,10), approximate DOUBLE, bits BIT(12),
      day DATE, took VARCHAR(30), year YEAR, text VARCHAR(200), bytes VARBINARY(300), long_bytes LONGBLOB,
      choice ENUM('one', 'two'), choices SET('a', 'b'), nothing INT, at DATETIME(6)
    )
  SQL
  values = [
    -128, 2**64 - 1, BigDecimal('-12345678901234567890.0123456789'), -2.5e300, "\x0a\xbc".b, Date.new(1999, 1, 1),
    '-800:00:01.000001', 2155, "naïve 海峡 🌉 'q' \"d\" \\ \n ?", (0..255).to_a.pack('C*'), "\x00\xff".b * 100_000,
    'two', 'a,b', nil, Time.local(2026, 11, 22, 10, 11, 12, 123_456)
  ]
  marks = (['?'] * (values.length + 1)).join(', ')
  client.prepare("INSERT INTO types VALUES (#{marks})").execute(1, *values)
  literals = values.map do |value|
    case value
    when nil then 'NULL'
    when BigDecimal then value.to_s('F')
    when Time then "'#{value.strftime('%F %T.%6N')}'"
    when Date then "'#{value}'"
    when String then value.encoding == Encoding::BINARY ? "x'#{value.unpack1('H*')}'" : "'#{client.escape(value)}'"
    else value.to_s
    end
  end
  client.query("INSERT INTO types VALUES (2, #{literals.join(', ')})")
  text = rows(client, 'SELECT * FROM types ORDER BY id')
  binary = client.prepare('SELECT * FROM types WHERE id > ? ORDER BY id').execute(0, as: :array).to_a
  seen = (text + binary).map do |row|
    row.drop(1).zip(values) { |got, put| check(got == put, [got, put]) }
    Digest::SHA256.hexdigest(row.drop(1).inspect)
  end
  check(seen.length == 4, seen)
  report('types', seen)
  client.close
end

def prepared_statements
  client = connect
  client.query('CREATE TABLE prepared (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50))')
  insert = client.prepare('INSERT INTO prepared (text) VALUES (?)')
  (1..20).each do |number|
    insert.execute("text #{number}")
    check([insert.last_id, insert.affected_rows] == [number, 1], insert.last_id)
  end
  select = client.prepare('SELECT id, text FROM prepared WHERE id >= ? AND id < ? ORDER BY id')
  seen = [[1, 3], [5, 5], [19, 100]].map { |range| select.execute(*range, as: :array).to_a }
  insert.close
  seen << select.execute(7, 8, as: :array).to_a
  select.close
  seen << error { client.prepare('SELECT * FROM missing WHERE id = ?') }
  report('prepared statements', seen)
  client.close
end

def bulk_insert
  client = connect
  client.query('CREATE TABLE bulk (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50), number INT)')
  many = (0...5000).map { |number| "('text #{number}', #{number})" }
  client.query("INSERT INTO bulk (text, number) VALUES #{many.join(', ')}")
  check([client.affected_rows, client.last_id] == [5000, 1], client.affected_rows)
  report('bulk insert', [client.query_info, rows(client, 'SELECT COUNT(*), CAST(SUM(number) AS CHAR) FROM bulk')])
  client.close
end

def transactions
  client = connect
  other = connect
  client.query('CREATE TABLE transactions (id INT PRIMARY KEY)')
  seen = []
  look = lambda do
    seen << rows(client, 'SELECT id FROM transactions ORDER BY id').flatten
    seen << rows(other, '/* isthmus:writer */ SELECT id FROM transactions ORDER BY id').flatten
  end
  client.query('BEGIN')
  client.query('INSERT INTO transactions VALUES (1)')
  look.call
  client.query('ROLLBACK')
  look.call
  client.query('BEGIN')
  client.query('INSERT INTO transactions VALUES (2)')
  client.query('SAVEPOINT active_record_1')
  client.query('INSERT INTO transactions VALUES (3)')
  client.query('ROLLBACK TO SAVEPOINT active_record_1')
  client.query('COMMIT')
  look.call
  check(seen == [[1], [], [], [], [2], [2]], seen)
  report('transactions', seen)
  [client, other].each(&:close)
end

def errors
  client = connect
  client.query('CREATE TABLE errors (id INT PRIMARY KEY)')
  client.query('CREATE TABLE parts (id INT NOT NULL, CONSTRAINT part FOREIGN KEY (id) REFERENCES errors (id))')
  client.query('INSERT INTO errors VALUES (1)')
  holder = connect
  holder.query('BEGIN')
  holder.query('INSERT INTO errors VALUES (2)')
  seen = [
    'SELEKT 1', 'SELECT * FROM missing', 'INSERT INTO errors VALUES (1)', 'USE missing_schema',
    "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'by hand'", 'SELECT 1; SELECT 2', 'INSERT INTO parts VALUES (3)',
    'INSERT INTO parts VALUES (NULL)', 'SELECT * FROM errors WHERE id = 2 FOR UPDATE NOWAIT'
  ].map { |statement| error { client.query(statement) } }
  holder.close
  check(seen.map(&:first).first(8) == [1064, 1146, 1062, 1049, 1644, 1064, 1452, 1048], seen)
  check(rows(client, 'SELECT id FROM errors') == [[1]], 'a row')
  check(error { connect(password: 'wrong') }.first == 1045, 'a wrong password')
  check(error { connect(database: 'missing_schema') }.first == 1049, 'a wrong schema')
  report('errors', seen)
  client.close
end

def big_results
  client = connect
  numbers = "(SELECT 0 AS d UNION ALL SELECT #{(1..9).to_a.join(' UNION ALL SELECT ')})"
  digits = (0..3).map { |place| "#{numbers} AS d#{place}" }.join(', ')
  statement = "SELECT d0.d + 10 * d1.d + 100 * d2.d + 1000 * d3.d, REPEAT('x', 3000) FROM #{digits}"
  count = sum = length = 0
  client.query(statement, stream: true, cache_rows: false, as: :array).each do |number, text|
    count += 1
    sum += number
    length += text.length
  end
  check([count, sum, length] == [10_000, 49_995_000, 30_000_000], [count, sum, length])
  report('big results', [count, sum, length])
  client.close
end

def big_packets
  client = connect
  client.query('CREATE TABLE packets (id INT PRIMARY KEY, data LONGBLOB)')
  data = 'some data' * (17 * 1024 * 1024 / 9)
  client.query("INSERT INTO packets VALUES (1, '#{data}')")
  client.prepare('INSERT INTO packets VALUES (2, ?)').execute(data)
  seen = [
    client.query('SELECT data FROM packets WHERE id = 1').first['data'],
    client.prepare('SELECT data FROM packets WHERE id = ?').execute(2).first['data']
  ].map do |back|
    check(back == data, back.length)
    Digest::SHA256.hexdigest(back)
  end
  report('big packets', seen)
  client.close
end

def several_results
  client = connect(flags: Mysql2::Client::MULTI_STATEMENTS)
  seen = []
  collect = lambda do |result|
    seen << result&.to_a
    seen << client.store_result&.to_a while client.next_result
  end
  collect.call(client.query('SELECT 1 AS a; SET @a = 2; SELECT @a AS a, 3 AS b'))
  client.query('CREATE PROCEDURE several() BEGIN SELECT 4 AS a; SELECT 5 AS a, 6 AS b; END')
  collect.call(client.query('CALL several()'))
  check(seen.compact.length == 4, seen)
  report('several results', seen)
  client.close
end

def local_files
  client = connect(local_infile: true)
  client.query('CREATE TABLE files (id INT PRIMARY KEY, text VARCHAR(50))')
  Tempfile.create('lines') do |file|
    50_000.times { |number| file.puts("#{number},text #{number}") }
    file.flush
    client.query("LOAD DATA LOCAL INFILE '#{file.path}' INTO TABLE files FIELDS TERMINATED BY ','")
    check(client.affected_rows == 50_000, client.affected_rows)
  end
  report('local files', rows(client, 'SELECT COUNT(*), MAX(id), MAX(text) FROM files'))
  client.close
end

connects
connects_with_tls
migrations
types
prepared_statements
transactions
bulk_insert
errors
big_results
big_packets
several_results
local_files
