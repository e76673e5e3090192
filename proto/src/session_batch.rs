//! Many sessions in the payload of one link frame, written and read without a copy of any.

use bytes::BytesMut;
use prost::{
    Message,
    encoding::{
        DecodeContext, WireType, decode_key, decode_varint, encode_varint, int64, skip_field,
    },
};

use crate::{
    LinkError, LinkFrame,
    link::{Session, SessionsUp, frame::Kind},
};

/// Number of the field `age` of a session.
const AGE: u32 = 11;

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

    /// Adds a session that is `age` nanoseconds old now.
    pub fn push(&mut self, session: &Session, age: i64) {
        self.push_encoded(&session.encode_to_vec(), age);
    }

    /// As [`push`](Self::push), of a session that was encoded before, without its age.
    pub fn push_encoded(&mut self, session: &[u8], age: i64) {
        let age_len = if age == 0 { 0 } else { int64::encoded_len(AGE, &age) };
        let len = session.len() + age_len;
        if self.bytes.is_empty() {
            self.bytes.reserve(Self::FULL + Self::FULL / 8);
        }
        encode_varint(len as u64, &mut self.bytes);
        self.bytes.extend_from_slice(session);
        if age != 0 {
            // Of a field that is there twice the last counts: it may stand behind the others.
            int64::encode(AGE, &age, &mut self.bytes);
        }
        self.sessions += 1;
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

    /// The frame that says it, of a sync that still tells of about `left` sessions, with these.
    /// The batch is empty then.
    pub fn take(&mut self, left: u64) -> LinkFrame {
        self.sessions = 0;
        let payload = std::mem::take(&mut self.bytes).freeze();
        LinkFrame::with_payload(Kind::SessionsUp(SessionsUp { left }), payload)
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
}

/// The sessions of a batch, one after the other. After an error there are no more.
pub fn session_views(payload: &[u8]) -> impl Iterator<Item = Result<SessionView<'_>, LinkError>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let view = delimited(&mut rest).and_then(SessionView::decode);
        if view.is_err() {
            rest = &[];
        }
        Some(view)
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

    fn decode(mut bytes: &'a [u8]) -> Result<Self, LinkError> {
        let mut view = Self::default();
        while !bytes.is_empty() {
            let (tag, wire) = decode_key(&mut bytes).map_err(broken)?;
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
                (AGE, WireType::Varint) => view.age = varint(&mut bytes)?.cast_signed(),
                (1..=AGE, _) => return Err(broken(format!("field {tag} of another type"))),
                // Of a later version.
                _ => {
                    let context = DecodeContext::default();
                    skip_field(wire, tag, &mut bytes, context).map_err(broken)?;
                }
            }
        }
        Ok(view)
    }
}

fn varint(bytes: &mut &[u8]) -> Result<u64, LinkError> {
    decode_varint(bytes).map_err(broken)
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
