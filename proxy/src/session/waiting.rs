//! A wait that travels to the reader in one write with the read that needs it: where the reader is
//! some way off, the answer is there a round trip sooner than if the read set out when the reader is
//! known to have caught up.
//!
//! The reader waits for the GTIDs of the session's own mark, and for a limited time. Its answer comes
//! before that of the read, which is not looked at unless it was waited for: then the writer is
//! asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use isthmus_protocol::response::Kind;

use super::Session;
use super::exchange::Failure;
use super::followup::Followup;
use super::prelude::skip_followups;
use super::work::Work;
use crate::config::{OnStale, Source, StaleReads};
use crate::consistency::{Mark, Token, Waited};
use crate::pool::{Lease, Pool, only_value};
use crate::relay;
use crate::routing::Transaction;
use crate::sql::Plan;
use crate::topology::Endpoint;

/// A reader that is nearer is waited for before a connection to it is taken.
const FAR: Duration = Duration::from_millis(5);
/// ER_QUERY_INTERRUPTED.
pub(super) const INTERRUPTED: u16 = 1317;
/// How long what does not count may take to arrive before its connection is given up.
pub(super) const LEFTOVER: Duration = Duration::from_millis(20);

/// What the reader of a read has to wait for first.
pub(super) struct Waiting {
    /// Which of the world's readers that is.
    reader: usize,
    mark: Mark,
    /// For how long at the most.
    limit: Duration,
    /// Whether going to the writer is quicker then, rather than that patience is over.
    is_estimate: bool,
    /// How long after that the answer may take.
    slack: Duration,
    /// What the reader is asked.
    question: String,
    /// Since when the read waits.
    start: Instant,
}

/// What a server has said to a wait.
pub(super) enum Awaited {
    /// That it has what it was to wait for.
    Reached,
    /// That it has not.
    Behind,
    /// Nothing in time: its answer may come yet, so the connection is good for nothing any more.
    Silent,
}

impl Session {
    /// What lets the reader wait itself; `None` where that is no quicker, or nothing is known that it
    /// could wait for.
    pub(super) fn waiting(
        &self,
        index: usize,
        plan: &Plan,
        mark: Mark,
        token: Option<&Token>,
    ) -> Option<Box<Waiting>> {
        let reader = &self.world.readers[index];
        let trip = reader.endpoint.round_trip()?;
        let slow_trip = reader.endpoint.slow_round_trip()?;
        let is_by_gtids = || {
            let choice = reader.choice();
            choice.is_some_and(|choice| choice.source == Source::Gtid.as_str())
        };
        if trip < FAR || !plan.is_plain() || !is_by_gtids() {
            return None;
        }
        let is_alone =
            self.transaction == Transaction::None && self.autocommit() && self.holds.is_empty();
        if self.stale_reads != StaleReads::Never
            || !is_alone
            || !self.has_room_for_waits(&reader.endpoint)
        {
            return None;
        }
        let consistency = &self.world.config.consistency;
        let is_mariadb = reader.endpoint.server()?.is_mariadb;
        let patience = consistency.max_wait;
        let (limit, is_estimate) = match consistency.on_stale {
            OnStale::Writer => return None,
            OnStale::Wait => (patience, false),
            OnStale::Fastest if self.has_crossed_enough(reader, mark, token) => (patience, false),
            OnStale::Fastest => {
                let wait = reader.best_wait(mark, token, self.round_trip())?;
                (wait.min(patience), wait < patience)
            }
        };
        let question = token?.wait(is_mariadb, limit)?;
        Some(Box::new(Waiting {
            reader: index,
            mark,
            limit,
            is_estimate,
            slack: slow_trip * 2 + LEFTOVER,
            question,
            start: Instant::now(),
        }))
    }

    /// Whether a connection is at hand, and half of them are left for those who do not wait.
    fn has_room_for_waits(&self, endpoint: &Arc<Endpoint>) -> bool {
        let pool = self.known_pool(endpoint, self.state.schema.is_some());
        pool.is_some_and(Pool::can_spare_one)
    }

    /// Writes the question of a wait.
    pub(super) fn write_wait(&self, lease: &Lease, out: &mut Vec<u8>) -> bool {
        let Some(waiting) = &self.waits else {
            return false;
        };
        lease.form.put_query(out, waiting.question.as_bytes());
        true
    }

    /// Reads the server's answer to the wait that was written.
    pub(super) async fn read_wait(&mut self, lease: &mut Lease) -> Result<Awaited, Failure> {
        let Some(waiting) = self.waits.take() else {
            return Ok(Awaited::Reached);
        };
        let time = waiting.limit + waiting.slack;
        let mut packets = Vec::new();
        let answer = relay::swallow(&mut lease.stream, Kind::Query, Some(&mut packets));
        let awaited = match tokio::time::timeout(time, answer).await {
            Ok(reply) => {
                let reply = reply.map_err(|cause| Failure::Lost {
                    cause,
                    untouched: true,
                })?;
                // The read was killed by its client.
                if let Some(error) = reply.error.filter(|error| error.code == INTERRUPTED) {
                    return Err(Failure::Refused(error));
                }
                match only_value(&packets) {
                    Some(b"0") => Awaited::Reached,
                    _ => Awaited::Behind,
                }
            }
            Err(_) => Awaited::Silent,
        };
        let waited = match awaited {
            Awaited::Reached => Waited::Reached,
            _ if waiting.is_estimate => Waited::GaveUp,
            _ => Waited::TimedOut,
        };
        let took = waiting.start.elapsed();
        self.note_waited(waiting.reader, waiting.mark, waited, took);
        Ok(awaited)
    }
}

/// Reads an answer that does not count, if it is there soon. Returns whether the connection is at
/// rest then. The command's last packet had the sequence id `after`.
pub(super) async fn skip_untimely(
    lease: &mut Lease,
    work: &Work<'_>,
    after: u8,
    followups: &[Followup],
) -> Result<bool, Failure> {
    let skipping = async {
        lease.swallow_after(work.kind(), after).await?;
        skip_followups(lease, followups).await
    };
    match tokio::time::timeout(LEFTOVER, skipping).await {
        Ok(skipped) => skipped.map(|()| true),
        Err(_) => Ok(false),
    }
}
