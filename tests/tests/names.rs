//! Names that are no plain words, of schemas, user variables, prepared statements and savepoints,
//! in several character sets: as on a direct connection, whichever connections are used.

#![allow(clippy::unwrap_used)]

use isthmus_lab::Flavor;
use isthmus_tests::rig::Rig;
use isthmus_tests::wire::{Client, USUAL};

/// Few connections to each server, so that the other session puts its own state on them.
const NARROW: &str = "[pool]\nmax_connections = 2";

/// A session with another schema and other variables of the same names.
async fn sabotage(other: &mut Client) {
    for hint in ["", "/* isthmus:writer */ "] {
        let sql = format!("{hint}SELECT DATABASE(), @`a``b`, @'it''s'");
        other.query(&sql).await.unwrap().expect_ok();
    }
}

async fn names_of_any_kind(flavor: Flavor) {
    let rig = Rig::start(flavor, NARROW).await;
    let mut other = rig.wire().await;
    for sql in [
        "SET @`a``b` = 'other'",
        "SET @`it's` = 'other', @\"a'b\" = 'other'",
    ] {
        other.query(sql).await.unwrap().expect_ok();
    }
    let schema = format!("{} `\"x' é日", rig.schema);
    let quoted = schema.replace('`', "``");
    let create =
        format!("CREATE DATABASE `{quoted}`; CREATE TABLE `{quoted}`.`ta\"b``le é` (`co'l` INT)");
    rig.lab.writer().execute(&create).await.unwrap();
    rig.lab.wait_caught_up().await.unwrap();
    let mut clients = rig.wires(USUAL).await;
    let uses = format!("USE `{quoted}`");
    let inserts = format!("INSERT INTO `{quoted}`.`ta\"b``le é` (`co'l`) VALUES (@`a``b`)");
    let statements: &[&[u8]] = &[
        uses.as_bytes(),
        b"SELECT DATABASE()",
        b"SET @`a``b` = 1, @'it''s' = 'x', @\"a'b\" = 2.5",
        "SET @`日本` = '日本', @`a.b$c` = NULL, @`é` = 3".as_bytes(),
        "SELECT @`a``b`, @`it's`, @`a'b`, @`日本`, @`a.b$c`, @`É`".as_bytes(),
        "SELECT @`日本` := 'x', @`new one` := 4".as_bytes(),
        "SELECT @`日本`, @`new one`".as_bytes(),
        inserts.as_bytes(),
        "SELECT `co'l` FROM `ta\"b``le é`".as_bytes(),
        "PREPARE `my ``stmt é` FROM 'SELECT ?, DATABASE()'".as_bytes(),
        "EXECUTE `MY ``stmt É` USING @`a``b`".as_bytes(),
        "DEALLOCATE PREPARE `my ``stmt é`".as_bytes(),
        b"EXECUTE `my ``stmt`",
        b"BEGIN",
        "SAVEPOINT `s ``p é`".as_bytes(),
        inserts.as_bytes(),
        "ROLLBACK TO `S ``P É`".as_bytes(),
        "RELEASE SAVEPOINT `s ``p é`".as_bytes(),
        b"COMMIT",
        b"SET sql_mode = 'ANSI_QUOTES'",
        "SELECT \"co'l\" FROM \"ta\"\"b`le é\"".as_bytes(),
        b"PREPARE \"x y\" FROM 'SELECT 5'",
        b"EXECUTE `x y`",
        b"SET sql_mode = DEFAULT",
        b"SET NAMES latin1",
        b"SELECT DATABASE()",
        b"SET @`\xe9 2` = '\xe9'",
        b"SELECT @`\xe9 2`, @`\xc9 2`, HEX(@`\xe9 2`), @`\xe9`",
        b"SELECT `co'l` FROM `ta\"b``le \xe9`",
        b"SET NAMES utf8mb4",
        "SELECT @`é 2`, HEX(@`é 2`)".as_bytes(),
    ];
    for sql in statements {
        let mut answers = Vec::new();
        for client in &mut clients {
            let command = [b"\x03", *sql].concat();
            answers.push(client.command(&command).await.unwrap());
        }
        assert_eq!(answers[1], answers[0], "{}", String::from_utf8_lossy(sql));
        rig.lab.wait_caught_up().await.unwrap();
        let held = clients[1].query("SHOW ISTHMUS SESSION").await.unwrap();
        if !format!("{held:?}").contains("\"hold\"") {
            sabotage(&mut other).await;
        }
    }
}

isthmus_tests::on_both! {
    names_of_any_kind
}
