//! What the end-to-end tests share: a [`Stage`] with real servers and the proxy in
//! front of them, and the configuration that connects the two.
//!
//! The tests themselves are in `tests/`, a file (or folder) for each noun. They run
//! side by side and in any order. A test that stops servers, delays replication or
//! changes the configuration starts a stage of its own; all others share one for each
//! flavor and keep apart by schemas and tables of their own.

#![allow(clippy::unwrap_used, reason = "everything here runs in tests")]

pub mod aurora;
pub mod beside;
pub mod checker;
mod config;
mod garbling;
pub mod rig;
mod stage;
pub mod wire;

pub use config::{Table, config, set};
pub use garbling::garbling;
pub use stage::{Answered, Stage, connect, shared_stage};

/// Makes two tests of each function, one for each flavor, which get the
/// [`shared_stage`] of their flavor: `mysql::name` and `mariadb::name`.
///
/// ```ignore
/// isthmus_tests::on_each_flavor! {
///     async fn a_ping_is_answered(stage) {
///         stage.connect().await.ping().await.unwrap();
///     }
/// }
/// ```
#[macro_export]
macro_rules! on_each_flavor {
    ($($(#[$attribute:meta])* async fn $name:ident($stage:ident) $body:block)+) => {
        $($(#[$attribute])* async fn $name($stage: &'static $crate::Stage) $body)+

        mod mysql {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::shared_stage($crate::Flavor::Mysql).await).await;
            })+
        }

        mod mariadb {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::shared_stage($crate::Flavor::Mariadb).await).await;
            })+
        }
    };
}

/// Makes two tests of each of these functions, which take a flavor: `mysql::name` and
/// `mariadb::name`.
#[macro_export]
macro_rules! on_both {
    ($($name:ident)+) => {
        mod mysql {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::Flavor::Mysql).await;
            })+
        }

        mod mariadb {
            $(#[tokio::test]
            async fn $name() {
                super::$name($crate::Flavor::Mariadb).await;
            })+
        }
    };
}

#[doc(no_inline)]
pub use isthmus_lab::Flavor;
