// MariaDB Connector/J. What is printed and how it is told where to connect to: ../README.md

import java.io.ByteArrayInputStream;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Types;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

public class Driver {
    interface Action {
        void run() throws Exception;
    }

    static Connection connect(String... options) throws SQLException {
        return connectAs(System.getenv("DB_PASSWORD"), System.getenv("DB_SCHEMA"), options);
    }

    static Connection connectAs(String password, String schema, String... options) throws SQLException {
        String url = "jdbc:mariadb://" + System.getenv("DB_HOST") + ":" + System.getenv("DB_PORT") + "/" + schema
                + "?allowPublicKeyRetrieval=true&" + String.join("&", options);
        return DriverManager.getConnection(url, System.getenv("DB_USER"), password);
    }

    static void report(String check, Object saw) {
        System.out.println("{\"check\":\"" + check + "\",\"saw\":" + json(saw) + "}");
    }

    static String json(Object value) {
        if (value == null || value instanceof Number || value instanceof Boolean) return String.valueOf(value);
        if (value instanceof List<?> list) return list.stream().map(Driver::json).collect(Collectors.joining(",", "[", "]"));
        if (value instanceof byte[] bytes) return json(HexFormat.of().formatHex(bytes));
        StringBuilder text = new StringBuilder("\"");
        value.toString().chars().forEach(c -> text.append(
                c < ' ' || c > '~' || c == '"' || c == '\\' ? String.format("\\u%04x", c) : String.valueOf((char) c)));
        return text.append('"').toString();
    }

    static void check(boolean truth, Object what) {
        if (!truth) throw new IllegalStateException("not as it should be: " + what);
    }

    static List<Object> failure(Action action) throws Exception {
        try {
            action.run();
        } catch (SQLException error) {
            // The driver puts the number of its connection in front.
            String message = error.getMessage().replaceAll("\\(conn=\\d+\\) ", "");
            return Arrays.asList(error.getClass().getName(), error.getErrorCode(), error.getSQLState(), message);
        }
        throw new IllegalStateException("an error was expected");
    }

    static List<Object> read(ResultSet result) throws SQLException {
        List<Object> rows = new ArrayList<>();
        while (result.next()) {
            List<Object> row = new ArrayList<>();
            for (int column = 1; column <= result.getMetaData().getColumnCount(); column++) row.add(result.getObject(column));
            rows.add(row);
        }
        result.close();
        return rows;
    }

    static List<Object> rows(Connection connection, String query) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            return read(statement.executeQuery(query));
        }
    }

    static int run(Connection connection, String... statements) throws SQLException {
        int changed = 0;
        try (Statement statement = connection.createStatement()) {
            for (String text : statements) changed = statement.executeUpdate(text);
        }
        return changed;
    }

    static void connects() throws Exception {
        try (Connection connection = connect()) {
            check(connection.isValid(5), "the connection");
            DatabaseMetaData about = connection.getMetaData();
            report("connect", List.of(rows(connection, "SELECT 1, 'text'"), about.getDatabaseProductVersion(),
                    connection.getTransactionIsolation(), connection.getCatalog()));
        }
    }

    static void connectsWithTls() throws Exception {
        try (Connection connection = connect("useSsl=true", "serverSslCert=" + System.getenv("DB_CA"))) {
            report("connect with TLS", rows(connection, "SELECT SHA2('" + "x".repeat(300_000) + "', 256)"));
        }
    }

    static void migrations() throws Exception {
        try (Connection connection = connect()) {
            run(connection,
                    "CREATE TABLE owners (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL UNIQUE)",
                    "CREATE TABLE cats (id INT AUTO_INCREMENT PRIMARY KEY, owner INT NOT NULL, lives INT DEFAULT 9,"
                            + " FOREIGN KEY (owner) REFERENCES owners (id))",
                    "ALTER TABLE cats ADD COLUMN name VARCHAR(50), ADD INDEX names (name)",
                    "ALTER TABLE cats RENAME COLUMN lives TO lives_left");
            DatabaseMetaData about = connection.getMetaData();
            String schema = System.getenv("DB_SCHEMA");
            report("migrations", List.of(read(about.getColumns(schema, null, "cats", null)),
                    read(about.getImportedKeys(schema, null, "cats")), read(about.getPrimaryKeys(schema, null, "cats")),
                    rows(connection, "SHOW CREATE TABLE cats")));
        }
    }

    static void types() throws Exception {
        byte[] every = new byte[256];
        for (int value = 0; value < every.length; value++) every[value] = (byte) value;
        List<Object> values = Arrays.asList(
                -128, new BigInteger("18446744073709551615"), new BigDecimal("-12345678901234567890.0123456789"), -2.5e300,
                // A prepared java.sql.Date of this driver is nothing that MySQL 9.7 would read.
                "1000-01-01", java.sql.Timestamp.valueOf("9999-12-31 23:59:59.999999"),
                "-800:00:01.000001", 2155, "naïve 海峡 🌉 'q' \"d\" \\ \n ?", every, "two", "a,b", "{\"a\": [1, null]}", null);
        String insert = "INSERT INTO types VALUES (?" + ", ?".repeat(values.size()) + ")";
        List<Object> saw = new ArrayList<>();
        for (int prepared = 0; prepared < 2; prepared++) {
            try (Connection connection = connect("useServerPrepStmts=" + (prepared == 1))) {
                if (prepared == 0) {
                    run(connection, "CREATE TABLE types (id INT PRIMARY KEY, small TINYINT, big BIGINT UNSIGNED,"
                            + " exact DECIMAL(30,10), approximate DOUBLE, day DATE, at DATETIME(6), took TIME(6), year YEAR,"
                            + " text VARCHAR(200), bytes VARBINARY(300), choice ENUM('one', 'two'), choices SET('a', 'b'),"
                            + " document JSON, nothing INT)");
                }
                try (PreparedStatement statement = connection.prepareStatement(insert)) {
                    statement.setInt(1, prepared);
                    for (int place = 0; place < values.size(); place++) statement.setObject(place + 2, values.get(place));
                    statement.executeUpdate();
                }
                try (PreparedStatement statement = connection.prepareStatement("SELECT * FROM types WHERE id = ?")) {
                    statement.setInt(1, prepared);
                    ResultSet result = statement.executeQuery();
                    ResultSetMetaData about = result.getMetaData();
                    for (int column = 1; column <= about.getColumnCount(); column++) {
                        saw.add(List.of(about.getColumnName(column), about.getColumnTypeName(column),
                                about.getPrecision(column), about.getScale(column), about.isNullable(column),
                                about.getColumnDisplaySize(column), about.getTableName(column)));
                    }
                    check(result.next(), "a row");
                    List<Object> row = new ArrayList<>();
                    for (int column = 1; column <= about.getColumnCount(); column++) {
                        row.add(about.getColumnName(column).equals("took") ? result.getString(column) : result.getObject(column));
                    }
                    check(row.get(9).equals(values.get(8)) && Arrays.equals((byte[]) row.get(10), every), row);
                    check(row.get(2).equals(values.get(1)) && row.get(3).equals(values.get(2)), row);
                    saw.add(row);
                }
            }
        }
        report("types", saw);
    }

    static void preparedStatements() throws Exception {
        try (Connection connection = connect("useServerPrepStmts=true")) {
            run(connection, "CREATE TABLE prepared (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50))");
            PreparedStatement insert = connection.prepareStatement(
                    "INSERT INTO prepared (text) VALUES (?)", Statement.RETURN_GENERATED_KEYS);
            for (int number = 1; number <= 20; number++) {
                insert.setString(1, "text " + number);
                check(insert.executeUpdate() == 1, number);
                ResultSet keys = insert.getGeneratedKeys();
                check(keys.next() && keys.getInt(1) == number, number);
            }
            PreparedStatement select = connection.prepareStatement(
                    "SELECT id, text FROM prepared WHERE id >= ? AND id < ? ORDER BY id");
            List<Object> saw = new ArrayList<>();
            for (int[] between : new int[][] {{1, 3}, {5, 5}, {19, 100}}) {
                select.setInt(1, between[0]);
                select.setInt(2, between[1]);
                saw.add(read(select.executeQuery()));
            }
            insert.close();
            select.close();
            saw.add(failure(() -> connection.prepareStatement("SELECT * FROM missing WHERE id = ?").executeQuery()));
            report("prepared statements", saw);
        }
    }

    static void transactions() throws Exception {
        try (Connection connection = connect(); Connection other = connect()) {
            run(connection, "CREATE TABLE transactions (id INT PRIMARY KEY)");
            List<Object> saw = new ArrayList<>();
            Action look = () -> {
                saw.add(rows(connection, "SELECT id FROM transactions ORDER BY id"));
                saw.add(rows(other, "/* isthmus:writer */ SELECT id FROM transactions ORDER BY id"));
            };
            connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
            connection.setAutoCommit(false);
            run(connection, "INSERT INTO transactions VALUES (1)");
            look.run();
            connection.rollback();
            look.run();
            run(connection, "INSERT INTO transactions VALUES (2)");
            Savepoint here = connection.setSavepoint("here");
            run(connection, "INSERT INTO transactions VALUES (3)");
            connection.rollback(here);
            connection.commit();
            look.run();
            check(json(saw).equals("[[[1]],[],[],[],[[2]],[[2]]]"), json(saw));
            connection.setAutoCommit(true);
            report("transactions", saw);
        }
    }

    static void bulkInsert() throws Exception {
        List<Object> saw = new ArrayList<>();
        String[] modes = {"rewriteBatchedStatements=true", "useServerPrepStmts=true", "useBulkStmts=false"};
        try (Connection connection = connect()) {
            run(connection, "CREATE TABLE bulk (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50), number INT)");
        }
        for (String mode : modes) {
            try (Connection connection = connect(mode)) {
                connection.setAutoCommit(false);
                PreparedStatement insert = connection.prepareStatement("INSERT INTO bulk (text, number) VALUES (?, ?)");
                for (int number = 0; number < 1000; number++) {
                    insert.setString(1, "text " + number);
                    insert.setInt(2, number);
                    insert.addBatch();
                }
                check(insert.executeBatch().length == 1000, mode);
                connection.commit();
                saw.add(rows(connection, "SELECT COUNT(*), SUM(number) FROM bulk"));
            }
        }
        report("bulk insert", saw);
        check(json(saw).startsWith("[[[1000,499500]],[[2000,999000]]"), json(saw));
    }

    static void errors() throws Exception {
        try (Connection connection = connect(); Connection holder = connect()) {
            run(connection, "CREATE TABLE errors (id INT PRIMARY KEY)",
                    "CREATE TABLE parts (id INT NOT NULL, CONSTRAINT part FOREIGN KEY (id) REFERENCES errors (id))",
                    "INSERT INTO errors VALUES (1)");
            holder.setAutoCommit(false);
            run(holder, "INSERT INTO errors VALUES (2)");
            List<Object> saw = new ArrayList<>();
            List<Object> codes = new ArrayList<>();
            for (String statement : List.of("SELEKT 1", "SELECT * FROM missing", "INSERT INTO errors VALUES (1)",
                    "USE missing_schema", "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'by hand'", "SELECT 1; SELECT 2",
                    "INSERT INTO parts VALUES (3)", "INSERT INTO parts VALUES (NULL)",
                    "SELECT * FROM errors WHERE id = 2 FOR UPDATE NOWAIT")) {
                List<Object> failure = failure(() -> connection.createStatement().execute(statement));
                saw.add(failure);
                codes.add(failure.get(1));
            }
            holder.rollback();
            check(codes.subList(0, 8).equals(List.of(1064, 1146, 1062, 1049, 1644, 1064, 1452, 1048)), codes);
            try (Statement slow = connection.createStatement()) {
                slow.setQueryTimeout(1);
                saw.add(failure(() -> slow.execute("SELECT COUNT(*) FROM information_schema.columns a, "
                        + "information_schema.columns b, information_schema.columns c")));
            }
            check(failure(() -> connectAs("wrong", System.getenv("DB_SCHEMA"))).get(1).equals(1045), "a wrong password");
            check(failure(() -> connectAs(System.getenv("DB_PASSWORD"), "missing_schema")).get(1).equals(1049), "a schema");
            report("errors", saw);
        }
    }

    static void bigResults() throws Exception {
        try (Connection connection = connect(); Statement statement = connection.createStatement()) {
            statement.setFetchSize(100);
            String numbers = "(SELECT 0 AS d UNION ALL SELECT "
                    + IntStream.range(1, 10).mapToObj(String::valueOf).collect(Collectors.joining(" UNION ALL SELECT ")) + ")";
            ResultSet result = statement.executeQuery("SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d, REPEAT('x', 3000) FROM "
                    + numbers + " a, " + numbers + " b, " + numbers + " c, " + numbers + " e");
            long count = 0, sum = 0, length = 0;
            for (; result.next(); count++) {
                sum += result.getLong(1);
                length += result.getString(2).length();
            }
            report("big results", List.of(count, sum, length));
            check(count == 10_000 && sum == 49_995_000, count);
        }
    }

    static void bigPackets() throws Exception {
        try (Connection connection = connect("useServerPrepStmts=true")) {
            run(connection, "CREATE TABLE packets (id INT PRIMARY KEY, data LONGBLOB)");
            byte[] data = "some data".repeat(17 * 1024 * 1024 / 9).getBytes(StandardCharsets.US_ASCII);
            PreparedStatement insert = connection.prepareStatement("INSERT INTO packets VALUES (?, ?)");
            insert.setInt(1, 1);
            insert.setBytes(2, data);
            insert.execute();
            insert.setInt(1, 2);
            insert.setBinaryStream(2, new ByteArrayInputStream(data));
            insert.execute();
            List<Object> saw = new ArrayList<>();
            ResultSet result = connection.createStatement().executeQuery("SELECT data FROM packets");
            while (result.next()) {
                check(Arrays.equals(result.getBytes(1), data), "the data");
                saw.add(MessageDigest.getInstance("SHA-256").digest(result.getBytes(1)));
            }
            report("big packets", saw);
        }
    }

    static void severalResults() throws Exception {
        try (Connection connection = connect("allowMultiQueries=true"); Statement statement = connection.createStatement()) {
            statement.execute("CREATE PROCEDURE several(IN a INT, OUT b INT) BEGIN SELECT 4; SELECT a, 6; SET b = a + 1; END");
            List<Object> saw = new ArrayList<>();
            boolean rows = statement.execute("SELECT 1; SET @a = 2; SELECT @a, 3");
            while (rows || statement.getUpdateCount() != -1) {
                saw.add(rows ? read(statement.getResultSet()) : statement.getUpdateCount());
                rows = statement.getMoreResults();
            }
            try (var call = connection.prepareCall("{CALL several(?, ?)}")) {
                call.setInt(1, 5);
                call.registerOutParameter(2, Types.INTEGER);
                for (rows = call.execute(); rows; rows = call.getMoreResults()) saw.add(read(call.getResultSet()));
                saw.add(call.getInt(2));
            }
            report("several results", saw);
        }
    }

    static void localFiles() throws Exception {
        try (Connection connection = connect("allowLocalInfile=true")) {
            run(connection, "CREATE TABLE files (id INT PRIMARY KEY, text VARCHAR(50))");
            Path file = Files.createTempFile("lines", ".csv");
            Files.write(file, IntStream.range(0, 50_000).mapToObj(number -> number + ",text " + number).toList());
            int loaded = run(connection, "LOAD DATA LOCAL INFILE '" + file + "' INTO TABLE files FIELDS TERMINATED BY ','");
            Files.delete(file);
            check(loaded == 50_000, loaded);
            report("local files", rows(connection, "SELECT COUNT(*), MAX(id), MAX(text) FROM files"));
        }
    }

    public static void main(String[] arguments) throws Exception {
        connects();
        connectsWithTls();
        migrations();
        types();
        preparedStatements();
        transactions();
        bulkInsert();
        errors();
        bigResults();
        bigPackets();
        severalResults();
        localFiles();
    }
}
