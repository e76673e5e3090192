//! Vectored writes of many small and some large pieces.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Payloads from this size on are sent from where they lie; smaller ones are copied together,
/// which is cheaper than one more slice for the kernel.
const GATHER_FROM: usize = 1024;
/// Slices in one vectored write; Linux takes at most 1024 (`IOV_MAX`).
const SLICES_MAX: usize = 64;

/// Bytes to be written in a row.
#[derive(Debug, Default)]
pub struct Chunks {
    whole: VecDeque<Bytes>,
    small: BytesMut,
}

impl Chunks {
    /// Adds a frame: what `head` writes, then the payload.
    pub fn push(&mut self, head: impl FnOnce(&mut BytesMut), payload: &Bytes) {
        head(&mut self.small);
        if payload.len() < GATHER_FROM {
            self.small.extend_from_slice(payload);
        } else {
            self.whole.push_back(self.small.split().freeze());
            self.whole.push_back(payload.clone());
        }
    }

    /// Whether everything is written.
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.small.is_empty()
    }

    /// Writes once; says how many bytes the peer took. Cancel safe: what was written is taken out,
    /// the rest stays.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn write_some(&mut self, out: &mut (impl AsyncWrite + Unpin)) -> io::Result<usize> {
        if !self.small.is_empty() {
            self.whole.push_back(self.small.split().freeze());
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        for (slice, chunk) in slices.iter_mut().zip(&self.whole) {
            *slice = IoSlice::new(chunk);
        }
        let used = self.whole.len().min(SLICES_MAX);
        let written = out.write_vectored(slices.get(..used).unwrap_or_default()).await?;
        if written == 0 && used > 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.advance(written);
        Ok(written)
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(first) = self.whole.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.whole.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_and_large_payloads_come_out_in_their_order() {
        let large = Bytes::from(vec![7; 5000]);
        let mut chunks = Chunks::default();
        let mut expected = Vec::new();
        for payload in [Bytes::from_static(b"a"), large.clone(), Bytes::from_static(b"b"), large] {
            chunks.push(|head| head.extend_from_slice(b"head"), &payload);
            expected.extend_from_slice(b"head");
            expected.extend_from_slice(&payload);
        }
        let mut out = Vec::new();
        while !chunks.is_empty() {
            chunks.write_some(&mut out).await.unwrap();
        }
        assert_eq!(out, expected);
    }
}
