//! Many sessions in the payload of one link frame, written and read without a copy of any.

use bytes::{Bytes, BytesMut};
use prost::{
    Message,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, encode_varint, skip_field},
};

use crate::{
    LinkError, LinkFrame,
    link::{Session, SessionsUp, frame::Kind},
};

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

/// A session as it lies in a received batch: as [`Session`], without memory of its own.
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
    /// When it was told, on its gateway's clock. Unix nanoseconds; 0 where that is not known.
    pub told_at: i64,
    /// How it lies in its batch, behind its length; empty where it is in none.
    pub encoded: &'a [u8],
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

    /// Adds the next sessions to `views` until there are `most`, or none is left.
    ///
    /// # Errors
    /// Where one does not decode: those before it are in `views`, and no more come.
    pub fn read(&mut self, views: &mut Vec<SessionView<'a>>, most: usize) -> Result<(), LinkError> {
        while views.len() < most && !self.rest.is_empty() {
            // Filled where it lies: a view is too long to be handed from one to the next.
            let view = views.push_mut(SessionView::default());
            if let Err(error) = view.read(&mut self.rest, self.now) {
                views.pop();
                self.rest = &[];
                return Err(error);
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
    let mut reader = SessionReader::new(payload, now);
    std::iter::from_fn(move || {
        let mut view = Vec::with_capacity(1);
        match reader.read(&mut view, 1) {
            Ok(()) => view.pop().map(Ok),
            Err(error) => Some(Err(error)),
        }
    })
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
            told_at: 0,
            encoded: &[],
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

    /// Reads the next one of a batch into an empty view.
    fn read(&mut self, batch: &mut &'a [u8], now: i64) -> Result<(), LinkError> {
        let from = *batch;
        self.decode(delimited(batch)?)?;
        self.encoded = from.get(..from.len() - batch.len()).unwrap_or_default();
        self.told_at = now;
        // The age on the gateway's clock, where it is not told by itself. Never none again: that
        // would say that it is not told.
        if self.age == 0 && now != 0 {
            self.age = now.saturating_sub(self.login_time).max(1);
        }
        Ok(())
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

/// A number; those below 128 are read at once.
fn varint(bytes: &mut &[u8]) -> Result<u64, LinkError> {
    match **bytes {
        [first @ ..0x80, ref rest @ ..] => {
            *bytes = rest;
            Ok(first.into())
        }
        _ => decode_varint(bytes).map_err(broken),
    }
}

fn text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, LinkError> {
    std::str::from_utf8(delimited(bytes)?).map_err(broken)
}

/// What stands behind its length.
fn delimited<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], LinkError> {
    let len = varint(bytes)?;
    let cut = usize::try_from(len).ok().and_then(|len| bytes.split_at_checked(len));
    let (inner, rest) = cut.ok_or_else(|| broken(format!("{len} bytes are not there")))?;
    *bytes = rest;
    Ok(inner)
}

fn broken(why: impl Into<Box<dyn std::error::Error>>) -> LinkError {
    LinkError::Decode(format!("session: {}", why.into()))
}

#[cfg(test)]
mod tests;
