//! Many sessions in the payload of one link frame, written and read without a copy of any.

use bytes::{Bytes, BytesMut};
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, encode_varint, skip_field},
};

use crate::{
    LinkError, LinkFrame,
    link::{Session, SessionsUp, frame::Kind},
};

/// First bytes of the fields that a session is found by, which batches have in front of the others
/// (Protocol Buffers, Encoding: number and wire type).
const ID: u8 = 1 << 3 | WireType::Varint as u8;
const CHANNEL_ID: u8 = 2 << 3 | WireType::LengthDelimited as u8;
const ACCOUNT: u8 = 3 << 3 | WireType::LengthDelimited as u8;
const APP: u8 = 4 << 3 | WireType::LengthDelimited as u8;
const DEVICE: u8 = 5 << 3 | WireType::LengthDelimited as u8;
/// That of no such field is below this.
const FIRST_OF_THE_REST: u8 = 6 << 3;

/// Sessions that are put together into one frame. Never more than [`SessionBatch::FULL`] bytes and
/// one session: who fills it sends it once it is full.
#[derive(Debug, Default)]
pub struct SessionBatch {
    bytes: BytesMut,
    sessions: usize,
}

// === impl SessionBatch ===

impl SessionBatch {
    /// Bytes from which on a batch is full: far below what a link takes in a frame, and few enough
    /// that a reader is at work on one while the next is written.
    pub const FULL: usize = 32 << 10;

    /// Adds a session.
    pub fn push(&mut self, session: &Session) {
        self.reserve();
        encode_varint(session.encoded_len() as u64, &mut self.bytes);
        session.encode_raw(&mut self.bytes);
        self.sessions += 1;
    }

    /// Adds so many sessions that another batch was made of.
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

    /// Whether it is to be sent before more is added.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= Self::FULL
    }

    /// How many are in it.
    pub fn len(&self) -> usize {
        self.sessions
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.sessions == 0
    }

    /// The sessions, each behind its length.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What can be sent of it. The batch is empty then.
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
    /// How many.
    pub sessions: usize,
}

// === impl EncodedSessions ===

impl EncodedSessions {
    /// The frame that says it, of a sync that still tells of about `left` sessions, with these,
    /// sent at `now`: Unix nanoseconds.
    pub fn frame(self, left: u64, now: i64) -> LinkFrame {
        LinkFrame::with_payload(Kind::SessionsUp(SessionsUp { left, now }), self.bytes)
    }
}

/// A session of a received batch. What it is found by is read, and its texts are UTF-8; the rest is
/// read when somebody asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToldSession<'a> {
    /// Its number on its gateway.
    pub id: u64,
    /// Whose it is.
    pub account: &'a [u8],
    /// Tenant.
    pub app: &'a [u8],
    /// Which of the account's devices, or empty.
    pub device: &'a [u8],
    /// When it was told, on its gateway's clock. Unix nanoseconds; 0 where that is not known.
    pub told_at: i64,
    /// How it lies in its batch, behind its length.
    pub encoded: &'a [u8],
}

/// All of a session as it lies in a received batch: as [`Session`], without memory of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of `Session`")]
pub struct SessionView<'a> {
    pub id: u64,
    pub channel_id: &'a str,
    pub account: &'a str,
    pub app: &'a str,
    pub device: &'a str,
    pub login_time: i64,
    pub zone: &'a str,
    pub isp: &'a str,
    pub tags: Vec<&'a str>,
    pub remote: &'a str,
    pub age: i64,
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
            match ToldSession::read(&mut self.rest, self.now) {
                Ok(session) => told.push(session),
                Err(error) => {
                    self.rest = &[];
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

/// The sessions of a batch that was sent at `now`, one after the other. After an error there are no
/// more.
pub fn session_views(
    payload: &[u8],
    now: i64,
) -> impl Iterator<Item = Result<SessionView<'_>, LinkError>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        (!rest.is_empty()).then(|| SessionView::read(&mut rest, now).inspect_err(|_| rest = &[]))
    })
}

// === impl ToldSession ===

impl<'a> ToldSession<'a> {
    /// The session that stands first in `encoded`, behind its length, and was told at `told_at`.
    ///
    /// # Errors
    /// Where it does not decode.
    pub fn first(mut encoded: &'a [u8], told_at: i64) -> Result<Self, LinkError> {
        Self::read(&mut encoded, told_at)
    }

    /// All of the session; where the rest of it does not decode, what it is found by.
    pub fn view(&self) -> SessionView<'a> {
        let mut encoded = self.encoded;
        let view = SessionView::read(&mut encoded, self.told_at).unwrap_or_default();
        // Whatever else is said of it: what it was put down under, it is taken out under.
        SessionView {
            id: self.id,
            account: str::from_utf8(self.account).unwrap_or_default(),
            app: str::from_utf8(self.app).unwrap_or_default(),
            device: str::from_utf8(self.device).unwrap_or_default(),
            ..view
        }
    }

    /// Reads the next one of a batch.
    fn read(batch: &mut &'a [u8], told_at: i64) -> Result<Self, LinkError> {
        let from = *batch;
        let told = some_delimited(batch).and_then(|session| Self::found_by(session, told_at));
        let told = told.ok_or_else(|| broken("its number, account, app or device is not whole"))?;
        Ok(Self { encoded: from.get(..from.len() - batch.len()).unwrap_or_default(), ..told })
    }

    /// Without words for what is wrong: this is done for each session of a cluster whenever a server
    /// starts.
    fn found_by(mut session: &'a [u8], told_at: i64) -> Option<Self> {
        let bytes = &mut session;
        let mut told = Self { told_at, ..Self::default() };
        // The others come after them.
        while let [first @ ..FIRST_OF_THE_REST, rest @ ..] = *bytes {
            *bytes = rest;
            match *first {
                ID => told.id = some_varint(bytes)?,
                CHANNEL_ID => drop(some_delimited(bytes)?),
                ACCOUNT => told.account = some_text(bytes)?,
                APP => told.app = some_text(bytes)?,
                DEVICE => told.device = some_text(bytes)?,
                _ => return None,
            }
        }
        Some(told)
    }
}

// === impl SessionView ===

impl<'a> SessionView<'a> {
    /// A look at a session.
    pub fn of(session: &'a Session) -> Self {
        Self {
            id: session.id,
            channel_id: &session.channel_id,
            account: &session.account,
            app: &session.app,
            device: &session.device,
            login_time: session.login_time,
            zone: &session.zone,
            isp: &session.isp,
            tags: session.tags.iter().map(String::as_str).collect(),
            remote: &session.remote,
            age: session.age,
        }
    }

    /// The session with memory of its own.
    pub fn to_session(&self) -> Session {
        Session {
            id: self.id,
            channel_id: self.channel_id.to_owned(),
            account: self.account.to_owned(),
            app: self.app.to_owned(),
            device: self.device.to_owned(),
            login_time: self.login_time,
            zone: self.zone.to_owned(),
            isp: self.isp.to_owned(),
            tags: self.tags.iter().map(|tag| (*tag).to_owned()).collect(),
            remote: self.remote.to_owned(),
            age: self.age,
        }
    }

    /// Reads the next one of a batch.
    fn read(batch: &mut &'a [u8], now: i64) -> Result<Self, LinkError> {
        let mut view = Self::default();
        view.decode(delimited(batch)?)?;
        // The age on the gateway's clock, where it is not told by itself. Never none again: that
        // would say that it is not told.
        if view.age == 0 && now != 0 {
            view.age = now.saturating_sub(view.login_time).max(1);
        }
        Ok(view)
    }

    fn decode(&mut self, mut bytes: &'a [u8]) -> Result<(), LinkError> {
        let view = self;
        while !bytes.is_empty() {
            let (tag, wire) = key(&mut bytes)?;
            match (tag, wire) {
                (1, WireType::Varint) => view.id = varint(&mut bytes)?,
                (2, WireType::LengthDelimited) => view.channel_id = text(&mut bytes)?,
                (3, WireType::LengthDelimited) => view.account = text(&mut bytes)?,
                (4, WireType::LengthDelimited) => view.app = text(&mut bytes)?,
                (5, WireType::LengthDelimited) => view.device = text(&mut bytes)?,
                (6, WireType::Varint) => view.login_time = varint(&mut bytes)?.cast_signed(),
                (7, WireType::LengthDelimited) => view.zone = text(&mut bytes)?,
                (8, WireType::LengthDelimited) => view.isp = text(&mut bytes)?,
                (9, WireType::LengthDelimited) => view.tags.push(text(&mut bytes)?),
                (10, WireType::LengthDelimited) => view.remote = text(&mut bytes)?,
                (11, WireType::Varint) => view.age = varint(&mut bytes)?.cast_signed(),
                (1..=11, _) => return Err(broken(format!("field {tag} of another type"))),
                // Of a later version.
                _ => {
                    let context = DecodeContext::default();
                    skip_field(wire, tag, &mut bytes, context).map_err(broken)?;
                }
            }
        }
        Ok(())
    }
}

/// Number and type of a field. Those of a session are a byte long, but for later ones.
fn key(bytes: &mut &[u8]) -> Result<(u32, WireType), LinkError> {
    match **bytes {
        [first @ 0x08..0x80, ref rest @ ..] => {
            *bytes = rest;
            let wire = WireType::try_from(u64::from(first & 7)).map_err(broken)?;
            Ok((u32::from(first >> 3), wire))
        }
        _ => decode_key(bytes).map_err(broken),
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, LinkError> {
    some_varint(bytes).ok_or_else(|| broken("a number has no end"))
}

/// A number of at most 64 bits, as Protocol Buffers have it.
fn some_varint(bytes: &mut &[u8]) -> Option<u64> {
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

fn text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, LinkError> {
    std::str::from_utf8(delimited(bytes)?).map_err(broken)
}

fn delimited<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], LinkError> {
    some_delimited(bytes).ok_or_else(|| broken("shorter than it says"))
}

/// What stands behind its length.
fn some_delimited<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(some_varint(bytes)?).ok()?;
    let (inner, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(inner)
}

/// A text behind its length, not looked at but for whether it is one.
fn some_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let text = some_delimited(bytes)?;
    // Mostly it is ASCII, which is found out sooner.
    (text.is_ascii() || str::from_utf8(text).is_ok()).then_some(text)
}

fn broken(why: impl Into<Box<dyn std::error::Error>>) -> LinkError {
    LinkError::Decode(format!("session: {}", why.into()))
}

#[cfg(test)]
mod tests;
