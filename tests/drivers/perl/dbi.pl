# DBI: `dbi.pl mysql` with DBD::mysql, `dbi.pl MariaDB` with DBD::MariaDB.
# What is printed and how it is told where to connect to: ../README.md

use v5.36;
use utf8;

use DBI;
use Digest::SHA 'sha256_hex';
use File::Temp;
use JSON::PP;

my $DRIVER = $ARGV[0];
my $prefix = lc $DRIVER;
my $json = JSON::PP->new->canonical->ascii->allow_nonref;
$| = 1;

sub connect_to (%options) {
    my $address = "database=$ENV{DB_SCHEMA};host=$ENV{DB_HOST};port=$ENV{DB_PORT};${prefix}_local_infile=1";
    my $more = delete $options{address} // '';
    my $password = delete $options{password} // $ENV{DB_PASSWORD};
    my %unicode = $prefix eq 'mysql' ? (mysql_enable_utf8mb4 => 1) : ();
    return DBI->connect("dbi:$DRIVER:$address;$more", $ENV{DB_USER}, $password,
        { RaiseError => 1, PrintError => 0, %unicode, %options });
}

sub report ($check, $saw) {
    say $json->encode({ check => $check, saw => $saw });
}

sub check ($truth, $what) {
    die 'not as it should be: ' . $json->encode($what) unless $truth;
}

sub failure ($action) {
    eval { $action->(); 1 } and die 'an error was expected';
    return [ $DBI::err, $DBI::state, $DBI::errstr ];
}

sub rows ($db, $statement, @values) {
    return $db->selectall_arrayref($statement, undef, @values);
}

sub connects () {
    my $db = connect_to();
    check($db->ping, 'ping');
    check($db->{"${prefix}_thread_id"} == $db->selectrow_array('SELECT CONNECTION_ID()'), 'the id');
    report('connect', [ rows($db, "SELECT 1, 'text'"), $db->get_info(18) ]);
}

sub connects_with_tls () {
    # Debian builds DBD::mysql on a library with which it cannot insist on TLS.
    my $how = $prefix eq 'mysql' ? 'mysql_ssl_optional=1' : 'mariadb_ssl_verify_server_cert=1';
    my $db = connect_to(address => "${prefix}_ssl=1;${prefix}_ssl_ca_file=$ENV{DB_CA};$how");
    report('connect with TLS', rows($db, 'SELECT SHA2(?, 256)', 'x' x 300_000));
}

sub migrations () {
    my $db = connect_to();
    $db->do($_) for
        'CREATE TABLE owners (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL UNIQUE)',
        'CREATE TABLE cats (id INT AUTO_INCREMENT PRIMARY KEY, owner INT NOT NULL, lives INT DEFAULT 9, '
        . 'FOREIGN KEY (owner) REFERENCES owners (id))',
        'ALTER TABLE cats ADD COLUMN name VARCHAR(50), ADD INDEX names (name)',
        'ALTER TABLE cats RENAME COLUMN lives TO lives_left';
    my $keys = $db->foreign_key_info(undef, $ENV{DB_SCHEMA}, 'owners', undef, $ENV{DB_SCHEMA}, 'cats');
    report('migrations', [ rows($db, 'SHOW CREATE TABLE cats'), $db->column_info(undef, undef, 'cats', '%')->fetchall_arrayref,
        $keys->fetchall_arrayref ]);
}

sub types () {
    my $db = connect_to();
    $db->do(<<~SQL);
        CREATE TABLE types (id INT PRIMARY KEY, small TINYINT, big BIGINT UNSIGNED, exact DECIMAL(30,10),
        approximate DOUBLE, day DATE, at DATETIME(6), took TIME(6), year YEAR, text VARCHAR(200), bytes VARBINARY(300),
        choice ENUM('one', 'two'), choices SET('a', 'b'), document TEXT, nothing INT)
        SQL
    my @values = (
        -128, '18446744073709551615', '-12345678901234567890.0123456789', '-2.5e300', '1000-01-01',
        '9999-12-31 23:59:59.999999', '-800:00:01.000001', 2155, "naïve 海峡 🌉 'q' \"d\" \\ \n ?", join('', map { chr } 0 .. 255),
        'two', 'a,b', '{"a": [1, null]}', undef,
    );
    my @seen;
    for my $prepared (0, 1) {
        my $session = connect_to("${prefix}_server_prepare" => $prepared);
        my $insert = $session->prepare('INSERT INTO types VALUES (?' . ', ?' x @values . ')');
        $insert->bind_param(1, $prepared, DBI::SQL_INTEGER);
        $insert->bind_param($_ + 2, $values[$_], $_ == 9 ? DBI::SQL_VARBINARY : DBI::SQL_VARCHAR) for 0 .. $#values;
        $insert->execute;
        my $select = $session->prepare('SELECT * FROM types WHERE id = ?');
        $select->execute($prepared);
        push @seen, $select->{NAME}, $select->{TYPE}, $select->{PRECISION}, $select->{NULLABLE};
        while (my $row = $select->fetchrow_arrayref) {
            check($row->[9] eq $values[8] && $row->[10] eq $values[9], $row);
            push @seen, [@$row];
        }
    }
    report('types', \@seen);
}

sub prepared_statements () {
    my $db = connect_to("${prefix}_server_prepare" => 1);
    $db->do('CREATE TABLE prepared (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50))');
    my $insert = $db->prepare('INSERT INTO prepared (text) VALUES (?)');
    for my $number (1 .. 20) {
        my $rows = $insert->execute("text $number");
        check($rows == 1 && $db->{"${prefix}_insertid"} == $number, $number);
    }
    my $select = $db->prepare('SELECT id, text FROM prepared WHERE id >= ? AND id < ? ORDER BY id');
    my @seen = map { $select->execute(@$_); $select->fetchall_arrayref } [ 1, 3 ], [ 5, 5 ], [ 19, 100 ];
    push @seen, failure(sub { $db->prepare('SELECT * FROM missing WHERE id = ?')->execute(1) });
    report('prepared statements', \@seen);
}

sub transactions () {
    my ($db, $other) = (connect_to(AutoCommit => 0), connect_to());
    $db->do('CREATE TABLE transactions (id INT PRIMARY KEY)');
    my @seen;
    my $look = sub {
        push @seen, rows($db, 'SELECT id FROM transactions ORDER BY id');
        push @seen, rows($other, '/* isthmus:writer */ SELECT id FROM transactions ORDER BY id');
    };
    $db->do('INSERT INTO transactions VALUES (1)');
    $look->();
    $db->rollback;
    $look->();
    $db->do($_) for 'INSERT INTO transactions VALUES (2)', 'SAVEPOINT here', 'INSERT INTO transactions VALUES (3)',
        'ROLLBACK TO SAVEPOINT here';
    $db->commit;
    $look->();
    check($json->encode(\@seen) =~ s/"//gr eq '[[[1]],[],[],[],[[2]],[[2]]]', \@seen);
    $db->{AutoCommit} = 1;
    $db->begin_work;
    $db->do('DELETE FROM transactions');
    $db->rollback;
    check($db->selectrow_array('SELECT COUNT(*) FROM transactions') == 1, 'the row');
    report('transactions', \@seen);
}

sub bulk_insert () {
    my $db = connect_to();
    $db->do('CREATE TABLE bulk (id INT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(50), number INT)');
    my $rows = $db->do('INSERT INTO bulk (text, number) VALUES ' . join(', ', map { "('text $_', $_)" } 0 .. 4999));
    my $insert = $db->prepare('INSERT INTO bulk (text, number) VALUES (?, ?)');
    my $more = $insert->execute_array({}, [ map { "more $_" } 0 .. 99 ], [ 0 .. 99 ]);
    report('bulk insert', [ $rows, $more, $db->{"${prefix}_info"}, rows($db, 'SELECT COUNT(*), SUM(number) FROM bulk') ]);
    check($rows == 5000, $rows);
}

sub errors () {
    my ($db, $holder) = (connect_to(), connect_to(AutoCommit => 0));
    $db->do($_) for 'CREATE TABLE errors (id INT PRIMARY KEY)', 'INSERT INTO errors VALUES (1)',
        'CREATE TABLE parts (id INT NOT NULL, CONSTRAINT part FOREIGN KEY (id) REFERENCES errors (id))';
    $holder->do('INSERT INTO errors VALUES (2)');
    my @seen = map { my $statement = $_; failure(sub { $db->do($statement) }) }
        'SELEKT 1', 'SELECT * FROM missing', 'INSERT INTO errors VALUES (1)', 'USE missing_schema',
        "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'by hand'", 'SELECT 1; SELECT 2', 'INSERT INTO parts VALUES (3)',
        'INSERT INTO parts VALUES (NULL)', 'SELECT * FROM errors WHERE id = 2 FOR UPDATE NOWAIT';
    $holder->rollback;
    my $codes = join ' ', map { $_->[0] } @seen[ 0 .. 7 ];
    check($codes eq '1064 1146 1062 1049 1644 1064 1452 1048', \@seen);
    check(failure(sub { connect_to(password => 'wrong') })->[0] == 1045, 'a wrong password');
    check(failure(sub { connect_to(address => 'database=missing_schema') })->[0] == 1049, 'a wrong schema');
    report('errors', \@seen);
}

sub big_results () {
    my $db = connect_to();
    # DBD::MariaDB 1.22 returns no row when it streams.
    my %streaming = $prefix eq 'mysql' ? (mysql_use_result => 1) : ();
    my $numbers = '(SELECT 0 AS d UNION ALL SELECT ' . join(' UNION ALL SELECT ', 1 .. 9) . ')';
    my $select = $db->prepare('SELECT a.d + 10 * b.d + 100 * c.d + 1000 * e.d, REPEAT("x", 3000) '
        . "FROM $numbers a, $numbers b, $numbers c, $numbers e", \%streaming);
    $select->execute;
    my ($count, $sum, $length) = (0, 0, 0);
    while (my $row = $select->fetchrow_arrayref) {
        $count++;
        $sum += $row->[0];
        $length += length $row->[1];
    }
    report('big results', [ $count, $sum, $length ]);
    check($count == 10_000 && $sum == 49_995_000, $count);
}

sub big_packets () {
    my $db = connect_to();
    $db->do('CREATE TABLE packets (id INT PRIMARY KEY, data LONGBLOB)');
    my $data = 'some data' x (17 * 1024 * 1024 / 9);
    $db->do('INSERT INTO packets VALUES (1, ?)', undef, $data);
    my ($back) = $db->selectrow_array('SELECT data FROM packets');
    check($back eq $data, length $back);
    report('big packets', sha256_hex($back));
}

sub several_results () {
    my $db = connect_to(address => "${prefix}_multi_statements=1");
    my @seen;
    $db->do('CREATE PROCEDURE several() BEGIN SELECT 4; SELECT 5, 6; END');
    for my $statement ('SELECT 1; SET @a = 2; SELECT @a, 3', 'CALL several()') {
        my $result = $db->prepare($statement);
        $result->execute;
        do {
            push @seen, $result->{NUM_OF_FIELDS} ? $result->fetchall_arrayref : $result->rows;
        } while ($result->more_results);
    }
    report('several results', \@seen);
}

sub local_files () {
    my $db = connect_to();
    $db->do('CREATE TABLE files (id INT PRIMARY KEY, text VARCHAR(50))');
    my $file = File::Temp->new;
    say $file "$_,text $_" for 0 .. 49_999;
    $file->flush;
    my $loaded = $db->do("LOAD DATA LOCAL INFILE '$file' INTO TABLE files FIELDS TERMINATED BY ','");
    check($loaded == 50_000, $loaded);
    report('local files', rows($db, 'SELECT COUNT(*), MAX(id), MAX(text) FROM files'));
}

connects();
connects_with_tls();
migrations();
types();
prepared_statements();
transactions();
bulk_insert();
errors();
big_results();
big_packets();
several_results();
local_files();
