// go-sql-driver with database/sql. What is printed and how it is told where to connect to: ../README.md
package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func check(truth bool, what any) {
	if !truth {
		panic(fmt.Sprintf("not as it should be: %v", what))
	}
}

func report(name string, saw any) {
	fmt.Println(string(must(json.Marshal(map[string]any{"check": name, "saw": saw}))))
}

// open returns a pool; the options are those of the driver's DSN.
func open(options string) *sql.DB {
	return openAs(os.Getenv("DB_PASSWORD"), os.Getenv("DB_SCHEMA"), options)
}

func openAs(password, schema, options string) *sql.DB {
	address := os.Getenv("DB_HOST") + ":" + os.Getenv("DB_PORT")
	dsn := fmt.Sprintf("%s:%s@tcp(%s)/%s?%s", os.Getenv("DB_USER"), password, address, schema, options)
	return must(sql.Open("mysql", dsn))
}

// rows runs a query and returns all as text, NULL as nil.
func rows(db interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
}, query string, arguments ...any) [][]any {
	result := must(db.QueryContext(context.Background(), query, arguments...))
	defer result.Close()
	return read(result)
}

func read(result *sql.Rows) [][]any {
	all := [][]any{}
	for result.Next() {
		texts := make([]sql.NullString, len(must(result.Columns())))
		pointers := make([]any, len(texts))
		for place := range texts {
			pointers[place] = &texts[place]
		}
		must(0, result.Scan(pointers...))
		row := make([]any, len(texts))
		for place, text := range texts {
			if text.Valid {
				row[place] = text.String
			}
		}
		all = append(all, row)
	}
	must(0, result.Err())
	return all
}

func failure(err error) []any {
	var server *mysql.MySQLError
	check(errors.As(err, &server), err)
	return []any{server.Number, server.Message}
}

func connect() {
	db := open("")
	defer db.Close()
	must(0, db.Ping())
	report("connect", []any{rows(db, "SELECT 1, 'text', VERSION()"), rows(db, "SELECT ? + 1", 41)})
}

func connectWithTLS() {
	authorities := x509.NewCertPool()
	check(authorities.AppendCertsFromPEM(must(os.ReadFile(os.Getenv("DB_CA")))), "the authority")
	must(0, mysql.RegisterTLSConfig("lab", &tls.Config{RootCAs: authorities, ServerName: "127.0.0.1"}))
	db := open("tls=lab")
	defer db.Close()
	report("connect with TLS", rows(db, "SELECT SHA2(?, 256)", strings.Repeat("x", 300_000)))
}

func migrations() {
	db := open("multiStatements=true")
	defer db.Close()
	must(db.Exec(`CREATE TABLE owners (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL UNIQUE);
		CREATE TABLE cats (id INT AUTO_INCREMENT PRIMARY KEY, owner INT NOT NULL, lives INT DEFAULT 9,
			FOREIGN KEY (owner) REFERENCES owners (id));
		ALTER TABLE cats ADD COLUMN name VARCHAR(50), ADD INDEX names (name);
		ALTER TABLE cats RENAME COLUMN lives TO lives_left;`))
	must(db.Exec("CREATE VIEW cats_of_owners AS SELECT o.name owner, c.name FROM cats c JOIN owners o ON o.id = c.owner"))
	report("migrations", []any{rows(db, "SHOW TABLES"), rows(db, "SHOW COLUMNS FROM cats"), rows(db, "SHOW CREATE TABLE cats")})
}

func types() {
	db := open("parseTime=true")
	defer db.Close()
	must(db.Exec(`CREATE TABLE types (id INT PRIMARY KEY, small TINYINT, big BIGINT UNSIGNED, exact DECIMAL(30,10),
		approximate DOUBLE, bits BIT(12), day DATE, at DATETIME(6), took TIME(6), year YEAR, text VARCHAR(200),
		bytes VARBINARY(300), long_bytes LONGBLOB, choice ENUM('one', 'two'), document JSON, nothing INT)`))
	at := time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)
	every := make([]byte, 256)
	for value := range every {
		every[value] = byte(value)
	}
	values := []any{
		-128, "18446744073709551615", "-12345678901234567890.0123456789", -2.5e300, []byte{0x0a, 0xbc},
		time.Date(1000, 1, 1, 0, 0, 0, 0, time.UTC), at, "-800:00:01.000001", 2155, "naïve 海峡 🌉 'q' \\ \n \x00 ?",
		every, []byte(strings.Repeat("\x00\xff", 100_000)), "two", `{"a": [1, null]}`, nil,
	}
	marks := strings.Repeat(", ?", len(values))
	// Prepared on the server, and with the values in the text.
	must(db.Exec("INSERT INTO types VALUES (1"+marks+")", values...))
	inText := open("parseTime=true&interpolateParams=true")
	defer inText.Close()
	must(inText.Exec("INSERT INTO types VALUES (2"+marks+")", values...))
	saw := []any{}
	binary := rows(db, "/* isthmus:writer */ SELECT * FROM types WHERE id > ? ORDER BY id", 0)
	for _, row := range append(rows(db, "/* isthmus:writer */ SELECT * FROM types ORDER BY id"), binary...) {
		check(row[6] == "1000-01-01T00:00:00Z", row[6])
		check(row[10] == values[9] && row[11] == string(every), row[10])
		saw = append(saw, []any{row[:11], row[13:], fmt.Sprintf("%x", sha256.Sum256([]byte(row[12].(string))))})
	}
	check(len(saw) == 4, saw)
	columns := []any{}
	result := must(db.Query("SELECT * FROM types"))
	for _, column := range must(result.ColumnTypes()) {
		nullable, _ := column.Nullable()
		precision, scale, _ := column.DecimalSize()
		columns = append(columns, []any{column.Name(), column.DatabaseTypeName(), nullable, precision, scale})
	}
	result.Close()
	report("types", []any{saw, columns})
}

func preparedStatements() {
	db := open("")
	defer db.Close()
	must(db.Exec("CREATE TABLE prepared (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50))"))
	insert := must(db.Prepare("INSERT INTO prepared (text) VALUES (?)"))
	for number := int64(1); number <= 20; number++ {
		result := must(insert.Exec(fmt.Sprintf("text %d", number)))
		check(must(result.LastInsertId()) == number && must(result.RowsAffected()) == 1, number)
	}
	// One session alone: another one need not see at once what this one has written.
	session := must(db.Conn(context.Background()))
	defer session.Close()
	must(session.ExecContext(context.Background(), "UPDATE prepared SET text = 'first' WHERE id = ?", 1))
	choose := must(session.PrepareContext(context.Background(), "SELECT id, text FROM prepared WHERE id >= ? AND id < ? ORDER BY id"))
	saw := []any{}
	for _, between := range [][2]int{{1, 3}, {5, 5}, {19, 100}} {
		saw = append(saw, read(must(choose.Query(between[0], between[1]))))
	}
	must(0, choose.Close())
	must(0, insert.Close())
	_, err := db.Prepare("SELECT * FROM missing WHERE id = ?")
	report("prepared statements", append(saw, failure(err)))
}

func transactions() {
	db, other := open(""), open("interpolateParams=true")
	defer db.Close()
	defer other.Close()
	must(db.Exec("CREATE TABLE transactions (id INT PRIMARY KEY)"))
	saw := []any{}
	look := func(transaction *sql.Tx) {
		saw = append(saw, rows(transaction, "SELECT id FROM transactions ORDER BY id"))
		saw = append(saw, rows(other, "/* isthmus:writer */ SELECT id FROM transactions ORDER BY id"))
	}
	transaction := must(db.BeginTx(context.Background(), &sql.TxOptions{Isolation: sql.LevelReadCommitted}))
	must(transaction.Exec("INSERT INTO transactions VALUES (?)", 1))
	look(transaction)
	must(0, transaction.Rollback())
	transaction = must(db.Begin())
	must(transaction.Exec("INSERT INTO transactions VALUES (2)"))
	must(transaction.Exec("SAVEPOINT here"))
	must(transaction.Exec("INSERT INTO transactions VALUES (3)"))
	must(transaction.Exec("ROLLBACK TO SAVEPOINT here"))
	look(transaction)
	must(0, transaction.Commit())
	transaction = must(db.BeginTx(context.Background(), &sql.TxOptions{ReadOnly: true}))
	_, err := transaction.Exec("INSERT INTO transactions VALUES (4)")
	saw = append(saw, failure(err), rows(transaction, "/* isthmus:writer */ SELECT id FROM transactions"))
	must(0, transaction.Rollback())
	report("transactions", saw)
	check(fmt.Sprint(saw[:4]) == "[[[1]] [] [[2]] []]", saw)
}

func bulkInsert() {
	db := open("")
	defer db.Close()
	transaction := must(db.Begin())
	must(transaction.Exec("CREATE TABLE bulk (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50), number INT)"))
	arguments := []any{}
	for number := 0; number < 5_000; number++ {
		arguments = append(arguments, fmt.Sprintf("text %d", number), number)
	}
	many := "INSERT INTO bulk (text, number) VALUES (?, ?)" + strings.Repeat(", (?, ?)", 4_999)
	result := must(transaction.Exec(many, arguments...))
	counted := rows(transaction, "SELECT COUNT(*), SUM(number) FROM bulk")
	must(0, transaction.Commit())
	report("bulk insert", []any{must(result.RowsAffected()), must(result.LastInsertId()), counted})
}

func errorsOfAllKinds() {
	db, other := open(""), open("")
	defer db.Close()
	defer other.Close()
	must(db.Exec("CREATE TABLE errors (id INT PRIMARY KEY)"))
	must(db.Exec("CREATE TABLE parts (id INT NOT NULL, CONSTRAINT part FOREIGN KEY (id) REFERENCES errors (id))"))
	must(db.Exec("INSERT INTO errors VALUES (1)"))
	holder := must(other.Begin())
	must(holder.Exec("INSERT INTO errors VALUES (2)"))
	saw := []any{}
	for _, statement := range []string{
		"SELEKT 1", "SELECT * FROM missing", "INSERT INTO errors VALUES (1)", "USE missing_schema",
		"SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'by hand'", "SELECT 1; SELECT 2", "INSERT INTO parts VALUES (3)",
		"INSERT INTO parts VALUES (NULL)", "SELECT * FROM errors WHERE id = 2 FOR UPDATE NOWAIT",
	} {
		_, err := db.Exec(statement)
		saw = append(saw, failure(err))
	}
	must(0, holder.Rollback())
	saw = append(saw, deadlock(db))
	check(failure(openAs("wrong", os.Getenv("DB_SCHEMA"), "").Ping())[0] == uint16(1045), "a wrong password")
	check(failure(openAs(os.Getenv("DB_PASSWORD"), "missing_schema", "").Ping())[0] == uint16(1049), "a wrong schema")
	_, err := db.ExecContext(must2(context.WithTimeout(context.Background(), 100*time.Millisecond)), "SELECT SLEEP(60)")
	check(errors.Is(err, context.DeadlineExceeded), err)
	report("errors", saw)
}

func must2(context context.Context, _ context.CancelFunc) context.Context {
	return context
}

// deadlock returns what each of two transactions gets that wait for each other.
func deadlock(db *sql.DB) []string {
	must(db.Exec("CREATE TABLE deadlock (id INT PRIMARY KEY, n INT)"))
	must(db.Exec("INSERT INTO deadlock VALUES (1, 0), (2, 0)"))
	const update = "UPDATE deadlock SET n = n + 1 WHERE id = ?"
	both := [2]*sql.Tx{must(db.Begin()), must(db.Begin())}
	must(both[0].Exec(update, 1))
	must(both[1].Exec(update, 2))
	outcome := make([]string, 2)
	var done sync.WaitGroup
	for place, row := range []int{2, 1} {
		done.Add(1)
		go func(place, row int) {
			defer done.Done()
			_, err := both[place].Exec(update, row)
			outcome[place] = fmt.Sprint(err)
			must(0, both[place].Rollback())
		}(place, row)
	}
	done.Wait()
	sort.Strings(outcome)
	check(strings.Contains(outcome[1], "1213") != strings.Contains(outcome[0], "1213"), outcome)
	return outcome
}

func bigResults() {
	db := open("")
	defer db.Close()
	numbers := "(SELECT 0 d UNION ALL SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5" +
		" UNION ALL SELECT 6 UNION ALL SELECT 7 UNION ALL SELECT 8 UNION ALL SELECT 9)"
	query := "SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d, REPEAT('x', 3000) FROM " +
		numbers + " a, " + numbers + " b, " + numbers + " c, " + numbers + " e"
	result := must(db.Query(query))
	count, sum, length := 0, 0, 0
	for result.Next() {
		var number int
		var text sql.RawBytes
		must(0, result.Scan(&number, &text))
		count, sum, length = count+1, sum+number, length+len(text)
	}
	must(0, result.Err())
	// Another is given up in the middle.
	given := must(db.Query(query))
	check(given.Next(), "a row")
	must(0, given.Close())
	report("big results", []int{count, sum, length})
	check(count == 10_000 && sum == 49_995_000, count)
}

func bigPackets() {
	db := open("maxAllowedPacket=0")
	defer db.Close()
	session := must(db.Conn(context.Background()))
	defer session.Close()
	must(session.ExecContext(context.Background(), "CREATE TABLE packets (id INT PRIMARY KEY, data LONGBLOB)"))
	data := strings.Repeat("some data", 17*1024*1024/9)
	must(session.ExecContext(context.Background(), "INSERT INTO packets VALUES (1, ?)", data))
	must(session.ExecContext(context.Background(), "INSERT INTO packets VALUES (2, '"+data+"')"))
	saw := []string{}
	for _, row := range rows(session, "SELECT data FROM packets WHERE id > ?", 0) {
		check(row[0] == data, "the data")
		saw = append(saw, fmt.Sprintf("%x", sha256.Sum256([]byte(row[0].(string)))))
	}
	report("big packets", saw)
}

func severalResults() {
	db := open("multiStatements=true")
	defer db.Close()
	saw := []any{}
	collect := func(query string) {
		result := must(db.Query(query))
		defer result.Close()
		saw = append(saw, read(result))
		for result.NextResultSet() {
			saw = append(saw, read(result))
		}
		must(0, result.Err())
	}
	collect("SELECT 1; SET @a = 2; SELECT @a, 3")
	must(db.Exec("CREATE PROCEDURE several() BEGIN SELECT 4; SELECT 5, 6; END"))
	collect("CALL several()")
	report("several results", saw)
}

func localFiles() {
	db := open("")
	defer db.Close()
	session := must(db.Conn(context.Background()))
	defer session.Close()
	must(session.ExecContext(context.Background(), "CREATE TABLE files (id INT PRIMARY KEY, text VARCHAR(50))"))
	mysql.RegisterReaderHandler("lines", func() io.Reader {
		lines := &strings.Builder{}
		for number := 0; number < 50_000; number++ {
			fmt.Fprintf(lines, "%d,text %d\n", number, number)
		}
		return strings.NewReader(lines.String())
	})
	result := must(session.ExecContext(context.Background(),
		"LOAD DATA LOCAL INFILE 'Reader::lines' INTO TABLE files FIELDS TERMINATED BY ','"))
	check(must(result.RowsAffected()) == 50_000, "the rows")
	report("local files", rows(session, "SELECT COUNT(*), MAX(id), MAX(text) FROM files"))
}

func main() {
	for _, run := range []func(){
		connect, connectWithTLS, migrations, types, preparedStatements, transactions, bulkInsert, errorsOfAllKinds,
		bigResults, bigPackets, severalResults, localFiles,
	} {
		run()
	}
}
