//! `SHOW ISTHMUS`: what the proxy says of itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use isthmus_protocol::column::ColumnDefinition;
use isthmus_protocol::result_set::{Form, ResultSet, Value};

use super::Session;
use super::conversation::Flow;
use super::deferred::Owed;
use super::registry::{Activity, Handle};
use crate::config;
use crate::error::SqlError;
use crate::routing::Transaction;
use crate::sql::{self, Topic};
use crate::topology::Endpoint;

impl Session {
    /// Answers `SHOW ISTHMUS`. The session is left as it was: the last statement stays the last.
    pub(super) async fn show_isthmus(&mut self, sql: &[u8], form: Form) -> io::Result<Flow> {
        match self.about(sql) {
            Ok(result) => self.client.send_result(&result, form, false).await?,
            Err(error) => self.client.send_error(&error).await?,
        }
        Ok(Flow::Continue)
    }

    /// The answer to a `SHOW ISTHMUS`.
    pub(super) fn about(&self, sql: &[u8]) -> Result<ResultSet, SqlError> {
        let topic = sql::topic(sql, self.state.dialect).ok_or_else(SqlError::unknown_topic)?;
        Ok(match topic {
            Topic::Session => self.about_session(),
            Topic::Sessions => self.about_sessions(),
            Topic::Last => self.about_last(),
            Topic::Status => self.about_status(),
            Topic::Topology => self.about_topology(),
        })
    }

    fn about_session(&self) -> ResultSet {
        let columns = vec![
            ColumnDefinition::text("kind"),
            ColumnDefinition::text("name"),
            ColumnDefinition::text("value"),
            ColumnDefinition::double("seconds"),
            ColumnDefinition::text("statement"),
        ];
        let mut rows = self.session_facts();
        rows.extend(self.holding.taken().iter().map(|taken| {
            let seconds = taken.since.elapsed().as_secs_f64();
            row(
                "hold",
                taken.hold.name(),
                Value::Null,
                Some(seconds),
                Some(taken.by.name()),
            )
        }));
        let variables = self.state.shown_variables().chain(&self.own_variables);
        rows.extend(
            variables.map(|(name, value)| row("variable", name, Value::text(value), None, None)),
        );
        rows.extend(self.state.user_variables.iter().map(|(name, value)| {
            let value = value.text().map_or(Value::Null, Value::text);
            row("user_variable", name, value, None, None)
        }));
        ResultSet { columns, rows }
    }

    fn session_facts(&self) -> Vec<Vec<Value>> {
        let who = self.handle.who();
        let fact = |name, value| row("session", name, value, None, None);
        let lease = self.lease.as_ref();
        let pinned = self.pinned_seconds();
        vec![
            fact("id", Value::text(self.handle.id.to_string())),
            fact("user", Value::text(&who.user)),
            fact("address", address(who.address)),
            fact(
                "schema",
                self.state.schema.as_ref().map_or(Value::Null, Value::text),
            ),
            fact("transaction", self.transaction_name().into()),
            fact("deferred", self.deferred_statements()),
            row(
                "session",
                "pinned",
                yes_or_no(pinned.is_some()),
                pinned,
                None,
            ),
            fact(
                "endpoint",
                lease.map(|lease| lease.endpoint().name.as_str()).into(),
            ),
            fact(
                "connection",
                lease.map_or(Value::Null, |lease| {
                    Value::text(lease.thread_id.to_string())
                }),
            ),
            fact("multi_statements", yes_or_no(self.state.multi_statements)),
            fact(
                "prepared_statements",
                Value::text(self.statements.len().to_string()),
            ),
        ]
    }

    /// What the server has yet to be told; NULL where that is nothing.
    fn deferred_statements(&self) -> Value {
        let owed = self.deferred.owed().iter().map(Owed::sql);
        let owed = owed.collect::<Vec<_>>().join("; ");
        Some(owed.as_str()).filter(|owed| !owed.is_empty()).into()
    }

    fn transaction_name(&self) -> &'static str {
        match self.transaction {
            Transaction::None => "none",
            Transaction::ReadWrite => "read write",
            Transaction::ReadOnly | Transaction::ReadOnlyOnWriter => "read only",
        }
    }

    /// For how long the session has been pinned; `None` if it is not.
    fn pinned_seconds(&self) -> Option<f64> {
        let mark = self.mark_to_see()?;
        let has_seen = self
            .reader()
            .is_some_and(|(reader, _)| self.world.readers[reader].has_seen(mark));
        (!has_seen).then(|| self.shared.ledger.since(mark).as_secs_f64())
    }

    fn about_last(&self) -> ResultSet {
        let columns = vec![
            ColumnDefinition::text("statement"),
            ColumnDefinition::text("route"),
            ColumnDefinition::text("endpoint"),
            ColumnDefinition::text("reason"),
            ColumnDefinition::double("seconds"),
            ColumnDefinition::integer("trips"),
            ColumnDefinition::integer("error"),
        ];
        let last = &self.last;
        let rows = last.kind.map(|kind| {
            vec![
                kind.name().into(),
                last.route.name().into(),
                last.endpoint
                    .as_ref()
                    .map(|endpoint| endpoint.name.as_str())
                    .into(),
                Value::text(last.reason.text().as_bytes()),
                last.duration.as_secs_f64().into(),
                Value::integer(last.trips),
                last.error.map_or(Value::Null, Value::integer),
            ]
        });
        ResultSet {
            columns,
            rows: rows.into_iter().collect(),
        }
    }

    fn about_status(&self) -> ResultSet {
        let figures = self.shared.metrics.figures().unwrap_or_default();
        ResultSet {
            columns: vec![
                ColumnDefinition::text("name"),
                ColumnDefinition::double("value"),
            ],
            rows: figures
                .into_iter()
                .map(|(name, value)| {
                    let value = Some(value).filter(|value| value.is_finite());
                    vec![Value::text(name), value.into()]
                })
                .collect(),
        }
    }

    fn about_topology(&self) -> ResultSet {
        let columns = vec![
            ColumnDefinition::text("name"),
            ColumnDefinition::text("address"),
            ColumnDefinition::text("region"),
            ColumnDefinition::text("role"),
            ColumnDefinition::integer("up"),
            ColumnDefinition::integer("read_only"),
            ColumnDefinition::double("round_trip_seconds"),
            ColumnDefinition::double("lag_seconds"),
            ColumnDefinition::text("position"),
            ColumnDefinition::integer("connections"),
            ColumnDefinition::integer("connections_in_use"),
            ColumnDefinition::text("source"),
            ColumnDefinition::text("source_reason"),
            ColumnDefinition::double("catch_up_seconds"),
            ColumnDefinition::integer("guesses"),
            ColumnDefinition::integer("wrong_guesses"),
            ColumnDefinition::text("behind"),
        ];
        let endpoints = &self.world.config.endpoints;
        let rows = self.world.snapshot.all().filter_map(|endpoint| {
            let config = endpoints.iter().find(|config| endpoint.is(config))?;
            Some(self.about_endpoint(endpoint, config))
        });
        ResultSet {
            columns,
            rows: rows.collect(),
        }
    }

    fn about_endpoint(&self, endpoint: &Arc<Endpoint>, config: &config::Endpoint) -> Vec<Value> {
        let seen = endpoint.sign_of_life();
        let seen = seen.as_ref();
        let mut readers = self.world.readers.iter();
        let reader = readers.find(|reader| Arc::ptr_eq(&reader.endpoint, endpoint));
        let lag = reader.map(|reader| self.shared.ledger.age(reader).as_secs_f64());
        let usage = self.shared.pools.usage(endpoint);
        let choice = reader.and_then(|reader| reader.choice());
        let catch_up = reader.and_then(|reader| reader.median_catch_up());
        let guesses = reader.map(|reader| &reader.guesses);
        vec![
            endpoint.name.as_str().into(),
            Value::text(endpoint.address.to_string()),
            config.region.as_str().into(),
            config.role.as_str().into(),
            Value::integer(endpoint.is_up() && endpoint.server().is_some()),
            seen.map_or(Value::Null, |seen| Value::integer(seen.read_only)),
            endpoint.round_trip().map(|trip| trip.as_secs_f64()).into(),
            lag.into(),
            seen.and_then(|seen| seen.position.as_deref()).into(),
            Value::integer(usage.open),
            Value::integer(usage.in_use),
            choice.map(|choice| choice.source).into(),
            choice.map(|choice| choice.reason.as_str()).into(),
            catch_up.map(|time| time.as_secs_f64()).into(),
            guesses.map_or(Value::Null, |guesses| Value::integer(guesses.made.get())),
            guesses.map_or(Value::Null, |guesses| Value::integer(guesses.wrong.get())),
            endpoint
                .behind()
                .as_ref()
                .map(|reason| reason.as_str())
                .into(),
        ]
    }

    fn about_sessions(&self) -> ResultSet {
        let columns = vec![
            ColumnDefinition::integer("id"),
            ColumnDefinition::text("user"),
            ColumnDefinition::text("address"),
            ColumnDefinition::text("schema"),
            ColumnDefinition::text("state"),
            ColumnDefinition::double("seconds"),
            ColumnDefinition::text("held"),
            ColumnDefinition::text("endpoint"),
        ];
        let own = &self.identity.user.name;
        let config = self.world.config.user(own);
        let sees_all = config.is_some_and(|user| user.sees_all_sessions);
        let mut handles = self.shared.sessions.all();
        handles.retain(|handle| sees_all || handle.who().user == *own);
        handles.sort_unstable_by_key(|handle| handle.id);
        ResultSet {
            columns,
            rows: handles
                .iter()
                .map(|handle| self.about_other(handle))
                .collect(),
        }
    }

    fn about_other(&self, handle: &Handle) -> Vec<Value> {
        let who = handle.who();
        let (activity, duration) = self.shared.sessions.activity(handle);
        let state = match activity {
            _ if who.user.is_empty() => "logging in",
            Activity::Waiting => "waiting",
            Activity::Working => "working",
        };
        let running = handle.running();
        vec![
            Value::integer(handle.id),
            Value::text(&who.user),
            address(who.address),
            who.schema.map_or(Value::Null, Value::Text),
            state.into(),
            duration.as_secs_f64().into(),
            Value::text(handle.held().names().join(", ")),
            running
                .as_ref()
                .map(|running| running.origin.endpoint.name.as_str())
                .into(),
        ]
    }
}

/// A row of `SHOW ISTHMUS SESSION`.
fn row(
    kind: &str,
    name: &str,
    value: Value,
    seconds: Option<f64>,
    statement: Option<&str>,
) -> Vec<Value> {
    vec![
        kind.into(),
        name.into(),
        value,
        seconds.into(),
        statement.into(),
    ]
}

fn yes_or_no(is_so: bool) -> Value {
    if is_so { "yes" } else { "no" }.into()
}

fn address(address: Option<SocketAddr>) -> Value {
    address.map_or(Value::Null, |address| Value::text(address.to_string()))
}
