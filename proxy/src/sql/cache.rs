//! The plan cache.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::dialect::Dialect;
use super::digest::{self, Digest};
use super::hint::Hints;
use super::plan::{Holds, Place, Plan};
use super::{script, shape};
use crate::per_thread::PerThread;

/// Plans by digest and dialect, bounded in number. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct PlanCache {
    plans: quick_cache::sync::Cache<PlanKey, Arc<Plan>>,
    /// The same by the shape of a text, for texts that need no scan.
    shapes: PerThread<Mutex<Shapes>>,
    /// Whether more is known of some statement than its text says.
    has_learnt: AtomicBool,
    /// Makes this cache's digests its own: nobody can make up a statement that is found under
    /// another statement's digest.
    seed: u64,
}

/// What a plan is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlanKey {
    digest: Digest,
    dialect: Dialect,
    multi_statements: bool,
}

/// A packet's plan and hints.
#[derive(Debug, Clone)]
pub struct Planned {
    /// What the plan is kept under.
    pub key: PlanKey,
    /// What the packet says; of several statements, the plan of them all together.
    pub plan: Arc<Plan>,
    /// What its comments ask for.
    pub hints: Hints,
    /// Whether the plan was known before.
    pub is_known: bool,
    /// How many statements there are; 0 if there is nothing but spaces and comments.
    pub statements: usize,
}

/// So many shapes each thread keeps.
const PLACES: usize = 512;

/// Plans by the shape of a text, each in the one place that its shape has.
#[derive(Debug)]
struct Shapes {
    /// Where shapes are written.
    buffer: Box<[u8; shape::LONGEST]>,
    places: Box<[Option<Known>]>,
}

#[derive(Debug)]
struct Known {
    shape: Box<[u8]>,
    planned: Planned,
}

impl Default for Shapes {
    fn default() -> Self {
        Self {
            buffer: Box::new([0; shape::LONGEST]),
            places: std::iter::repeat_with(|| None).take(PLACES).collect(),
        }
    }
}

impl Known {
    fn new(shape: &[u8], planned: &Planned) -> Self {
        let planned = Planned {
            is_known: true,
            // The thread's own, whose count no other thread changes.
            plan: Arc::new(Plan::clone(&planned.plan)),
            ..planned.clone()
        };
        Self {
            shape: shape.into(),
            planned,
        }
    }
}

fn lock(shapes: &Mutex<Shapes>) -> MutexGuard<'_, Shapes> {
    shapes.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PlanCache {
    /// A cache of at most about `capacity` plans.
    pub fn new(capacity: usize) -> PlanCache {
        PlanCache {
            has_learnt: AtomicBool::new(false),
            plans: quick_cache::sync::Cache::new(capacity),
            shapes: PerThread::default(),
            seed: RandomState::new().hash_one(capacity),
        }
    }

    /// The plan of a packet's SQL. `multi_statements` tells whether the client may send several
    /// statements in one packet.
    pub fn plan(&self, sql: &[u8], dialect: Dialect, multi_statements: bool) -> Planned {
        let mut shapes = lock(self.shapes.own());
        let Shapes { buffer, places } = &mut *shapes;
        let shape = shape::of(sql, dialect, multi_statements, buffer);
        let place = shape.and_then(|shape| places.get_mut(digest::hash(shape) % PLACES));
        if let (Some(shape), Some(Some(known))) = (shape, place.as_deref())
            && *known.shape == *shape
        {
            return known.planned.clone();
        }
        let (Some(shape), Some(place)) = (shape, place) else {
            // The scan may take long.
            drop(shapes);
            return self.plan_scanned(sql, dialect, multi_statements).0;
        };
        let (planned, do_literals_decide) = self.plan_scanned(sql, dialect, multi_statements);
        if !do_literals_decide {
            *place = Some(Known::new(shape, &planned));
        }
        planned
    }

    /// The plan of a packet that has to be scanned, and whether it depends on what its literals
    /// say.
    fn plan_scanned(
        &self,
        sql: &[u8],
        dialect: Dialect,
        multi_statements: bool,
    ) -> (Planned, bool) {
        let scan = digest::scan(sql, dialect, self.seed);
        let key = PlanKey {
            digest: scan.digest,
            dialect,
            multi_statements,
        };
        let known = self.plans.get(&key);
        let is_known = known.is_some();
        let plan = known.unwrap_or_else(|| {
            let plan = script::read(sql, dialect, multi_statements).plan(sql, dialect);
            self.plans.insert(key, Arc::clone(&plan));
            plan
        });
        let planned = Planned {
            key,
            statements: match plan.parts.len() {
                0 => scan.statements.min(1),
                parts => parts,
            },
            is_known,
            plan,
            hints: scan.hints,
        };
        (planned, scan.do_literals_decide)
    }

    /// From now on, every statement that has this key goes to the writer: a reader has refused it
    /// as a write.
    pub fn remember_writer(&self, planned: &Planned) -> Planned {
        let mut plan = Plan::clone(&planned.plan);
        plan.place = Place::Writer;
        plan.reader_if_allowed = false;
        plan.marks = true;
        plan.reason = Cow::Borrowed("a reader has refused it as a write");
        self.remember(planned, plan)
    }

    /// From now on, every statement that has this key is one that takes a user lock, of which its
    /// text says nothing.
    pub fn remember_lock(&self, planned: &Planned) -> Planned {
        let mut plan = Plan::clone(&planned.plan);
        plan.holds |= Holds::USER_LOCK;
        plan.hides_locks = true;
        plan.place = Place::Writer;
        plan.reader_if_allowed = false;
        plan.reason = Cow::Borrowed("a routine that it runs has taken a user lock");
        self.remember(planned, plan)
    }

    fn remember(&self, planned: &Planned, plan: Plan) -> Planned {
        let plan = Arc::new(plan);
        self.plans.insert(planned.key, Arc::clone(&plan));
        self.has_learnt.store(true, Ordering::Release);
        // Where one is put back by somebody who has just looked it up, it is found out once more.
        for shapes in self.shapes.all() {
            lock(shapes).places.fill_with(|| None);
        }
        Planned {
            plan,
            ..planned.clone()
        }
    }

    /// What is known today of a statement that was planned before.
    pub fn refresh<'a>(&self, planned: &'a Planned) -> Cow<'a, Planned> {
        if !self.has_learnt.load(Ordering::Acquire) {
            return Cow::Borrowed(planned);
        }
        match self.plans.get(&planned.key) {
            Some(plan) if !Arc::ptr_eq(&plan, &planned.plan) => Cow::Owned(Planned {
                plan,
                ..planned.clone()
            }),
            _ => Cow::Borrowed(planned),
        }
    }

    /// How many plans there are.
    pub fn len(&self) -> usize {
        self.plans.len()
    }

    /// True if there is no plan.
    pub fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }
}
