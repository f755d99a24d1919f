//! The session's last statement: where it went, and why.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::aside::PREPARED_ASIDE;
use super::deferred::AT_ONCE;
use crate::routing::Route;
use crate::sql::{Holds, Kind, Place, Plan};
use crate::topology::Endpoint;

/// Why a statement of a session that has written went to a reader that is behind.
const WRITER_DOWN: &str = "the writer cannot be reached, and the user may read an old state then";

/// What there is to say of the last statement.
#[derive(Debug)]
pub(super) struct Last {
    /// What it was; `None` before the first one.
    pub(super) kind: Option<Kind>,
    pub(super) route: Place,
    pub(super) reason: Reason,
    /// Where it ran, if it got there. Kept from one statement to the next that runs there too.
    pub(super) endpoint: Option<Arc<Endpoint>>,
    /// From its last byte received to the last byte of its answer sent.
    pub(super) duration: Duration,
    /// How often the proxy waited for an answer of the server.
    pub(super) trips: u32,
    /// The number of the error that answered it.
    pub(super) error: Option<u16>,
}

/// Why it went there.
#[derive(Debug)]
pub(super) enum Reason {
    /// What the route says.
    Route(Cow<'static, str>),
    /// The session had a connection, for these reasons.
    Held(Holds),
}

impl Default for Last {
    fn default() -> Self {
        Self {
            kind: None,
            route: Place::Proxy,
            reason: Reason::Route(Cow::Borrowed("")),
            endpoint: None,
            duration: Duration::ZERO,
            trips: 0,
            error: None,
        }
    }
}

impl Last {
    /// A statement begins.
    pub(super) fn begin(&mut self, plan: &Plan) {
        self.kind = Some(plan.kind);
        self.trips = 0;
        self.error = None;
    }

    /// It goes where the route says.
    pub(super) fn routed(&mut self, route: Route) {
        self.route = route.target;
        self.reason = Reason::Route(route.reason);
    }

    /// It goes to the writer after all.
    pub(super) fn redirected(&mut self, reason: &'static str) {
        self.route = Place::Writer;
        self.reason = Reason::Route(Cow::Borrowed(reason));
    }

    /// It goes to the reader though that is behind.
    pub(super) fn made_do_with_reader(&mut self) {
        self.route = Place::Reader;
        self.reason = Reason::Route(Cow::Borrowed(WRITER_DOWN));
    }

    /// It runs on this endpoint.
    pub(super) fn runs_on(&mut self, endpoint: &Arc<Endpoint>) {
        let is_known = |known: &Arc<Endpoint>| Arc::ptr_eq(known, endpoint);
        if !self.endpoint.as_ref().is_some_and(is_known) {
            self.endpoint = Some(endpoint.clone());
        }
    }

    /// The reader was asked what it makes of the statement.
    pub(super) fn prepared_aside(&mut self, duration: Duration) {
        self.kind = Some(Kind::Prepare);
        self.route = Place::Reader;
        self.reason = Reason::Route(Cow::Borrowed(PREPARED_ASIDE));
        self.duration = duration;
    }

    /// The answer was given before the server had anything to say.
    pub(super) fn at_once(&mut self) {
        self.reason = Reason::Route(Cow::Borrowed(AT_ONCE));
    }

    /// The proxy gave the answer.
    pub(super) fn answered_here(&mut self, plan: &Plan, duration: Duration, error: Option<u16>) {
        self.begin(plan);
        self.routed(Route {
            target: plan.place,
            reason: plan.reason.clone(),
        });
        self.endpoint = None;
        self.duration = duration;
        self.error = error;
    }
}

impl Reason {
    /// A sentence.
    pub(super) fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Route(reason) => Cow::Borrowed(reason),
            Self::Held(holds) => Cow::Owned(format!(
                "the session keeps its connection: {}",
                holds.names().join(", ")
            )),
        }
    }
}
