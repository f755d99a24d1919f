//! All marks that some reader has not reached yet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::position::{Position, Scale};
use super::reader::nanos;
use super::{Mark, Reader, Token};
use crate::topology::Endpoint;

/// The marks in the order of their instants, for each reader those it has not reached.
///
/// The lock is taken once per write, and by the tasks that find out how far the servers are; never
/// by a read.
#[derive(Debug)]
pub struct Ledger {
    /// What the proxy is called in the heartbeat table and in tokens.
    proxy: u64,
    origin: Instant,
    books: Mutex<Books>,
    /// Something has to be asked of the writer.
    pub(super) unresolved: Notify,
}

#[derive(Debug, Default)]
struct Books {
    queues: Vec<Queue>,
    /// When the writer was last asked how far it is.
    sampled: Option<Mark>,
    /// The number of the last heartbeat.
    beats: u64,
    /// The number of the last heartbeat that a token stands for.
    promised: u64,
}

/// What one reader has not reached.
#[derive(Debug)]
struct Queue {
    reader: Arc<Reader>,
    /// By what its progress is told; `None` until that is chosen.
    scale: Option<Scale>,
    entries: VecDeque<Entry>,
    /// So many of them at the front have a position, at the least: a reader that is far behind
    /// leaves thousands.
    resolved: usize,
}

/// One mark, or several of which the writer has told no position.
#[derive(Debug)]
struct Entry {
    first: Mark,
    last: Mark,
    /// What the reader must have; `None` while that has to be asked of the writer: whatever it has
    /// at some moment after the mark.
    position: Option<Arc<Position>>,
    /// Whether the position came with the mark.
    is_told: bool,
    /// Whether the reader has it. It stays until those before it are reached too.
    is_reached: bool,
}

/// What became of a mark.
#[derive(Debug, PartialEq, Eq)]
enum Pushed {
    /// It is an entry of its own.
    Apart,
    /// One that is not reached yet stands for it as well.
    Joined,
}

/// Whether the writer has to be asked how far it is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NextSample {
    /// At once, on this scale.
    Now(Scale),
    /// If nothing has changed by then.
    Later(Duration),
    /// Nothing is outstanding.
    Never,
}

impl Ledger {
    /// More outstanding marks than this are merged into one of unknown position.
    const LIMIT: usize = 65_536;
    /// What is outstanding for longer is asked for again: the writer may have lost it, or the
    /// heartbeat that was to prove it.
    const STUCK: Duration = Duration::from_secs(1);
    /// So far back a mark of unknown position is looked for that another one joins: a writer nearby
    /// is asked again before as many come that it has told, and nobody waits long for the lock.
    const NEAR: usize = 32;
    /// Marks of this time are reached together, so that it does not matter how many they are.
    const GRAIN: Duration = Duration::from_millis(1);

    /// An empty ledger of the proxy with this number, which it has drawn for itself.
    pub fn new(proxy: u64) -> Self {
        Self {
            proxy,
            origin: Instant::now(),
            books: Mutex::default(),
            unresolved: Notify::new(),
        }
    }

    /// What the proxy is called in the heartbeat table and in tokens.
    pub fn proxy(&self) -> u64 {
        self.proxy
    }

    /// Makes `endpoints` the readers that are followed from now on. What was acknowledged before
    /// is outstanding on each of them, whether it was followed before or not.
    pub fn follow(&self, endpoints: &[Arc<Endpoint>]) -> Vec<Arc<Reader>> {
        let mut books = self.lock();
        let start = self.now();
        books.queues = endpoints
            .iter()
            .map(|endpoint| {
                let mut queue = Queue {
                    reader: Arc::new(Reader::new(endpoint.clone(), self.origin)),
                    scale: None,
                    entries: VecDeque::new(),
                    resolved: 0,
                };
                queue.push(start, None, None);
                queue
            })
            .collect();
        let queues = books.queues.iter();
        queues.map(|queue| queue.reader.clone()).collect()
    }

    /// A mark for what was acknowledged just now. The token is what stands for it.
    pub fn mark(&self, token: Token) -> Mark {
        let position = token.0;
        let mut books = self.lock();
        let mark = self.now();
        let sampled = books.sampled;
        let mut is_resolved = true;
        for queue in &mut books.queues {
            let position = position
                .clone()
                .filter(|position| queue.scale.is_none_or(|scale| scale == position.scale()));
            let is_known = position.is_some() || queue.scale == Some(Scale::Moments);
            // Whoever works on what it joins knows already.
            if queue.push(mark, position, sampled) == Pushed::Joined {
                continue;
            }
            // The others are told when the writer has answered.
            match is_known {
                true => queue.reader.work.notify_one(),
                false => is_resolved = false,
            }
        }
        drop(books);
        if !is_resolved {
            self.unresolved.notify_one();
        }
        mark
    }

    /// How long ago the oldest mark was that the reader has not reached; zero where there is none.
    pub fn age(&self, reader: &Arc<Reader>) -> Duration {
        let oldest = self.with_queue(reader, |queue| {
            queue.entries.front().map(|entry| entry.first)
        });
        oldest
            .flatten()
            .map_or(Duration::ZERO, |mark| self.since(mark))
    }

    /// How long ago the mark was set.
    pub fn since(&self, mark: Mark) -> Duration {
        self.origin
            .elapsed()
            .saturating_sub(Duration::from_nanos(mark.0))
    }

    /// The present, as a mark.
    pub(super) fn now(&self) -> Mark {
        Mark(nanos(self.origin.elapsed()).max(1))
    }

    /// The reader's progress is told on this scale from now on.
    pub fn adopt(&self, reader: &Arc<Reader>, scale: Scale) {
        self.with_queue(reader, |queue| {
            queue.scale = Some(scale);
            queue.resolved = 0;
            for entry in &mut queue.entries {
                let is_other = |position: &Arc<Position>| position.scale() != scale;
                if entry.position.as_ref().is_none_or(is_other) {
                    entry.position = own_position(queue.scale, entry.last);
                    entry.is_told = false;
                }
            }
            queue.publish_oldest_told();
        });
        self.unresolved.notify_one();
    }

    /// Forgets what is outstanding on a reader whose position nobody follows.
    pub(super) fn abandon(&self, reader: &Arc<Reader>) {
        let is_other = |queue: &Queue| !Arc::ptr_eq(&queue.reader, reader);
        self.lock().queues.retain(is_other);
    }

    /// The reader has to prove anew all that it has seen, since there was a doubt about it.
    pub(super) fn start_over(&self, reader: &Arc<Reader>, doubts: u64) {
        let mut books = self.lock();
        let (now, sampled) = (self.now(), books.sampled);
        if let Some(queue) = books.queue(reader) {
            for entry in &mut queue.entries {
                entry.is_reached = false;
            }
            queue.push(now, None, sampled);
            queue.publish_oldest_told();
            reader.start_over(doubts);
        }
        drop(books);
        self.unresolved.notify_one();
    }

    pub(super) fn next_sample(&self) -> NextSample {
        let mut books = self.lock();
        if books.promised > books.beats {
            return NextSample::Now(Scale::Beats);
        }
        let is_asked_about = |queue: &&mut Queue| queue.scale != Some(Scale::Moments);
        let queues = books.queues.iter_mut().filter(is_asked_about);
        let unresolved = queues.filter_map(|queue| {
            let first = queue.first_unresolved();
            Some((queue.entries.get(first)?.first, queue.scale?))
        });
        if let Some((_, scale)) = unresolved.min_by_key(|(mark, _)| *mark) {
            return NextSample::Now(scale);
        }
        let queues = books.queues.iter_mut().filter(is_asked_about);
        let outstanding =
            queues.filter_map(|queue| Some((queue.entries.front()?.first, queue.scale?)));
        let Some((oldest, scale)) = outstanding.min_by_key(|(mark, _)| *mark) else {
            return NextSample::Never;
        };
        let age = self.since(books.sampled.map_or(oldest, |sampled| oldest.max(sampled)));
        match Self::STUCK.checked_sub(age) {
            Some(rest) if !rest.is_zero() => NextSample::Later(rest),
            _ => NextSample::Now(scale),
        }
    }

    /// The writer is about to be asked how far it is: the instant from which on that counts.
    pub fn begin_sample(&self) -> Mark {
        let mut books = self.lock();
        let now = self.now();
        books.sampled = Some(now);
        now
    }

    /// The same, by a heartbeat that is about to be sent: its number.
    pub(super) fn begin_beat(&self) -> (Mark, u64) {
        let mut books = self.lock();
        let now = self.now();
        books.sampled = Some(now);
        books.beats += 1;
        (now, books.beats)
    }

    /// A token for everything that was acknowledged until now: the next heartbeat, which will be
    /// written whether a mark is outstanding or not.
    pub fn promise_beat(&self) -> Token {
        let mut books = self.lock();
        books.promised = books.beats + 1;
        let number = books.promised;
        drop(books);
        self.unresolved.notify_one();
        Token::at(Position::Beat {
            proxy: self.proxy,
            number,
        })
    }

    /// The writer had `position` at some moment after `sampled`: good for every mark before that.
    /// So is a mark of which it said another position that it does not have any more: what was
    /// written then is lost.
    pub fn resolve(&self, scale: Scale, sampled: Mark, position: Position) {
        let position = Arc::new(position);
        for queue in &mut self.lock().queues {
            if queue.scale != Some(scale) {
                continue;
            }
            // What the writer has lost holds up the others: where the oldest is there, none is lost
            // that would have to be found by now.
            let oldest = queue
                .entries
                .front()
                .and_then(|entry| entry.position.as_ref());
            let is_lost = oldest.is_some_and(|known| !position.contains(known));
            let start = match is_lost {
                true => 0,
                false => queue.first_unresolved(),
            };
            let entries = queue.entries.range_mut(start..);
            for entry in entries.take_while(|entry| entry.last <= sampled) {
                let is_there = |known: &Arc<Position>| !is_lost || position.contains(known);
                if !entry.position.as_ref().is_some_and(is_there) {
                    entry.position = Some(position.clone());
                }
            }
            queue.reader.work.notify_one();
        }
    }

    /// What the reader must reach next, if that is known.
    pub(super) fn awaited(&self, reader: &Arc<Reader>) -> Option<Arc<Position>> {
        self.with_queue(reader, |queue| {
            let mut missing = queue.entries.iter().filter(|entry| !entry.is_reached);
            missing.find_map(|entry| entry.position.clone())
        })
        .flatten()
    }

    /// The reader was at `position` when `doubts` were all that there were about it: publishes how
    /// far that reaches.
    pub fn reached(&self, reader: &Arc<Reader>, doubts: u64, position: &Position) {
        self.with_queue(reader, |queue| {
            if reader.answered() != doubts {
                return;
            }
            let (mut told, mut asked) = (Vec::new(), Vec::new());
            // Those of which the writer has told no position do not hold up others.
            for entry in &mut queue.entries {
                match &entry.position {
                    _ if entry.is_reached => {}
                    Some(wanted) if position.contains(wanted) => {
                        entry.is_reached = true;
                        let times = if entry.is_told { &mut told } else { &mut asked };
                        times.push(self.since(entry.first));
                    }
                    Some(_) => break,
                    None => {}
                }
            }
            reader.note_catch_ups(&told, &asked);
            let mut seen = None;
            while let Some(entry) = queue.entries.pop_front_if(|entry| entry.is_reached) {
                seen = seen.max(Some(entry.last));
                queue.resolved = queue.resolved.saturating_sub(1);
            }
            queue.publish_oldest_told();
            reader.advance(position, seen);
        });
    }

    fn with_queue<T>(
        &self,
        reader: &Arc<Reader>,
        action: impl FnOnce(&mut Queue) -> T,
    ) -> Option<T> {
        Some(action(self.lock().queue(reader)?))
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    fn queue(&mut self, reader: &Arc<Reader>) -> Option<&mut Queue> {
        let mut queues = self.queues.iter_mut();
        queues.find(|queue| Arc::ptr_eq(&queue.reader, reader))
    }
}

impl Queue {
    /// Adds a mark. One of unknown position joins the last of these, if the writer will be asked for
    /// both together: its answer is good for those in between too. One of a position that the writer
    /// told joins the one before, if that was just before and told too.
    fn push(
        &mut self,
        mark: Mark,
        position: Option<Arc<Position>>,
        sampled: Option<Mark>,
    ) -> Pushed {
        if let (Some(position), Some(back)) = (&position, self.entries.back_mut())
            && back.joins(mark, position)
        {
            return Pushed::Joined;
        }
        let own = own_position(self.scale, mark);
        let is_told = position.is_some();
        let position = position.or_else(|| own.clone());
        if self.entries.len() >= Ledger::LIMIT {
            let first = self.entries.front().map_or(mark, |entry| entry.first);
            self.entries.clear();
            self.resolved = 0;
            self.entries.push_back(Entry {
                first,
                last: mark,
                position: own,
                is_told: false,
                is_reached: false,
            });
            self.publish_oldest_told();
            return Pushed::Apart;
        }
        if position.is_none()
            && let Some(unresolved) = self.unresolved()
            && sampled.is_none_or(|sampled| unresolved.last > sampled)
        {
            unresolved.last = mark;
            return Pushed::Joined;
        }
        self.entries.push_back(Entry {
            first: mark,
            last: mark,
            position,
            is_told,
            is_reached: false,
        });
        if is_told && self.reader.oldest_told().is_none() {
            self.reader.set_oldest_told(Some(mark));
        }
        Pushed::Apart
    }

    /// Where the first one of unknown position is; behind the last one if there is none.
    fn first_unresolved(&mut self) -> usize {
        let rest = self.entries.range(self.resolved..);
        let known = rest.take_while(|entry| entry.position.is_some());
        self.resolved += known.count();
        self.resolved
    }

    /// The last one of unknown position, if it is near.
    fn unresolved(&mut self) -> Option<&mut Entry> {
        let mut near = self.entries.iter_mut().rev().take(Ledger::NEAR);
        near.find(|entry| entry.position.is_none())
    }

    fn publish_oldest_told(&self) {
        let is_missing = |entry: &&Entry| entry.is_told && !entry.is_reached;
        let oldest = self.entries.iter().find(is_missing);
        self.reader.set_oldest_told(oldest.map(|entry| entry.first));
    }
}

impl Entry {
    /// Stands for a mark as well if the writer told GTIDs for both, one right after the other.
    fn joins(&mut self, mark: Mark, position: &Position) -> bool {
        let is_near = mark.0 - self.first.0 < nanos(Ledger::GRAIN);
        if !self.is_told || self.is_reached || !is_near {
            return false;
        }
        let (Some(own), Position::Gtids(other)) = (&mut self.position, position) else {
            return false;
        };
        let Position::Gtids(set) = Arc::make_mut(own) else {
            return false;
        };
        let is_joined = set.join(other);
        if is_joined {
            self.last = mark;
        }
        is_joined
    }
}

/// What a reader must reach where that is known without asking the writer.
fn own_position(scale: Option<Scale>, mark: Mark) -> Option<Arc<Position>> {
    (scale == Some(Scale::Moments)).then(|| Arc::new(Position::Moment(mark)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::consistency::GtidSet;

    /// A ledger, and its only reader, which has nothing to reach.
    fn caught_up() -> (Ledger, Arc<Reader>) {
        let text = include_str!("../../../configs/minimal.toml");
        let config = Config::parse(text, Path::new("minimal.toml")).unwrap();
        let endpoint = Arc::new(Endpoint::new(&config.endpoints[1]).unwrap());
        let ledger = Ledger::new(1);
        let reader = ledger.follow(&[endpoint]).remove(0);
        ledger.adopt(&reader, Scale::Gtids);
        ledger.resolve(Scale::Gtids, ledger.begin_sample(), up_to(1));
        ledger.reached(&reader, 0, &up_to(1));
        assert_eq!(ledger.next_sample(), NextSample::Never);
        (ledger, reader)
    }

    fn gtids(numbers: &str) -> GtidSet {
        let text = format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:{numbers}");
        GtidSet::parse(&text, false).unwrap()
    }

    fn up_to(number: u64) -> Position {
        Position::Gtids(gtids(&format!("1-{number}")))
    }

    fn entries(ledger: &Ledger) -> usize {
        ledger.lock().queues[0].entries.len()
    }

    #[test]
    fn one_answer_is_good_for_marks_with_others_in_between() {
        let (ledger, reader) = caught_up();
        let seen = ledger.mark(Token::anything());
        let token = Token::gtids(gtids("2"));
        let written = ledger.mark(token.clone());
        let last = ledger.mark(Token::anything());
        assert_eq!(entries(&ledger), 2);
        // What was seen before may be newer than what was written.
        ledger.reached(&reader, 0, &up_to(2));
        assert!(!reader.has_seen(seen) && !reader.has_seen(written));
        assert!(reader.has_reached(written, Some(&token)));
        assert_eq!(ledger.next_sample(), NextSample::Now(Scale::Gtids));
        ledger.resolve(Scale::Gtids, ledger.begin_sample(), up_to(3));
        ledger.reached(&reader, 0, &up_to(2));
        assert!(!reader.has_seen(seen));
        ledger.reached(&reader, 0, &up_to(3));
        assert!(reader.has_seen(seen) && reader.has_seen(last));
        assert_eq!(ledger.next_sample(), NextSample::Never);
    }

    #[test]
    fn an_answer_is_good_for_no_mark_that_came_after_the_question() {
        let (ledger, reader) = caught_up();
        let before = ledger.mark(Token::anything());
        let sampled = ledger.begin_sample();
        let after = ledger.mark(Token::anything());
        ledger.resolve(Scale::Gtids, sampled, up_to(2));
        ledger.reached(&reader, 0, &up_to(2));
        assert!(reader.has_seen(before) && !reader.has_seen(after));
        assert_eq!(ledger.next_sample(), NextSample::Now(Scale::Gtids));
    }

    #[test]
    fn what_has_a_position_stays_so_however_far_behind_the_reader_is() {
        let (ledger, reader) = caught_up();
        for number in 2..6 {
            let seen = ledger.mark(Token::anything());
            assert_eq!(ledger.next_sample(), NextSample::Now(Scale::Gtids));
            ledger.resolve(Scale::Gtids, ledger.begin_sample(), up_to(number));
            assert_ne!(ledger.next_sample(), NextSample::Now(Scale::Gtids));
            // It has reached the one before.
            ledger.reached(&reader, 0, &up_to(number - 1));
            assert!(!reader.has_seen(seen));
            assert_eq!(entries(&ledger), 1);
        }
        // Those of another scale are asked for anew.
        ledger.adopt(&reader, Scale::Beats);
        assert_eq!(ledger.next_sample(), NextSample::Now(Scale::Beats));
    }

    #[test]
    fn what_the_writer_has_lost_holds_up_nothing() {
        let (ledger, reader) = caught_up();
        ledger.mark(Token::anything());
        let lost = ledger.mark(Token::gtids(gtids("7")));
        ledger.mark(Token::anything());
        for _ in 0..2 {
            ledger.resolve(Scale::Gtids, ledger.begin_sample(), up_to(3));
            ledger.reached(&reader, 0, &up_to(3));
        }
        assert!(reader.has_seen(lost));
        assert_eq!(entries(&ledger), 0);
    }
}
