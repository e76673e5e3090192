//! Many sessions in the payload of one link frame, written and read without a copy of any.

use bytes::{Bytes, BytesMut};
use prost::encoding::{encode_varint, encoded_len_varint, fixed64, int64, sint64, string};

use crate::{
    ChannelId, LinkError, LinkFrame, Stamp,
    link::{Session, SessionsUp, frame::Kind},
};

pub use self::view::{ChannelView, SessionView, session_views};

mod view;

/// Number of the field that stands in place of a channel id that its gateway made.
const CHANNEL_RANDOM: u32 = 12;
/// Number of the field that stands in place of a login's stamp.
const ORDER_DIFFERENCE: u32 = 15;

/// Sessions that are put together into one frame. Never more than [`SessionBatch::FULL`] bytes and
/// one session: callers send it once it is full.
#[derive(Debug, Default)]
pub struct SessionBatch {
    bytes: BytesMut,
    sessions: usize,
    /// Of the session that is being added.
    rest: Vec<u8>,
    /// Service id of the gateway that sends the batch.
    gateway: Option<Box<str>>,
}

// === impl SessionBatch ===

impl SessionBatch {
    /// Bytes from which on a batch is full: far below what a link takes in a frame, and few enough
    /// that a reader is at work on one while the next is written.
    pub const FULL: usize = 32 << 10;

    /// A batch that is sent by the gateway with this service id: of a channel id that it made, only
    /// the random number is told.
    pub fn new(gateway: &str) -> Self {
        Self { gateway: Some(gateway.into()), ..Self::default() }
    }

    /// Adds a session.
    pub fn push(&mut self, session: &Session) {
        self.reserve();
        self.rest.clear();
        encode_rest(session, self.gateway.as_deref(), &mut self.rest);
        let found_by = [&session.account, &session.app, &session.device];
        let numbers = [session.id].into_iter().chain(found_by.map(|text| text.len() as u64));
        let len = numbers.clone().map(encoded_len_varint).sum::<usize>()
            + found_by.map(String::len).iter().sum::<usize>()
            + self.rest.len();
        encode_varint(len as u64, &mut self.bytes);
        numbers.for_each(|number| encode_varint(number, &mut self.bytes));
        found_by.iter().for_each(|text| self.bytes.extend_from_slice(text.as_bytes()));
        self.bytes.extend_from_slice(&self.rest);
        self.sessions += 1;
    }

    /// Adds `sessions` sessions, encoded by another batch.
    pub fn extend(&mut self, encoded: &[u8], sessions: usize) {
        self.reserve();
        self.bytes.extend_from_slice(encoded);
        self.sessions += sessions;
    }

    fn reserve(&mut self) {
        if self.bytes.is_empty() {
            self.bytes.reserve(Self::FULL + Self::FULL / 8);
        }
    }

    /// Returns whether the batch is to be sent before more is added.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= Self::FULL
    }

    /// Returns the number of sessions in the batch.
    pub fn len(&self) -> usize {
        self.sessions
    }

    /// Returns whether the batch has no session.
    pub fn is_empty(&self) -> bool {
        self.sessions == 0
    }

    /// Returns the encoded sessions, each behind its length.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns what can be sent of the batch, which is empty then.
    pub fn take(&mut self) -> EncodedSessions {
        let sessions = std::mem::take(&mut self.sessions);
        EncodedSessions { bytes: std::mem::take(&mut self.bytes).freeze(), sessions }
    }
}

/// Sessions as they lie in the payload of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncodedSessions {
    /// Each behind its length.
    pub bytes: Bytes,
    /// Number of sessions.
    pub sessions: usize,
}

// === impl EncodedSessions ===

impl EncodedSessions {
    /// The frame that says it, with this head.
    pub fn frame(self, head: SessionsUp) -> LinkFrame {
        LinkFrame::with_payload(Kind::SessionsUp(head), self.bytes)
    }
}

/// A session of a received batch. What it is found by is read, and its texts are UTF-8; the rest is
/// read by [`view`](Self::view).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToldSession<'a> {
    /// Its number on its gateway.
    pub id: u64,
    /// The account that is logged in.
    pub account: &'a [u8],
    /// Tenant.
    pub app: &'a [u8],
    /// Which of the account's devices, or empty.
    pub device: &'a [u8],
    /// When it was told, on its gateway's clock. Unix nanoseconds; 0 where that is not known.
    pub told_at: i64,
    /// How it lies in its batch, behind its length.
    pub encoded: &'a [u8],
    /// What else is said of it, not read yet.
    rest: &'a [u8],
}

/// Reads the sessions of a batch that was sent at `now`, one after the other.
#[derive(Debug)]
pub struct SessionReader<'a> {
    rest: &'a [u8],
    now: i64,
}

// === impl SessionReader ===

impl<'a> SessionReader<'a> {
    /// Of the payload of a frame.
    pub fn new(payload: &'a [u8], now: i64) -> Self {
        Self { rest: payload, now }
    }

    /// Adds the next sessions to `told` until there are `most`, or none is left.
    ///
    /// # Errors
    /// Where one does not decode: those before it are in `told`, and no more come.
    pub fn read(&mut self, told: &mut Vec<ToldSession<'a>>, most: usize) -> Result<(), LinkError> {
        while told.len() < most && !self.rest.is_empty() {
            let Some(session) = ToldSession::read(&mut self.rest, self.now) else {
                self.rest = &[];
                return Err(not_found_by());
            };
            told.push(session);
        }
        Ok(())
    }
}

// === impl ToldSession ===

impl<'a> ToldSession<'a> {
    /// The session that stands first in `encoded`, behind its length, and was told at `told_at`.
    ///
    /// # Errors
    /// Where it does not decode.
    pub fn first(mut encoded: &'a [u8], told_at: i64) -> Result<Self, LinkError> {
        Self::read(&mut encoded, told_at).ok_or_else(not_found_by)
    }

    /// All of the session; where the rest of it does not decode, what it is found by.
    pub fn view(&self) -> SessionView<'a> {
        SessionView::read(self).unwrap_or_else(|_| SessionView::found_by(self))
    }

    /// Reads the next one of a batch. Without words for what is wrong: this is done for each session
    /// of a cluster whenever a server starts.
    fn read(batch: &mut &'a [u8], told_at: i64) -> Option<Self> {
        let from = *batch;
        let mut row = some_delimited(batch)?;
        let encoded = from.get(..from.len() - batch.len())?;
        let id = some_varint(&mut row)?;
        let mut len = || usize::try_from(some_varint(&mut row)?).ok();
        let (account, app, device) = (len()?, len()?, len()?);
        let (texts, rest) = row.split_at_checked(account.checked_add(app)?.checked_add(device)?)?;
        let (account, others) = texts.split_at_checked(account)?;
        let (app, device) = others.split_at_checked(app)?;
        let is_text = is_ascii(texts)
            || [account, app, device].iter().all(|text| str::from_utf8(text).is_ok());
        is_text.then_some(Self { id, account, app, device, told_at, encoded, rest })
    }
}

/// A number of at most 64 bits, as Protocol Buffers have it.
#[inline]
fn some_varint(bytes: &mut &[u8]) -> Option<u64> {
    // Most are lengths of short texts.
    if let [first @ ..0x80, rest @ ..] = *bytes {
        *bytes = rest;
        return Some(u64::from(*first));
    }
    longer_varint(bytes)
}

fn longer_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if *first < 0x80 {
            // The tenth byte has room for one bit.
            return (shift < 63 || *first < 2).then_some(number);
        }
    }
    None
}

/// What stands behind its length.
fn some_delimited<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(some_varint(bytes)?).ok()?;
    let (inner, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(inner)
}

/// Returns whether all are ASCII. Of a few bytes that is known sooner than by [`slice::is_ascii`], which
/// looks at them one by one.
fn is_ascii(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, byte| all | byte) < 0x80
}

/// Where what a session is found by is not whole.
fn not_found_by() -> LinkError {
    broken("its number, account, app or device is not whole")
}

/// The fields of a session that it is not found by, as Protocol Buffers have them.
fn encode_rest(session: &Session, gateway: Option<&str>, out: &mut Vec<u8>) {
    // All are named, so that one that is added is not forgotten.
    let Session {
        id: _,
        account,
        app: _,
        device: _,
        channel_id,
        login_time,
        zone,
        isp,
        tags,
        remote,
        age,
        order,
        replaces,
    } = session;
    let random = gateway.and_then(|gateway| ChannelId::random_of(channel_id, gateway, account));
    match &random {
        Some(random) => fixed64::encode(CHANNEL_RANDOM, random, out),
        None if channel_id.is_empty() => {}
        None => string::encode(2, channel_id, out),
    }
    let texts = [(7, zone), (8, isp), (10, remote), (14, replaces)];
    for (number, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        string::encode(number, text, out);
    }
    string::encode_repeated(9, tags, out);
    for (number, time) in [(6, login_time), (11, age)].into_iter().filter(|(_, time)| **time != 0) {
        int64::encode(number, time, out);
    }
    if *order != 0 {
        // A stamp is mostly that of its login's millisecond: some bytes in place of ten.
        let difference = order.wrapping_sub(Stamp::at(*login_time).0);
        sint64::encode(ORDER_DIFFERENCE, &difference.cast_signed(), out);
    }
}

fn broken(why: impl Into<Box<dyn std::error::Error>>) -> LinkError {
    LinkError::Decode(format!("session: {}", why.into()))
}

#[cfg(test)]
mod tests;
