//! All that a received batch says of a session, read where it lies.

use std::borrow::Cow;

use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

use super::{
    CHANNEL_RANDOM, ORDER_DIFFERENCE, ToldSession, broken, not_found_by, some_delimited,
    some_varint,
};
use crate::{ChannelId, LinkError, Stamp, link::Session};

/// All of a session as it lies in a received batch: as [`Session`], without memory of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of `Session`")]
pub struct SessionView<'a> {
    pub id: u64,
    pub channel: ChannelView<'a>,
    pub account: &'a str,
    pub app: &'a str,
    pub device: &'a str,
    pub login_time: i64,
    pub zone: &'a str,
    pub isp: &'a str,
    pub tags: Vec<&'a str>,
    pub remote: &'a str,
    pub age: i64,
    pub order: u64,
    pub replaces: &'a str,
}

/// A channel id as it lies in a received batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelView<'a> {
    /// All of it.
    Whole(&'a str),
    /// The random number in a [`ChannelId`] that a gateway makes: the rest is known.
    Random(u64),
}

/// The sessions of a batch that was sent at `now`, one after the other. After an error there are no
/// more.
pub fn session_views(
    payload: &[u8],
    now: i64,
) -> impl Iterator<Item = Result<SessionView<'_>, LinkError>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let told = ToldSession::read(&mut rest, now).ok_or_else(not_found_by);
        Some(told.and_then(|told| SessionView::read(&told)).inspect_err(|_| rest = &[]))
    })
}

// === impl ChannelView ===

impl Default for ChannelView<'_> {
    fn default() -> Self {
        Self::Whole("")
    }
}

// === impl SessionView ===

impl<'a> SessionView<'a> {
    /// The channel id, of a session of the gateway with this service id.
    pub fn channel_id(&self, gateway: &str) -> Cow<'a, str> {
        match self.channel {
            ChannelView::Whole(id) => id.into(),
            ChannelView::Random(random) => {
                ChannelId::made(gateway, self.account, random).as_str().to_owned().into()
            }
        }
    }

    /// A look at a session.
    pub fn of(session: &'a Session) -> Self {
        Self {
            id: session.id,
            channel: ChannelView::Whole(&session.channel_id),
            account: &session.account,
            app: &session.app,
            device: &session.device,
            login_time: session.login_time,
            zone: &session.zone,
            isp: &session.isp,
            tags: session.tags.iter().map(String::as_str).collect(),
            remote: &session.remote,
            age: session.age,
            order: session.order,
            replaces: &session.replaces,
        }
    }

    /// The session, of the gateway with this service id, with memory of its own.
    pub fn to_session(&self, gateway: &str) -> Session {
        Session {
            id: self.id,
            channel_id: self.channel_id(gateway).into_owned(),
            account: self.account.to_owned(),
            app: self.app.to_owned(),
            device: self.device.to_owned(),
            login_time: self.login_time,
            zone: self.zone.to_owned(),
            isp: self.isp.to_owned(),
            tags: self.tags.iter().map(|tag| (*tag).to_owned()).collect(),
            remote: self.remote.to_owned(),
            age: self.age,
            order: self.order,
            replaces: self.replaces.to_owned(),
        }
    }

    /// What a session is found by, and no more.
    pub(super) fn found_by(told: &ToldSession<'a>) -> Self {
        let [account, app, device] = [told.account, told.app, told.device]
            .map(|text| str::from_utf8(text).unwrap_or_default());
        Self { id: told.id, account, app, device, ..Self::default() }
    }

    pub(super) fn read(told: &ToldSession<'a>) -> Result<Self, LinkError> {
        let mut view = Self::found_by(told);
        view.decode(told.rest)?;
        // The age on the gateway's clock, where it is not told by itself. Never none again: that
        // would say that it is not told.
        if view.age == 0 && told.told_at != 0 {
            view.age = told.told_at.saturating_sub(view.login_time).max(1);
        }
        Ok(view)
    }

    /// Reads the rest.
    fn decode(&mut self, mut bytes: &'a [u8]) -> Result<(), LinkError> {
        let view = self;
        let mut difference = None;
        while !bytes.is_empty() {
            let (tag, wire) = key(&mut bytes)?;
            match (tag, wire) {
                (2, WireType::LengthDelimited) => {
                    view.channel = ChannelView::Whole(text(&mut bytes)?);
                }
                (6, WireType::Varint) => view.login_time = varint(&mut bytes)?.cast_signed(),
                (7, WireType::LengthDelimited) => view.zone = text(&mut bytes)?,
                (8, WireType::LengthDelimited) => view.isp = text(&mut bytes)?,
                (9, WireType::LengthDelimited) => view.tags.push(text(&mut bytes)?),
                (10, WireType::LengthDelimited) => view.remote = text(&mut bytes)?,
                (11, WireType::Varint) => view.age = varint(&mut bytes)?.cast_signed(),
                (13, WireType::Varint) => view.order = varint(&mut bytes)?,
                (14, WireType::LengthDelimited) => view.replaces = text(&mut bytes)?,
                (ORDER_DIFFERENCE, WireType::Varint) => {
                    difference = Some(zigzag(varint(&mut bytes)?));
                }
                (CHANNEL_RANDOM, WireType::SixtyFourBit) => {
                    view.channel = ChannelView::Random(sixty_four_bits(&mut bytes)?);
                }
                (2 | 6..=11 | 13 | 14, _) => {
                    return Err(broken(format!("field {tag} of another type")));
                }
                // Of a later version, or one that it is found by: as what it was put down, it stays.
                _ => {
                    let context = DecodeContext::default();
                    skip_field(wire, tag, &mut bytes, context).map_err(broken)?;
                }
            }
        }
        // The login time may stand behind it.
        if let Some(difference) = difference {
            view.order = Stamp::at(view.login_time).0.wrapping_add_signed(difference);
        }
        Ok(())
    }
}

/// A `sint64` out of its varint.
fn zigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
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

fn sixty_four_bits(bytes: &mut &[u8]) -> Result<u64, LinkError> {
    let (number, rest) =
        bytes.split_first_chunk().ok_or_else(|| broken("a number is cut short"))?;
    *bytes = rest;
    Ok(u64::from_le_bytes(*number))
}

fn varint(bytes: &mut &[u8]) -> Result<u64, LinkError> {
    some_varint(bytes).ok_or_else(|| broken("a number has no end"))
}

fn text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, LinkError> {
    std::str::from_utf8(delimited(bytes)?).map_err(broken)
}

fn delimited<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], LinkError> {
    some_delimited(bytes).ok_or_else(|| broken("shorter than it says"))
}
