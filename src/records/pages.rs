use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use parquet::{
    errors::{ParquetError, Result},
    file::reader::{ChunkReader, Length},
};
use std::{
    fs::File,
    io::{self, Read},
};

/// A page has less, packed or not: writers end one after a megabyte or some
/// thousand rows.
const LARGEST: u64 = 256 << 20;

/// What gzip begins with.
const GZIP: &[u8] = &[0x1f, 0x8b];

/// A file whose pages are looked at before they are unpacked: most codecs are
/// told how large a page may get, but gzip packs a thousand to one and its
/// reader goes on to the end.
pub struct Pages(pub File);

impl Length for Pages {
    fn len(&self) -> u64 {
        Length::len(&self.0)
    }
}

impl ChunkReader for Pages {
    type T = <File as ChunkReader>::T;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        self.0.get_read(start)
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        if length as u64 > LARGEST {
            return Err(too_large());
        }
        let bytes = self.0.get_bytes(start, length)?;
        if bytes.starts_with(GZIP) {
            let mut unpacked = MultiGzDecoder::new(&bytes[..]).take(LARGEST + 1);
            // What is no gzip after all is its reader's to tell.
            if io::copy(&mut unpacked, &mut io::sink()).is_ok_and(|size| size > LARGEST) {
                return Err(too_large());
            }
        }
        Ok(bytes)
    }
}

fn too_large() -> ParquetError {
    ParquetError::General(format!("a page has more than {} MiB", LARGEST >> 20))
}
