//! The algorithms, and what they work with.

use std::cell::RefCell;

use flate2::{Compress, Decompress, FlushCompress, FlushDecompress, Status};
use zstd::bulk::{Compressor, Decompressor};

thread_local! {
    pub(super) static TABLES: RefCell<Tables> = RefCell::default();
}

/// What the algorithms work with, some hundred KiB. A frame leaves nothing in
/// it for the next one, so all connections that a thread serves share it.
#[derive(Default)]
pub(super) struct Tables {
    deflate: Option<Compress>,
    inflate: Option<Decompress>,
    zstd: Option<(u8, Compressor<'static>)>,
    unzstd: Option<Decompressor<'static>>,
}

impl Tables {
    /// Compresses `content` into `out`; returns the length, `None` if it does
    /// not fit.
    pub(super) fn deflate(&mut self, content: &[u8], out: &mut [u8]) -> Option<usize> {
        // Zlib's default level, as MySQL has it.
        let level = flate2::Compression::default();
        let deflate = self
            .deflate
            .get_or_insert_with(|| Compress::new(level, true));
        deflate.reset();
        match deflate.compress(content, out, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => usize::try_from(deflate.total_out()).ok(),
            _ => None,
        }
    }

    pub(super) fn inflate(&mut self, payload: &[u8], out: &mut [u8]) -> Option<usize> {
        let inflate = self.inflate.get_or_insert_with(|| Decompress::new(true));
        inflate.reset(true);
        match inflate.decompress(payload, out, FlushDecompress::Finish) {
            Ok(Status::StreamEnd) => usize::try_from(inflate.total_out()).ok(),
            _ => None,
        }
    }

    pub(super) fn zstd(&mut self, level: u8, content: &[u8], out: &mut [u8]) -> Option<usize> {
        let (known, zstd) = match &mut self.zstd {
            Some(zstd) => zstd,
            empty => empty.insert((level, Compressor::new(i32::from(level)).ok()?)),
        };
        if *known != level {
            zstd.set_compression_level(i32::from(level)).ok()?;
            *known = level;
        }
        zstd.compress_to_buffer(content, out).ok()
    }

    pub(super) fn unzstd(&mut self, payload: &[u8], out: &mut [u8]) -> Option<usize> {
        let unzstd = self.unzstd.get_or_insert_default();
        unzstd.decompress_to_buffer(payload, out).ok()
    }
}
