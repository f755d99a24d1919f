//! Which tables a session's mark is about, for `consistency.pin = "tables"`.

use super::Session;
use super::work::Work;
use crate::config::Pinning;
use crate::sql::{Kind, Plan};

/// Tables, by schema and name in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Touched {
    /// All, or nobody knows which.
    All,
    /// These.
    These(Vec<(Vec<u8>, Vec<u8>)>),
}

impl Default for Touched {
    /// None.
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

impl Touched {
    /// More than these are not told apart.
    const MOST: usize = 64;

    /// What a statement reads or writes. Views, triggers and cascades are not seen, and what is not
    /// a plain statement about tables that are all known counts as touching all.
    pub(super) fn by(plan: &Plan, schema: Option<&[u8]>) -> Self {
        use Kind::{Delete, Insert, Replace, Select, Update};
        let is_plain = matches!(plan.kind, Select | Insert | Replace | Update | Delete);
        let tables = plan.tables.as_deref().filter(|tables| !tables.is_empty());
        let Some(tables) = tables.filter(|_| is_plain) else {
            return Self::All;
        };
        let names = tables.iter().map(|table| {
            let schema = table.schema.as_deref().map(str::as_bytes).or(schema)?;
            let name = table.name.as_bytes();
            Some((schema.to_ascii_lowercase(), name.to_ascii_lowercase()))
        });
        names.collect::<Option<_>>().map_or(Self::All, Self::These)
    }

    /// Adds others.
    pub(super) fn add(&mut self, others: Self) {
        match (&mut *self, others) {
            (Self::These(own), Self::These(others)) => {
                for other in others {
                    if !own.contains(&other) {
                        own.push(other);
                    }
                }
                if own.len() > Self::MOST {
                    *self = Self::All;
                }
            }
            _ => *self = Self::All,
        }
    }

    /// The same, or all if there are none: then nobody has told them apart.
    pub(super) fn or_all(self) -> Self {
        match self {
            Self::These(tables) if tables.is_empty() => Self::All,
            told => told,
        }
    }

    /// Whether some table is among both.
    pub(super) fn meets(&self, others: &Self) -> bool {
        match (self, others) {
            (Self::These(own), Self::These(others)) => own.iter().any(|own| others.contains(own)),
            (Self::All, Self::All) => true,
            (Self::These(some), Self::All) | (Self::All, Self::These(some)) => !some.is_empty(),
        }
    }
}

impl Session {
    /// Takes note of what the names in a statement mean: what they meant when it was prepared.
    pub(super) fn note_names(&mut self, work: &Work<'_>) {
        if self.world.config.consistency.pin == Pinning::Tables {
            let statement = work.executed();
            self.prepared_in = statement.map(|statement| statement.state.clone());
        }
    }

    /// What the statement at hand reads or writes.
    pub(super) fn touched_by(&self, plan: &Plan) -> Touched {
        let state = self.prepared_in.as_ref().unwrap_or(&self.state);
        Touched::by(plan, state.schema.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Dialect, PlanCache};

    fn by(sql: &str, schema: Option<&str>) -> Touched {
        let planned = PlanCache::new(1).plan(sql.as_bytes(), Dialect::default(), false);
        Touched::by(&planned.plan, schema.map(str::as_bytes))
    }

    #[test]
    fn tables_meet_by_schema_and_name() {
        let insert = by("INSERT INTO orders VALUES (1)", Some("Shop"));
        for (read, meets) in [
            ("SELECT * FROM orders", true),
            (
                "SELECT * FROM `shop`.`ORDERS` o JOIN lines l ON l.o = o.id",
                true,
            ),
            ("SELECT * FROM lines", false),
            ("SELECT * FROM old.orders", false),
            ("SELECT (SELECT COUNT(*) FROM orders)", true),
            // Nobody knows what these read.
            ("SELECT price_of(id) FROM lines", true),
            ("SELECT 1", true),
            ("SHOW TABLES", true),
            ("START TRANSACTION READ ONLY", true),
        ] {
            let read_by = by(read, Some("shop"));
            assert_eq!(read_by.meets(&insert), meets, "{read}");
            assert_eq!(insert.meets(&read_by), meets, "{read}");
        }
        for write in [
            "CALL buy(1)",
            "ALTER TABLE orders ADD n INT",
            "LOAD DATA INFILE 'x' INTO TABLE t",
        ] {
            assert_eq!(by(write, Some("shop")), Touched::All, "{write}");
        }
        assert_eq!(by("DELETE FROM orders", None), Touched::All);
        assert!(!Touched::default().meets(&Touched::All));
    }

    #[test]
    fn too_many_are_all() {
        let mut touched = Touched::default();
        for number in 0..=Touched::MOST {
            assert_ne!(touched, Touched::All);
            touched.add(by(&format!("DELETE FROM t{number}"), Some("s")));
        }
        assert_eq!(touched, Touched::All);
    }
}
