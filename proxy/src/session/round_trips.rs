//! The round trips that sessions did not have to make.

use super::Session;
use crate::admin::metrics::SavedTrip;
use crate::topology::Endpoint;

impl Session {
    /// Counts a trip to an endpoint that was not made, with the length that the monitor measured.
    pub(super) fn save(&self, trip: SavedTrip, endpoint: &Endpoint) {
        let metrics = &self.shared.metrics.round_trips;
        metrics.saved.inc(trip);
        if let Some(length) = endpoint.round_trip() {
            metrics.seconds_saved.inc_by(length.as_secs_f64());
        }
    }
}
