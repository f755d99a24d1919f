//! LOAD DATA LOCAL INFILE: packets that do not follow each other, or are as long as packets can be.

use isthmus_lab::Flavor;
use isthmus_tests::on_both;
use isthmus_tests::rig::Rig;
use isthmus_tests::wire::{Client, USUAL, query_payload};

on_both! {
    packets_out_of_order_end_an_upload
    an_empty_packet_behind_a_full_one_is_not_the_end
}

/// Uploads three lines and the empty packet. Before the packet `skipped`, counted from 1, the count
/// skips a number, and nothing more is sent. Returns the error's number; 0 if there is none.
async fn upload(client: &mut Client, skipped: usize) -> u16 {
    let load = "LOAD DATA LOCAL INFILE 'x' INTO TABLE loaded";
    client.send(0, &query_payload(load)).await.unwrap();
    let mut sequence = client.receive().await.unwrap().sequence;
    let file = [&b"one\n"[..], b"two\n", b"three\n", b""];
    for (number, content) in (1..).zip(file) {
        sequence += if number == skipped { 2 } else { 1 };
        client.send(sequence, content).await.unwrap();
        if number == skipped {
            break;
        }
    }
    let error = client.pass_over_answer().await.unwrap();
    error.map_or(0, |error| error.code)
}

async fn packets_out_of_order_end_an_upload(flavor: Flavor) {
    let rig = Rig::start(flavor, "").await;
    let table = "CREATE TABLE loaded (line TEXT) ENGINE = InnoDB";
    rig.prepare_data(&[table]).await;
    let count = "/* isthmus:writer */ SELECT COUNT(*) FROM loaded";
    for skipped in [1, 2, 3] {
        for mut client in rig.wires(USUAL).await {
            assert_eq!(upload(&mut client, skipped).await, 1156, "packet {skipped}");
        }
    }
    // Of the empty packet a server says nothing for a while; the proxy does at once.
    let [_, mut proxied] = rig.wires(USUAL).await;
    assert_eq!(upload(&mut proxied, 4).await, 1156);
    proxied.closed().await.unwrap();
    // Nothing was loaded by any of them.
    for mut client in rig.wires(USUAL).await {
        assert_eq!(client.query(count).await.unwrap().value(), "0");
        assert_eq!(upload(&mut client, 0).await, 0);
        client
            .query("DELETE FROM loaded")
            .await
            .unwrap()
            .expect_ok();
    }
}

async fn an_empty_packet_behind_a_full_one_is_not_the_end(flavor: Flavor) {
    const GREATEST: usize = 0xFF_FFFF;
    let rig = Rig::start(flavor, "").await;
    rig.prepare_data(&["CREATE TABLE loaded (length INT)"])
        .await;
    let load = "LOAD DATA LOCAL INFILE 'x' INTO TABLE loaded (@line) SET length = LENGTH(@line)";
    let mut block = vec![b'x'; GREATEST];
    block[GREATEST - 1] = b'\n';
    for mut client in rig.wires(USUAL).await {
        client.send(0, &query_payload(load)).await.unwrap();
        let sequence = client.receive().await.unwrap().sequence;
        // With the empty packet that belongs to it.
        client.send(sequence + 1, &block).await.unwrap();
        client.send(sequence + 3, b"last\n").await.unwrap();
        client.send(sequence + 4, b"").await.unwrap();
        assert_eq!(client.pass_over_answer().await.unwrap(), None);
        let lengths =
            "/* isthmus:writer */ SELECT GROUP_CONCAT(length ORDER BY length) FROM loaded";
        let lengths = client.query(lengths).await.unwrap();
        assert_eq!(lengths.value(), "4,16777214");
        let delete = client.query("DELETE FROM loaded").await;
        delete.unwrap().expect_ok();
    }
}
