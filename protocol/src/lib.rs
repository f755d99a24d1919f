//! The MySQL client/server protocol, as bytes in and values out.
//!
//! | module | what lives there |
//! | --- | --- |
//! | [`packet`] | headers, framing, splitting and joining of large messages |
//! | [`compression`] | packets in compressed frames |
//! | [`lenenc`] | the basic data types: integers and strings |
//! | [`capabilities`], [`status`] | the flags both sides exchange |
//! | [`handshake`] | greeting, TLS request, login, change of user, authentication switch |
//! | [`auth`] | the arithmetic of the authentication plugins |
//! | [`command`], [`query_attributes`] | command bytes, `COM_STMT_EXECUTE`, `COM_STMT_SEND_LONG_DATA`; what may stand before the text of a `COM_QUERY` |
//! | [`ok`], [`error_packet`], [`session_track`] | the packets that end a response, and what they report |
//! | [`prepared`], [`mod@column`], [`result_set`] | answers to a prepare, column definitions, made-up result sets |
//! | [`response`] | where the pieces of a response begin and end, without looking into rows |
//! | [`error`] | what can be wrong with bytes |
//!
//! What may not live here: I/O, async, logging, clocks, random numbers, and
//! policy. Nothing here decides where a statement goes, who may log in or how
//! long to wait; those who do hand in bytes and get values or an error back.
//! No input makes this crate panic, and none makes it ask for an unbounded
//! buffer.
//!
//! "The manual" in the comments is the protocol chapter of the MySQL source
//! documentation (<https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html>);
//! where MariaDB differs, its own is named
//! (<https://mariadb.com/kb/en/clientserver-protocol/>).
//!
//! A word on sequence ids: payload functions (`encode`, `put_…`) do not know
//! them. The functions of [`packet`] and [`result_set::ResultSet`] take the id of
//! the first packet to write and return the id that follows the last one. The
//! caller owns the counter.

#![forbid(unsafe_code)]

pub mod auth;
pub mod capabilities;
pub mod column;
pub mod command;
pub mod compression;
pub mod error;
pub mod error_packet;
pub mod handshake;
pub mod lenenc;
pub mod ok;
pub mod packet;
pub mod prepared;
pub mod query_attributes;
pub mod response;
pub mod result_set;
pub mod session_track;
pub mod sqlstate;
pub mod status;

pub use error::ProtocolError;
