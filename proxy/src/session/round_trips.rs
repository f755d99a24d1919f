//! The round trips that sessions did not have to make.

use super::Session;
use crate::admin::metrics::SavedTrip;
use crate::topology::Endpoint;

impl Session {
    /// Counts a trip to an endpoint that was not made, with the length that the monitor measured
    /// last.
    pub(super) fn save(&self, trip: SavedTrip, endpoint: &Endpoint) {
        let metrics = &self.shared.metrics.round_trips;
        metrics.saved.inc(trip);
        if let Some(seen) = endpoint.sign_of_life() {
            metrics.seconds_saved.inc_by(seen.round_trip.as_secs_f64());
        }
    }
}
