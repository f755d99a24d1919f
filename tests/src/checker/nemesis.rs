//! What harms servers, links and proxies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_lab::{Signal, Snapshot};

use super::Options;
use super::chance::Chance;
use super::field::Field;

/// By how many seconds a proxy's clock is wrong.
const CLOCKS: [i32; 5] = [-7200, -60, 0, 60, 7200];

/// Does one harm after another, each undone before the next, until the end. Returns what it did.
/// A mild one only lets replication take its time.
pub(super) async fn rage(
    field: Arc<Field>,
    mut chance: Chance,
    end: Instant,
    options: Options,
) -> Vec<String> {
    let begun = Instant::now();
    let mut deeds = Vec::new();
    let mut snapshot = None;
    let lag = Duration::from_millis(20);
    field.lab.delay_replication(lag).await.unwrap();
    while Instant::now() < end {
        if !options.nemesis {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        }
        let deed = match options.suspension.is_zero() || deeds.len() % 2 == 1 {
            true => harm(&field, &mut chance, &mut snapshot).await,
            false => suspend(&field, &mut chance, options.suspension).await,
        };
        deeds.push(format!("{:.1} s: {deed}", begun.elapsed().as_secs_f64()));
        let pause = chance.time(100, 1500);
        tokio::time::sleep(pause).await;
    }
    deeds
}

/// Suspends a proxy, and sets its wall clock meanwhile.
async fn suspend(field: &Field, chance: &mut Chance, time: Duration) -> String {
    let site = &field.sites[chance.below(2) as usize];
    let seconds = CLOCKS[chance.below(5) as usize];
    site.proxy.signal(Signal::STOP).unwrap();
    site.set_clock(seconds);
    tokio::time::sleep(time).await;
    site.proxy.signal(Signal::CONT).unwrap();
    format!("a proxy suspended for {time:?}, its clock set to {seconds:+} s meanwhile")
}

async fn harm(field: &Field, chance: &mut Chance, snapshot: &mut Option<Snapshot>) -> String {
    let lab = &field.lab;
    let time = chance.time(200, 2500);
    let readers = lab.readers();
    let reader = readers[chance.below(2) as usize];
    let site = &field.sites[chance.below(2) as usize];
    let link = &site.links[chance.below(3) as usize];
    let ms = time.as_millis();
    match chance.below(18) {
        0 => {
            let lag = Duration::from_millis([0, 5, 20, 80, 300, 1000][chance.below(6) as usize]);
            lab.delay_replication(lag).await.unwrap();
            format!("replication takes {lag:?}")
        }
        1 => {
            lab.stop_replication().await.unwrap();
            tokio::time::sleep(time).await;
            lab.start_replication().await.unwrap();
            format!("replication stopped for {ms} ms")
        }
        2 => {
            let (stop, start) = match lab.flavor() {
                isthmus_lab::Flavor::Mysql => ("STOP REPLICA SQL_THREAD", "START REPLICA"),
                isthmus_lab::Flavor::Mariadb => ("STOP SLAVE SQL_THREAD", "START SLAVE"),
            };
            reader.execute(stop).await.unwrap();
            tokio::time::sleep(time).await;
            reader.execute(start).await.unwrap();
            format!("{} applied nothing for {ms} ms", reader.name())
        }
        3 => {
            reader.stop().await.unwrap();
            reader.start().await.unwrap();
            format!("{} restarted", reader.name())
        }
        4 => {
            reader.kill();
            tokio::time::sleep(time / 4).await;
            reader.start().await.unwrap();
            format!("{} crashed", reader.name())
        }
        5 => {
            reader.pause().await.unwrap();
            tokio::time::sleep(time).await;
            reader.resume().unwrap();
            format!("{} hung for {ms} ms", reader.name())
        }
        6 => {
            link.cut().await;
            tokio::time::sleep(time).await;
            link.restore().await;
            format!("a link cut for {ms} ms")
        }
        7 => {
            link.silence().await;
            tokio::time::sleep(time).await;
            link.restore().await;
            format!("a link silent for {ms} ms")
        }
        8 => {
            let delay = chance.time(5, 150);
            link.set_delays(delay, delay);
            format!("a link with {delay:?} each way")
        }
        9 => {
            link.reset_connections().await;
            "connections of a link reset".to_owned()
        }
        10 => {
            site.proxy.signal(Signal::STOP).unwrap();
            tokio::time::sleep(time).await;
            site.proxy.signal(Signal::CONT).unwrap();
            format!("a proxy suspended for {ms} ms")
        }
        11 => {
            field.reload(chance.below(2) as usize).await;
            "configuration reloaded".to_owned()
        }
        12 => {
            field
                .on_writer("DROP TABLE IF EXISTS isthmus.heartbeat")
                .await;
            tokio::time::sleep(time).await;
            field.set_up_heartbeat().await;
            format!("no heartbeat table for {ms} ms")
        }
        13 => {
            let seconds = CLOCKS[chance.below(5) as usize];
            site.set_clock(seconds);
            format!("the clock of a proxy set to {seconds:+} s")
        }
        14 => {
            let rate = u64::from(2_000 + chance.below(20_000));
            link.set_bandwidth(Some(rate));
            tokio::time::sleep(time).await;
            link.set_bandwidth(None);
            format!("a link with {rate} bytes a second for {ms} ms")
        }
        15 | 16 => match field.crash_writer(chance.below(2) as usize).await {
            Some(crashed) => {
                let writer = lab.writer().name();
                format!("the writer {crashed} crashed, {writer} took its place")
            }
            None => "the readers were too far behind for one to become the writer".to_owned(),
        },
        _ => match snapshot.take() {
            Some(old) if old.is_of(reader) => {
                old.bring_back(reader).await.unwrap();
                format!("{} restored from an old snapshot", reader.name())
            }
            _ => {
                *snapshot = Some(Snapshot::take(reader).await.unwrap());
                format!("snapshot of {} taken", reader.name())
            }
        },
    }
}
